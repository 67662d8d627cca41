import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from seams import metrics
from seams.data import Samples
from seams.distributions import DiagonalGaussian, FullGaussian, Point, Posterior
from seams.networks import set_covariance
from seams.scores import Scored
from seams.training import Stack, Store, TrainConfig, build, loop, train
from seams.training import config as configuration
from seams.training import encode as encoding
from seams.training import evaluate as evaluation
from seams.training import score as scoring
from seams.training.evaluate import (
    COLLAPSED_RATE,
    GROUPS,
    VERSION,
    at_once,
    encode,
    evaluate,
    groups,
    is_current,
    needed,
    reevaluate,
    score_model,
)
from seams.training.score import score_models
from seams.training.stack import Models
from seams.vae import VAE

LEVELS = (4, 5)  # values that the two factors take
SCALE = 0.02  # of an informative latent; values are 0.5 apart
REPEATS = 100  # of every combination of factors
DERIVATIVES = 16  # images where they are taken


@pytest.fixture(autouse=True)
def _few_derivatives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "DERIVATIVE_IMAGES", DERIVATIVES)
    monkeypatch.setattr(scoring, "C2_IMAGES", 4)


class KnownEncoder(nn.Module):
    """Latent j is factor j, centred, almost without noise; further latents stay at the prior."""

    def __init__(self, latent: int, mixing: Tensor | None = None) -> None:
        super().__init__()
        self.latent = latent
        self.mixing = nn.Parameter(torch.eye(2) if mixing is None else mixing)

    def forward(self, x: Tensor) -> Posterior:
        known = x[..., :2] @ self.mixing.to(x.dtype).mT
        rest = self.latent - 2
        mean = torch.cat([known, known.new_zeros(*known.shape[:-1], rest)], -1)
        scale = torch.tensor([SCALE] * 2 + [1.0] * rest, dtype=x.dtype).expand(mean.shape)
        return DiagonalGaussian(mean, scale)


class PriorEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Posterior:
        mean = x.new_zeros(*x.shape[:-1], 3)
        return DiagonalGaussian(mean, torch.ones_like(mean))


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: Tensor) -> Tensor:
        return self.function(z)


def known_data(names: tuple[str, ...] = ("height", "width")) -> Samples:
    """Every combination of two factors equally often; x holds them in steps of one half."""
    factors = torch.cartesian_prod(*(torch.arange(n) for n in LEVELS)).repeat(REPEATS, 1)
    x = (factors - factors.double().mean(0)) / 2
    return Samples(x, factors, names)


def vae_of(
    decoder: Callable[[Tensor], Tensor], latent: int = 3, mixing: Tensor | None = None
) -> VAE:
    return VAE(KnownEncoder(latent, mixing), Function(decoder)).eval()


def linear(weight: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda z: z[..., :2] @ weight.to(z.dtype).mT


IDENTITY = linear(torch.eye(2).double())


# --- encoding ----------------------------------------------------------------------------------


def test_encoded_data_are_distinct_and_their_posteriors_are_the_encoder_s() -> None:
    data, vae = known_data(), vae_of(IDENTITY)
    encoded = encode(vae, data, images=1500)
    assert len(encoded.indices.unique()) == 1500
    posterior = vae.encoder(data.x[encoded.indices])
    torch.testing.assert_close(encoded.means, posterior.mean)
    torch.testing.assert_close(encoded.scales, posterior.stddev)
    torch.testing.assert_close(encoded.kl, posterior.kl_per_latent().mean(0))
    error = (data.x[encoded.indices] - vae.decoder(encoded.latents)).square().sum(-1)
    assert encoded.distortion == pytest.approx(error.mean().item(), rel=1e-12)
    # Two latents of variance SCALE^2 each, within 4 standard errors.
    assert encoded.distortion == pytest.approx(2 * SCALE**2, rel=4 / 1500**0.5)


def test_one_standard_normal_draw_is_taken_of_each_posterior() -> None:
    encoded = encode(vae_of(IDENTITY), known_data())
    noise = (encoded.latents - encoded.means) / encoded.scales
    assert noise.mean(0).abs().max() < 4 / len(noise) ** 0.5
    assert (noise.var(0) - 1).abs().max() < 4 * (2 / len(noise)) ** 0.5
    assert noise.T.corrcoef().triu(1).abs().max() < 4 / len(noise) ** 0.5


def test_an_autoencoder_has_scores_of_its_codes_and_no_rate() -> None:
    """Those of a posterior so narrow that it makes no difference, less what is of densities."""

    class Codes(KnownEncoder):
        def forward(self, x: Tensor) -> Point:
            return Point(super().forward(x).mean)

    data = known_data()
    mixed = lambda z: torch.stack([z[..., 0] + z[..., 1], z[..., 0] * z[..., 1]], -1)
    scores, arrays = score_model(VAE(Codes(3), Function(mixed)).eval(), data)
    narrow = vae_of(mixed)
    other, beside = score_model(narrow, data)
    error = (data.x - mixed(data.x)).square().sum(-1).mean()
    assert scores["distortion"] == pytest.approx(error.item(), rel=1e-12)
    for name in ("rate", "collapsed", "mig_density", "aas_density"):
        assert scores[name] is None, name
    reason = "an autoencoder has no density of the latents given a datum"
    assert scores["reasons"]["rate"] == scores["reasons"]["mig_density"] == reason
    assert set(beside) - set(arrays) == {"kl", "information_density"}
    assert all(np.isfinite(array).all() for array in arrays.values()), "the record takes no other"
    assert scores["active"] == other["active"] == 2
    assert scores["mig"] == pytest.approx(scores["mig_means"], abs=1e-12)
    for name in ("mig_means", "probe_height", "off_diagonal_gram"):
        assert scores[name] == pytest.approx(other[name], rel=0.1), name
    np.testing.assert_array_equal(arrays["activity"], beside["activity"])


def test_rate_of_a_full_posterior_counts_its_correlations() -> None:
    class Correlated(PriorEncoder):
        def forward(self, x: Tensor) -> Posterior:
            mean = x.new_zeros(*x.shape[:-1], 3)
            L = torch.eye(3, dtype=x.dtype)
            L[1, 0], L[1, 1] = 0.8, 0.6  # unit marginals, correlation 0.8
            return FullGaussian(mean, L.expand(*mean.shape, 3))

    encoded = encode(VAE(Correlated(), Function(IDENTITY)), known_data())
    assert encoded.rate == pytest.approx(-math.log(0.6), rel=1e-12)
    torch.testing.assert_close(encoded.kl, torch.zeros(3))


def test_no_more_data_than_there_are() -> None:
    assert len(encode(vae_of(IDENTITY), known_data(), images=10**6).indices) == 2000


# --- information -------------------------------------------------------------------------------


def test_one_latent_has_no_gap() -> None:
    class One(PriorEncoder):
        def forward(self, x: Tensor) -> Posterior:
            return DiagonalGaussian(x[..., :1], torch.full_like(x[..., :1], SCALE))

    vae = VAE(One(), Function(lambda z: torch.cat([z, z], -1))).eval()
    scores, arrays = score_model(vae, known_data())
    for name in ("mig", "mig_means", "mig_density", "mig_height", "mig_width", "dto"):
        assert scores[name] is None, name
    assert arrays["information_means"][0, 0] == pytest.approx(math.log(LEVELS[0]))
    assert scores["aas_means"] == pytest.approx(1, abs=1e-12)
    assert scores["probe_height"] == pytest.approx(1)


def test_an_encoder_that_knows_both_factors() -> None:
    scores, arrays = score_model(vae_of(IDENTITY), known_data())
    exact = np.diag([math.log(n) for n in LEVELS])
    np.testing.assert_allclose(arrays["information_means"][:2], exact, atol=1e-12)
    assert (arrays["information_means"][2] == 0).all()
    assert scores["mig_means"] == pytest.approx(1, abs=1e-12)
    assert scores["aas_means"] == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(arrays["information_density"][:2], exact, atol=1e-3)
    assert scores["mig_density"] == pytest.approx(1, abs=1e-3)
    # By chance a latent in b occupied bins shares (b - 1) (n - 1) / 2N nats with a factor.
    np.testing.assert_allclose(arrays["information"].diagonal(), exact.diagonal(), atol=1e-12)
    chance = [19 * (n - 1) / 2 / 2000 for n in LEVELS]
    others = arrays["information"][[[1, 2], [0, 2]], [[0, 0], [1, 1]]]
    assert (others > 0).all() and (others.max(1) < 2 * np.array(chance)).all()
    for name, n, other in zip(("height", "width"), LEVELS, others.max(1), strict=True):
        assert scores[f"mig_{name}"] == pytest.approx(1 - other / math.log(n), rel=1e-12)
    assert scores["mig"] == pytest.approx((scores["mig_height"] + scores["mig_width"]) / 2)
    assert scores["active"] == 2
    for name in ("height", "width"):
        assert scores[f"probe_{name}"] == pytest.approx(1, abs=1e-10)


def test_the_probe_learns_from_all_parts_of_data_that_stand_in_an_order() -> None:
    data = known_data()
    order = data.factors[:, 0].argsort(stable=True)
    height, width = data.factors[order].T
    folded = (2 * height - height.max()).abs()  # falls, then rises: no line predicts it
    data = replace(data, x=data.x[order], factors=torch.stack([folded, width], 1))
    data = replace(data, latents=folded[:, None].double())
    scores, _ = score_model(vae_of(IDENTITY), data)
    assert scores["probe_height"] == pytest.approx(0, abs=0.05)
    assert scores["probe"] == pytest.approx(0, abs=0.05)


def test_posteriors_too_narrow_to_integrate_count_as_narrow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(globals(), "SCALE", 1e-9)  # read by KnownEncoder
    _, arrays = score_model(vae_of(IDENTITY), known_data())
    exact = np.diag([math.log(n) for n in LEVELS])
    np.testing.assert_allclose(arrays["information_density"][:2], exact, atol=1e-3)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_only_kinks_leave_c2_out_whatever_follows_them(likelihood: str) -> None:
    """A sigmoid behind ReLU has second derivatives, which are wrong."""
    data = known_data()
    data = replace(data, x=data.x.sigmoid())
    for layer in (nn.ReLU(), nn.Tanh()):
        network = nn.Sequential(nn.Linear(3, 8), layer, nn.Linear(8, 2))
        vae = VAE(KnownEncoder(3), network, likelihood=likelihood).eval()
        assert (score_model(vae, data)[0]["c2"] is None) is isinstance(layer, nn.ReLU)


def test_a_rotation_hides_the_factors_from_mig_but_not_from_the_probe() -> None:
    c, s = math.cos(0.6), math.sin(0.6)
    rotated = vae_of(IDENTITY, mixing=torch.tensor([[c, -s], [s, c]]))
    scores, _ = score_model(rotated, known_data())
    assert scores["mig"] < 0.4
    assert scores["aas_means"] < 0.8
    assert scores["probe_height"] == pytest.approx(1, abs=1e-10)


def test_scores_agree_with_the_metrics() -> None:
    """On a mixture of everything: what is named is what is computed, of draws and of means."""
    vae, data = vae_of(IDENTITY, mixing=torch.tensor([[1.0, 0.3], [0.0, 0.7]])), known_data()
    scores, arrays = score_model(vae, data)
    encoded = encode(vae, data)
    factors = data.factors[encoded.indices]
    entropies = metrics.entropies(factors)
    active = torch.tensor([1.0, 1.0, 0.0])[:, None]
    tables = {
        "": metrics.mutual_information(encoded.latents, factors),
        "_means": metrics.mutual_information(encoded.means, factors) * active,
        "_density": metrics.density_mutual_information(encoded.means, encoded.scales, factors),
    }
    for suffix, table in tables.items():
        close = {"rtol": 1e-10, "atol": 1e-12}
        np.testing.assert_allclose(arrays[f"information{suffix}"], table.numpy(), **close)
        gap = metrics.mutual_information_gap(table, entropies)
        assert scores[f"mig{suffix}"] == pytest.approx(gap, rel=1e-10)
        aas = metrics.axis_alignment_score(table)
        assert scores[f"aas{suffix}"] == pytest.approx(aas, rel=1e-10)
    assert len({scores[f"mig{suffix}"] for suffix in tables}) == 3


def test_mig_without_shape() -> None:
    """Only where the first factor is shape, as on dSprites."""
    scores, _ = score_model(vae_of(IDENTITY), known_data(("shape", "width")))
    for suffix in ("", "_means", "_density"):
        assert f"mig4{suffix}" in scores
    assert scores["mig4"] == scores["mig_width"]
    assert scores["mig4_means"] == pytest.approx(1, abs=1e-12)
    scores, _ = score_model(vae_of(IDENTITY), known_data())
    assert not any(name.startswith("mig4") for name in scores)


def test_without_known_factors_there_is_no_information() -> None:
    data = known_data()
    scores, arrays = score_model(vae_of(IDENTITY), replace(data, factors=None))
    assert not [n for n in scores if n.startswith(("mig", "aas", "probe"))]
    assert "information" not in arrays


# --- rate, activity, collapse ------------------------------------------------------------------


def test_rate_and_activity() -> None:
    data, vae = known_data(), vae_of(IDENTITY)
    scores, arrays = score_model(vae, data)
    posterior = vae.requires_grad_(False).encoder(data.x)
    expected = kl_divergence(Normal(posterior.mean, posterior.stddev), Normal(0.0, 1.0)).mean(0)
    np.testing.assert_allclose(arrays["kl"], expected.numpy(), rtol=1e-10, atol=1e-12)
    assert scores["rate"] == pytest.approx(expected.sum().item(), rel=1e-10)
    np.testing.assert_allclose(arrays["activity"][:2], data.x.var(0), rtol=1e-10)
    assert scores["collapsed"] is False


def test_a_model_at_the_prior_is_collapsed() -> None:
    vae = VAE(PriorEncoder(), Function(IDENTITY))
    scores, arrays = score_model(vae, known_data())
    assert scores["collapsed"] is True and scores["rate"] == 0
    assert scores["active"] == 0
    undefined = {name for name, value in scores.items() if value is None}
    derived = {
        f"off_diagonal_{term}{order}"
        for term in ("gram", "hessian", "tangent")
        for order in ("", "_of_mean", "_of_abs")
    } | {"dto", "c_ima", "c2"}
    beside = {f"{name}{suffix}" for name in derived for suffix in ("", "_random", "_ratio")}
    assert undefined == beside | {"tangent_share", "aas_means"}
    assert {"0 are active" in scores["reasons"][name] for name in derived} == {True}
    assert scores["mig_means"] == 0
    assert (arrays["information_means"] == 0).all()


def test_collapse_is_a_matter_of_the_rate() -> None:
    class Barely(PriorEncoder):
        def forward(self, x: Tensor) -> Posterior:
            mean = x.new_zeros(*x.shape[:-1], 3)
            return DiagonalGaussian(mean + self.offset, torch.ones_like(mean))

    for rate, collapsed in ((COLLAPSED_RATE * 0.99, True), (COLLAPSED_RATE * 1.01, False)):
        encoder = Barely()
        encoder.offset = math.sqrt(2 * rate / 3)
        scores, _ = score_model(VAE(encoder, Function(IDENTITY)), known_data())
        assert scores["rate"] == pytest.approx(rate)
        assert scores["collapsed"] is collapsed


# --- derivatives -------------------------------------------------------------------------------


def test_derivative_scores_of_a_linear_decoder() -> None:
    """W has columns (1, 0) and (c, 1): everything is known, and the Hessian is zero."""
    c = 0.75
    scores, arrays = score_model(vae_of(linear(torch.tensor([[1, c], [0, 1]]))), known_data())
    expected = c / math.sqrt(1 + c**2)
    for suffix in ("", "_of_mean", "_of_abs"):
        assert scores[f"off_diagonal_gram{suffix}"] == pytest.approx(expected, rel=1e-12)
        assert scores[f"off_diagonal_hessian{suffix}"] is None
    assert scores["c_ima"] == pytest.approx(0.5 * math.log(1 + c**2), rel=1e-12)
    # W'W = [[1, c], [c, 1 + c^2]] turns by half of atan2(2 c, c^2); a rotation by a is nearest to
    # I at Frobenius distance sqrt(4 (1 - cos a)), and to the swap at the complement.
    angle = 0.5 * math.atan2(2 * c, c**2)
    angle = min(angle, math.pi / 2 - angle)
    assert scores["dto"] == pytest.approx(math.sqrt(4 * (1 - math.cos(angle))), rel=1e-10)
    gram = np.array([[1, c, 0], [c, 1 + c**2, 0], [0, 0, 0]])
    np.testing.assert_allclose(arrays["gram"], gram, rtol=1e-12, atol=1e-15)
    assert (arrays["hessian"] == 0).all()


def test_derivative_scores_of_a_curved_decoder() -> None:
    """d(z) = (z_0 + z_1^2 + z_0^2, z_1 + z_0 z_1): first and second derivatives by hand."""

    def decoder(z: Tensor) -> Tensor:
        a, b = z[..., 0], z[..., 1]
        return torch.stack([a + a**2 + b**2, b + a * b + b**2], -1)

    vae, data = vae_of(decoder, latent=2), known_data()
    scores, arrays = score_model(vae, data)
    encoded = encode(vae, data)
    z, x = encoded.latents[:DERIVATIVES], data.x[encoded.indices[:DERIVATIVES]]
    r = x - decoder(z)
    a, b = z.unbind(-1)
    J = torch.stack([torch.stack([1 + 2 * a, 2 * b], -1), torch.stack([b, 1 + a + 2 * b], -1)], -2)
    gram = J.mT @ J
    H = torch.stack(
        [torch.stack([2 * r[:, 0], r[:, 1]], -1), torch.stack([r[:, 1], 2 * r.sum(-1)], -1)], -2
    )
    np.testing.assert_allclose(arrays["gram"], gram.abs().mean(0), rtol=1e-10)
    np.testing.assert_allclose(arrays["hessian"], H.abs().mean(0), rtol=1e-10)
    for name, M in (("gram", gram), ("hessian", H)):
        score = lambda M: M[..., 0, 1].abs() / (M[..., 0, 0] * M[..., 1, 1]).abs().sqrt()
        assert scores[f"off_diagonal_{name}"] == pytest.approx(score(M).mean().item(), rel=1e-9)
        of_mean, of_abs = score(M.mean(0)).item(), score(M.abs().mean(0)).item()
        assert scores[f"off_diagonal_{name}_of_mean"] == pytest.approx(of_mean, rel=1e-9)
        assert scores[f"off_diagonal_{name}_of_abs"] == pytest.approx(of_abs, rel=1e-9)


def test_fewer_than_two_active_latents_have_no_off_diagonal() -> None:
    one = vae_of(IDENTITY, mixing=torch.diag(torch.tensor([1.0, 0.0])))
    scores, arrays = score_model(one, known_data())
    assert scores["active"] == 1
    for name in ("off_diagonal_gram", "off_diagonal_hessian", "dto", "c_ima"):
        assert scores[name] is None
    assert arrays["gram"].shape == (3, 3)


def test_dependent_columns_leave_the_contrast_undefined() -> None:
    scores, _ = score_model(vae_of(linear(torch.ones(2, 2))), known_data())
    assert scores["c_ima"] is None
    assert scores["off_diagonal_gram"] == pytest.approx(1)
    assert scores["dto"] == pytest.approx(math.sqrt(4 * (1 - math.sqrt(0.5))))


def test_derivatives_are_taken_in_double_precision() -> None:
    """Of a float32 model, so as not to lose small entries of J'J to rounding."""
    vae = vae_of(linear(torch.tensor([[1.0, 1e-9], [0.0, 1.0]])), latent=2).float()
    scores, _ = score_model(vae, known_data())
    assert scores["off_diagonal_gram"] == pytest.approx(1e-9, rel=1e-6)
    assert next(vae.parameters()).dtype == torch.float32, "a copy is converted"


# --- pictures ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Images(Samples):
    resolution: int = 1

    def batch(self, indices: Tensor) -> Tensor:
        return self.x[indices]


def test_pictures_are_bytes_of_images_means_and_traversals() -> None:
    data = known_data()
    images = Images(data.x / 4 + 0.5, data.factors, data.factor_names)
    weight = torch.tensor([[0.1, 0.0], [0.0, 0.7]])
    decoder = lambda z: z[..., :2] @ weight.to(z.dtype).mT + 0.5
    mixing = torch.diag(torch.tensor([1.0, 3.0]))  # the second latent varies most
    vae = vae_of(decoder, mixing=mixing)
    _, arrays = score_model(vae, images)
    encoded = encode(vae, images)
    as_bytes = lambda t: (t.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    first = images.x[encoded.indices[:8]]
    np.testing.assert_array_equal(arrays["images"], as_bytes(first))
    # One by one or in a batch, a product may round to the neighbouring byte.
    near = lambda found, wanted: np.abs(found.astype(int) - wanted.astype(int)).max() <= 1
    assert near(arrays["reconstructions"], as_bytes(decoder(encoded.means[:8])))
    assert arrays["traversals"].shape == (3, 9, 2)
    mean = encoded.means[0]
    for row, latent in enumerate((1, 0, 2)):  # by falling activity
        for column, value in enumerate(np.linspace(-2, 2, 9)):
            z = mean.clone()
            z[latent] = value
            assert near(arrays["traversals"][row, column], as_bytes(decoder(z)))
    _, without = score_model(vae, images, whole=False)
    assert not {"images", "reconstructions", "traversals"} & set(without)


def test_pictures_need_images() -> None:
    _, arrays = score_model(vae_of(IDENTITY), known_data())
    assert "images" not in arrays


# --- runs --------------------------------------------------------------------------------------

CONFIG = TrainConfig(
    dataset="linear",
    resolution=1,
    network="mlp",
    width=4,
    depth=1,
    latent=2,
    images=16 * 8,
    batch=16,
    learning_rate=0.01,
    warmup=0.0,
    snapshots=3,
)


@pytest.fixture(scope="module")
def stack() -> Stack:
    torch.set_default_dtype(torch.float64)
    data = small()
    stack = Stack.start([CONFIG, replace(CONFIG, seed=1)], data)
    for _ in train(stack, data):
        pass
    return stack


def small() -> Samples:
    data = known_data()
    return Samples(data.x[:400].float(), data.factors[:400], data.factor_names)


def test_evaluation_is_deterministic(stack: Stack) -> None:
    once, arrays = evaluate(stack, [1], small())[0]
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float32)
    again, same = evaluate(stack, [1], small())[0]
    assert once == again
    assert arrays.keys() == same.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, same[name])
    other, _ = evaluate(stack, [0], small())[0]
    assert other["rate"] != once["rate"]


def test_curves_have_a_value_a_snapshot(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "SNAPSHOT_IMAGES", 300)
    scores, arrays = evaluate(stack, [0], small())[0]
    assert arrays["curve_step"].tolist() == [1, 3, 8]
    early = {name: value[0] for name, value in stack.snapshots[1].items()}
    vae = Stack.start([CONFIG], small()).model
    vae.load_state_dict(early)
    expected, _ = score_model(vae.requires_grad_(False), small(), 300)
    for name, value in expected.items():
        if name == "reasons" or "tangent" in name or name.startswith("c2"):
            assert f"curve_{name}" not in arrays  # of the trained model alone
            continue
        # Encoded in float32, a few models at once or one by itself: sums in another order.
        wanted = math.nan if value is None else float(value)
        assert arrays[f"curve_{name}"][0] == pytest.approx(wanted, rel=1e-6, nan_ok=True), name
    assert scores["evaluation"] == VERSION
    assert "curve_evaluation" not in arrays


def test_curves_use_the_posterior_of_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in (loop, configuration):
        monkeypatch.setattr(part, "CHUNK", 4)
    monkeypatch.setattr(evaluation, "SNAPSHOT_IMAGES", 300)
    changed = replace(CONFIG, covariance_start="full", hold=0.5, snapshots=4)
    data = small()
    stack = Stack.start([changed], data)
    for _ in train(stack, data):
        pass
    _, arrays = evaluate(stack, [0], data)[0]
    assert arrays["curve_step"].tolist() == [2, 4, 6, 8]
    for kind in ("full", "diagonal"):
        alone = build(replace(CONFIG, covariance="full"), data.x.shape[1])
        set_covariance(alone, kind)
        for step, rate in zip((2, 4, 6, 8), arrays["curve_rate"], strict=True):
            alone.load_state_dict({k: v[0] for k, v in stack.snapshots[step].items()})
            expected = score_model(alone.requires_grad_(False), data, 300, whole=False)[0]["rate"]
            alike = (kind == "full") == (step <= 4)
            assert (rate == pytest.approx(expected, rel=1e-6)) == alike


def test_undefined_points_of_a_curve_are_nan(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([[0.0], [None, 0.25, 0.5]])
    found = lambda *_, **__: [(Scored({"mig": value}), {}) for value in next(values)]
    monkeypatch.setattr(evaluation, "score_models", found)
    _, arrays = evaluate(stack, [0], small())[0]
    np.testing.assert_array_equal(arrays["curve_mig"], [math.nan, 0.25, 0.5])


def test_linear_models_have_no_curves() -> None:
    config = replace(CONFIG, network="linear")
    stack = Stack.start([config], small())
    for _ in train(stack, small()):
        pass
    _, arrays = evaluate(stack, [0], small())[0]
    assert stack.snapshots and not [n for n in arrays if n.startswith("curve")]


def test_stored_runs_are_evaluated_anew_to_the_same(stack: Stack, tmp_path: Path) -> None:
    scores, arrays = evaluate(stack, [0], small())[0]
    run = Store(tmp_path).save(stack, 0, {"data_size": 2}, scores, arrays)
    again, same = reevaluate(run, small())
    assert again == scores
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, same[name])


def test_evaluation_leaves_the_stack_as_it_is(stack: Stack) -> None:
    before = stack.state(0)
    training = stack.model.training
    evaluate(stack, [0], small())
    after = stack.state(0)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert stack.model.training == training
    assert all(p.requires_grad for p in stack.model.parameters())


Result = tuple[dict, dict]


def assert_close(found: Result, expected: Result) -> None:
    """To the rounding of float32, which is what models are encoded in."""
    assert found[0].keys() == expected[0].keys()
    for name, value in expected[0].items():
        if name in ("reasons", "groups"):
            assert found[0][name].keys() == value.keys()
            continue
        close = value if value is None else pytest.approx(value, rel=1e-4, abs=1e-6)
        assert found[0][name] == close, name
    assert found[1].keys() == expected[1].keys()
    for name, array in expected[1].items():
        np.testing.assert_allclose(found[1][name], array, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("budget", [1e9, 1.0])  # of bytes: all together, and one by one
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_models_evaluated_together_score_as_alone(
    covariance: str, budget: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "SNAPSHOT_IMAGES", 100)
    base = replace(CONFIG, covariance=covariance, latent=3)
    stack = Stack.start([replace(base, seed=s, beta=0.5 + s) for s in range(3)], small())
    for _ in train(stack, small()):
        pass
    alone = [evaluate(stack, [run], small())[0] for run in range(3)]
    assert len({scores["rate"] for scores, _ in alone}) == 3
    monkeypatch.setattr(encoding, "_CPU_BYTES", budget)
    for run, found in zip([2, 0, 1], evaluate(stack, [2, 0, 1], small()), strict=True):
        assert_close(found, alone[run])


def test_convolutions_evaluated_together_score_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_CPU_BYTES", 1e9)
    pixels = torch.rand(16, 64, generator=torch.Generator().manual_seed(0))
    images = Images(pixels.float(), resolution=8)
    base = TrainConfig(dataset="linear", resolution=8, latent=2, images=16, batch=8)
    stack = Stack.start([replace(base, seed=s) for s in range(2)], images)
    together = evaluate(stack, [0, 1], images)
    for run in range(2):
        assert_close(together[run], evaluate(stack, [run], images)[0])


@pytest.mark.gpu
def test_models_are_evaluated_on_their_device() -> None:
    config = replace(CONFIG, covariance="full", latent=3)
    data, here, there = small(), torch.device("cpu"), torch.device("cuda")
    stack = Stack.start([replace(config, seed=s) for s in range(3)], data)
    for _ in train(stack, data):
        pass
    expected = evaluate(stack, [0, 1, 2], data)
    move = lambda params: {name: value.to(there) for name, value in params.items()}
    stack.params = move(stack.params)
    stack.snapshots = {step: move(params) for step, params in stack.snapshots.items()}
    for found, one in zip(evaluate(stack, [0, 1, 2], data.to(there)), expected, strict=True):
        assert_close(found, one)
    assert at_once("cuda") > at_once(str(here)) == 1


# --- what is lost to a diagnostic: nothing -------------------------------------------------------


class Crafted(KnownEncoder):
    """Posterior means and scales as they are told, in float32 as trained models have them."""

    def __init__(self, spread: float, scale: float, dead: bool) -> None:
        super().__init__(latent=3)
        self.spread, self.scale, self.dead = spread, scale, dead

    def forward(self, x: Tensor) -> Posterior:
        mean = torch.cat([self.spread * x[..., :2], x[..., :1] * (0 if self.dead else 1)], -1)
        return DiagonalGaussian(mean, torch.full_like(mean, self.scale))


@pytest.mark.parametrize("spread", [1.0, 1000.0])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize("dead", [False, True])
def test_posteriors_of_any_width_are_scored(spread: float, scale: float, dead: bool) -> None:
    """Means over 1,000 deviations of the prior, scales of 1e-6, a latent that says nothing."""
    vae = VAE(Crafted(spread, scale, dead), Function(IDENTITY)).eval()
    data = known_data()
    scores, arrays = score_model(vae, Samples(data.x.float(), data.factors, data.factor_names))
    assert scores["active"] == 3 - dead
    for name in ("distortion", "rate", "mig", "mig_density", "aas_density", "probe_height"):
        assert math.isfinite(scores[name]), name
    assert np.isfinite(arrays["information_density"]).all()
    if spread > 1 or scale < 1:  # values are told apart
        exact = np.diag([math.log(n) for n in LEVELS])
        np.testing.assert_allclose(arrays["information_density"][:2], exact, atol=1e-3)


def test_a_run_that_diverged_leaves_the_other_eight_whole(tmp_path: Path) -> None:
    """NaN weights in one of nine, of which each is scored as it is alone, and stored."""
    configs = [replace(CONFIG, seed=seed, snapshots=1) for seed in range(9)]
    stack = Stack.start(configs, small())
    for _ in train(stack, small()):
        pass
    name = next(iter(stack.params))
    stack.params[name][4] = torch.nan
    found = evaluate(stack, range(9), small())
    for run in (0, 8):
        assert_close(found[run], evaluate(stack, [run], small())[0])
    for run, (scores, arrays) in enumerate(found):
        assert groups(scores) == GROUPS and is_current(scores)
        assert (scores["rate"] is None) is (run == 4)
        stored = Store(tmp_path).save(stack, run, {"data_size": 2}, scores, arrays)
        assert stored.scores == scores
    scores, _ = found[4]
    assert {scores[name] for name in ("distortion", "active", "collapsed", "mig", "dto")} == {None}
    for name in ("rate", "active", "mig", "mig_density", "probe"):
        assert "nan" in scores["reasons"][name] or "finite" in scores["reasons"][name], name


def test_what_fails_for_many_is_done_for_each() -> None:
    """An encoder that no vmap can take, and that refuses one of two sets of weights."""

    class Refuses(KnownEncoder):
        def forward(self, x: Tensor) -> Posterior:
            if self.mixing.isnan().any():
                raise ValueError("no such weights")
            return super().forward(x)

    vae, data = VAE(Refuses(3), Function(IDENTITY)).eval(), known_data()
    good = dict(vae.named_parameters())
    bad = {name: value.detach() * torch.nan for name, value in good.items()}
    (first, _), (second, _) = score_models(Models.of(vae, bad, good), data, 1000, True, True)
    assert first.scores["rate"] is None and first.reasons == {"fit": "no such weights"}
    assert second.scores == score_models(Models.of(vae), data, 1000, True, True)[0][0].scores


# --- groups -------------------------------------------------------------------------------------


def test_runs_that_name_no_groups_hold_those_of_their_time(stack: Stack, tmp_path: Path) -> None:
    old = {"evaluation": 2, "rate": 1.0}
    assert set(groups(old)) == set(GROUPS) - {"null"} and not is_current(old)
    assert groups({"evaluation": 1}) == {} == groups({})
    scores, arrays = evaluate(stack, [0], small())[0]
    assert is_current(scores) and not is_current(scores | {"groups": GROUPS | {"null": 0}})
    save = lambda scores: Store(tmp_path).save(stack, 0, {"data_size": 2}, scores, arrays)
    needed([new := save(scores)], *GROUPS)
    run = save(old)
    needed([run], "fit", "derivatives", "information")
    with pytest.raises(ValueError, match=rf"'null' were not computed for 1 of 2 runs, {run.id}"):
        needed([new, run], "fit", "null")
    with pytest.raises(ValueError, match="'nul' is no group of scores; there are fit, "):
        needed([], "nul")


def test_the_record_holds_the_scores_it_was_made_with() -> None:
    """Every run of the record is found whole, whatever groups were added since."""
    record = Path(__file__).parent.parent / "record" / "runs"
    for path in sorted(record.glob("*/evaluation.json"))[:50]:
        held = groups(json.loads(path.read_text()))
        assert {"fit", "derivatives", "information", "curves"} <= set(held), path

"""Metrics against closed forms, exact couplings and slow twins written as loops."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from seams import metrics
from seams.metrics.mixtures import mixture_information

LOG2 = math.log(2)


def random_gram(*shape: int) -> Tensor:
    """Gram matrices with a condition number below 1e3, by construction."""
    size = shape[-1]
    q, _ = torch.linalg.qr(torch.randn(*shape, size))
    s = torch.linspace(1, 10, size)
    return q * s @ q.mT


def random_rotations(*shape: int) -> Tensor:
    return torch.linalg.qr(torch.randn(*shape, shape[-1]))[0]


def product_grid(*sizes: int) -> Tensor:
    """Every combination of factor values once: independent factors, exactly."""
    return torch.tensor(list(itertools.product(*(range(size) for size in sizes))))


# Histogram mutual information


def histogram_twin(latents: Tensor, factors: Tensor, bins: int) -> Tensor:
    """Double loop over latents and factors, triple over the cells; numpy decides the bins."""
    n = len(latents)
    result = torch.zeros(latents.shape[1], factors.shape[1])
    for j, k in itertools.product(range(latents.shape[1]), range(factors.shape[1])):
        values = latents[:, j].numpy()
        edges = np.histogram_bin_edges(values, bins)
        code = np.digitize(values, edges[1:-1])
        label = factors[:, k].numpy()
        for b, v in itertools.product(range(bins), sorted(set(label))):
            p = np.mean((code == b) & (label == v))
            if p > 0:
                result[j, k] += p * math.log(p / (np.mean(code == b) * np.mean(label == v)))
    assert n == len(factors)
    return result


@pytest.mark.parametrize("bins", [2, 7, 20])
def test_histogram_equals_the_double_loop(bins: int) -> None:
    factors = torch.stack([torch.randint(3, (400,)), 5 - 7 * torch.randint(4, (400,))], 1)
    noise = torch.randn(400, 3)
    latents = torch.stack([noise[:, 0], noise[:, 1] + factors[:, 0], noise[:, 2] ** 3], 1)
    information = metrics.mutual_information(latents, factors, bins)
    assert_close(information, histogram_twin(latents, factors, bins), rtol=1e-12, atol=1e-12)


def test_histogram_rows_are_latents_and_columns_factors() -> None:
    # Five latents, three factors of different sizes; only latent 3 knows anything: factor 1.
    factors = product_grid(2, 5, 3)
    latents = torch.zeros(len(factors), 5)
    latents[:, 3] = 10.0 - 2.5 * factors[:, 1]
    information = metrics.mutual_information(latents, factors)
    expected = torch.zeros(5, 3)
    expected[3, 1] = math.log(5)
    assert_close(information, expected, rtol=1e-12, atol=1e-12)
    assert (information[[0, 1, 2, 4]] == 0).all()


def test_histogram_of_a_discrete_coupling() -> None:
    # A latent that equals a bit with probability 3/4: I = log 2 - H(1/4), exactly, from 8 samples.
    latents = torch.tensor([0.0, 0, 0, 1, 1, 1, 1, 0])[:, None]
    factors = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])[:, None]
    expected = LOG2 + 0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    information = metrics.mutual_information(latents, factors)
    assert_close(information, torch.tensor([[expected]]), rtol=1e-12, atol=0)


def test_histogram_bins_have_equal_width_not_equal_mass() -> None:
    # One outlier: equal-width bins put the other values, and both labels, into one bin.
    latents = torch.tensor([0.0, 0.1, 0.2, 0.3, 100.0])[:, None]
    factors = torch.tensor([0, 1, 0, 1, 1])[:, None]
    information = metrics.mutual_information(latents, factors, bins=20)
    h = lambda p: -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert_close(information.item(), h(0.4) - 0.8 * h(0.5), rtol=1e-12, atol=0)


def test_histogram_bias_of_independent_variables_is_as_documented() -> None:
    n, bins, size = 10_000, 20, 40
    information = metrics.mutual_information(torch.rand(n, 30), torch.randint(size, (n, 1)), bins)
    # 2 n I is chi-squared with (bins - 1)(size - 1) degrees of freedom, to leading order.
    degrees = (bins - 1) * (size - 1)
    error = math.sqrt(2 * degrees / 30) / (2 * n)
    assert abs(information.mean().item() - degrees / (2 * n)) < 4 * error + 0.02 * degrees / (
        2 * n
    )


def test_histogram_of_runs_equals_the_runs_alone() -> None:
    latents, factors = torch.randn(2, 3, 200, 4), torch.randint(5, (200, 2))
    stacked = metrics.mutual_information(latents, factors)
    for run in itertools.product(range(2), range(3)):
        alone = metrics.mutual_information(latents[run], factors)
        assert_close(stacked[run], alone, rtol=1e-12, atol=1e-14)


def test_histogram_refuses_bad_input() -> None:
    latents, factors = torch.randn(10, 2), torch.randint(2, (10, 1))
    with pytest.raises(ValueError, match="`bins` must be 2 or more; got 1"):
        metrics.mutual_information(latents, factors, bins=1)
    latents[3, 1] = torch.nan
    with pytest.raises(ValueError, match="`latents` must be finite; got 1 values"):
        metrics.mutual_information(latents, factors)


# Density mutual information


def quadrature_twin(means: list[float], scales: list[float], labels: list[int]) -> float:
    """Adaptive quadrature of H(z) - H(z given v), one component after the other."""
    from scipy.integrate import quad

    def entropy(chosen: list[int]) -> float:
        def integrand(z: float) -> float:
            p = 0.0
            for i in chosen:
                u = (z - means[i]) / scales[i]
                p += math.exp(-0.5 * u * u) / (scales[i] * math.sqrt(2 * math.pi) * len(chosen))
            return -p * math.log(p) if p > 0 else 0.0

        low = min(m - 12 * s for m, s in zip(means, scales, strict=True))
        high = max(m + 12 * s for m, s in zip(means, scales, strict=True))
        knots = {low, high}
        for m, s in zip(means, scales, strict=True):
            knots |= {min(max(m + k * s, low), high) for k in (-6, -3, -1, 0, 1, 3, 6)}
        ends = sorted(knots)
        return sum(
            quad(integrand, a, b, epsabs=1e-11, epsrel=1e-11, limit=200)[0]
            for a, b in itertools.pairwise(ends)
        )

    n = len(means)
    conditional = 0.0
    for v in set(labels):
        chosen = [i for i in range(n) if labels[i] == v]
        conditional += len(chosen) / n * entropy(chosen)
    return entropy(list(range(n))) - conditional


@pytest.mark.parametrize(
    ("means", "scales", "labels"),
    [
        ([0.0, 1.0], [1.0, 1.0], [0, 1]),
        ([0.0, 5.0], [1.0, 1.0], [0, 1]),  # the slowest convergence of the rule
        ([0.0, 0.0], [1.0, 30.0], [0, 1]),
        ([0.0, 2.0, 2.5, -1.0], [0.3, 1.0, 0.05, 2.0], [0, 1, 1, 2]),
        ([0.0, 0.4, 0.4, 3.0, 3.3], [0.2, 0.1, 0.1, 0.5, 0.02], [0, 1, 0, 1, 1]),
    ],
)
def test_density_equals_adaptive_quadrature(
    means: list[float], scales: list[float], labels: list[int]
) -> None:
    information = metrics.density_mutual_information(
        torch.tensor(means)[:, None], torch.tensor(scales)[:, None], torch.tensor(labels)[:, None]
    )
    expected = quadrature_twin(means, scales, labels)
    assert expected > 0.05
    assert_close(information.item(), expected, rtol=0, atol=1e-5)


def test_density_of_separated_components_is_the_factor_entropy() -> None:
    factors = product_grid(2, 5, 3)
    means = torch.zeros(len(factors), 4)
    means[:, 2] = 100.0 * factors[:, 1]
    scales = torch.rand(len(factors), 4) + 0.5
    scales[:, [0, 1, 3]] = 1.0
    information = metrics.density_mutual_information(means, scales, factors)
    expected = torch.zeros(4, 3)
    expected[2, 1] = math.log(5)
    # In latent 2 the scales are random: they tell a little about the other two factors.
    assert_close(information[2, 1].item(), math.log(5), rtol=0, atol=1e-8)
    assert_close(information[[0, 1, 3]], expected[[0, 1, 3]], rtol=0, atol=1e-12)


def test_density_sees_a_factor_that_only_changes_the_scale() -> None:
    # Means alone would give 0.
    information = metrics.density_mutual_information(
        torch.zeros(4, 1),
        torch.tensor([1.0, 1.0, 9.0, 9.0])[:, None],
        torch.tensor([[0], [0], [1], [1]]),
    )
    assert_close(
        information.item(), quadrature_twin([0.0, 0.0], [1.0, 9.0], [0, 1]), rtol=0, atol=1e-5
    )


def test_density_error_is_below_the_stated_one_for_any_pair_of_components() -> None:
    # Many distances at once, one per latent; the slowest convergence is near 5.75, equal scales.
    distance = torch.linspace(0, 15, 61)
    for ratio, weight in itertools.product((1.0, 1.5, 4.0, 30.0), (1, 20)):
        means = torch.cat([torch.zeros(1, 61), distance.expand(weight, 61)])
        scales = torch.ones_like(means)
        scales[1:] = ratio
        labels = torch.ones(1 + weight, 1, dtype=torch.int64)
        labels[0] = 0
        information = metrics.density_mutual_information(means, scales, labels)
        fine = metrics.density_mutual_information(means, scales, labels, grid=8000)
        assert_close(information, fine, rtol=0, atol=1e-5)


def test_density_equals_the_dense_sum_over_all_components() -> None:
    # Scales over a factor of 300 and narrow among wide: every octave, block and window at work.
    n = 150
    factors = torch.randint(4, (n, 1))
    means = torch.randn(n, 2) + torch.tensor([0.0, 1.0]) * factors
    scales = torch.exp(torch.empty(n, 2).uniform_(math.log(0.003), 0.0))
    information = metrics.density_mutual_information(means, scales, factors)
    for j in range(2):
        z = torch.linspace(-12, 14, 40_001)
        density = torch.distributions.Normal(means[:, j], scales[:, j]).log_prob(z[:, None]).exp()
        joint = torch.stack([density[:, factors[:, 0] == v].sum(1) / n for v in range(4)])
        kl = torch.special.xlogy(joint, joint) - torch.special.xlogy(joint, joint.sum(0))
        expected = kl.sum() * (z[1] - z[0]) + metrics.entropies(factors)[0]
        assert_close(information[j, 0], expected, rtol=0, atol=1e-5)


def monte_carlo_twin(
    means: Tensor, scales: Tensor, labels: Tensor, draws: int
) -> tuple[float, float]:
    """E log q(z given v) / q(z) over draws of (v, z), and its standard error; one latent."""
    i = torch.randint(len(means), (draws,))
    z = means[i] + scales[i] * torch.randn(draws)
    log_joint = torch.distributions.Normal(means, scales).log_prob(z[:, None])
    same = labels[i][:, None] == labels
    inside = log_joint.masked_fill(~same, -torch.inf).logsumexp(1) - same.sum(1).log()
    ratio = inside - log_joint.logsumexp(1) + math.log(len(means))
    return ratio.mean().item(), ratio.std().item() / math.sqrt(draws)


def test_density_agrees_with_monte_carlo() -> None:
    n = 300
    factors = torch.stack([torch.randint(3, (n,)), torch.randint(6, (n,))], 1)
    means = torch.randn(n, 3)
    means[:, 0] = 0.5 * factors[:, 1] + 0.2 * means[:, 0]
    means[:, 1] += factors[:, 0]
    scales = torch.exp(0.5 * torch.randn(n, 3) - 1.5)
    information = metrics.density_mutual_information(means, scales, factors)
    for j, k in itertools.product(range(3), range(2)):
        value, error = monte_carlo_twin(means[:, j], scales[:, j], factors[:, k], 5000)
        assert abs(information[j, k].item() - value) < 4 * error, (j, k, value, error)


def test_density_does_not_depend_on_blocks_or_a_finer_grid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    means, factors = torch.randn(2, 200, 3), torch.randint(4, (200, 2))
    scales = torch.exp(torch.randn(2, 200, 3) - 2).clamp(0.03, 1)
    stacked = metrics.density_mutual_information(means, scales, factors)
    for run in range(2):
        alone = metrics.density_mutual_information(means[run], scales[run], factors)
        assert_close(stacked[run], alone, rtol=1e-12, atol=0)
    finer = metrics.density_mutual_information(means, scales, factors, grid=5000)
    assert_close(stacked, finer, rtol=0, atol=1e-5)
    monkeypatch.setattr(metrics.information, "_CHUNK", 100)
    narrow = metrics.density_mutual_information(means, scales, factors)
    assert_close(stacked, narrow, rtol=0, atol=1e-7)


def test_density_of_any_width_is_that_of_the_fine_grid() -> None:
    """Halving the range and a grid that resolves everything are two ways to one number."""
    n = 60
    factors = torch.stack([torch.randint(3, (n,)), torch.randint(5, (n,))], 1)
    means = torch.randn(n, 4)
    means[:, 1] += factors[:, 1]
    scales = torch.exp(torch.empty(n, 4).uniform_(math.log(1e-3), 0.0))
    scales[:, 2] = 1e-3  # all narrow
    scales[0, 3] = 2.0  # one reaches over all others
    fine = metrics.density_mutual_information(means, scales, factors, grid=2**16)
    labels = factors.T + torch.tensor([[0], [3]])  # numbered through
    for j in range(4):
        found = mixture_information(means[:, j], scales[:, j], labels, [3, 5])
        assert_close(found, fine[j], rtol=0, atol=1e-7)


def test_density_of_posteriors_however_narrow() -> None:
    """Apart they tell a factor's entropy; alike, nothing; two widths at one place, quadrature."""
    factors = product_grid(4, 3)
    means = 1000 * factors.double() @ torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    scales = torch.full_like(means, 1e-6)
    for tiny in (1e-6, 1e-12, 5e-324):
        scales[:, 0] = tiny
        found = metrics.density_mutual_information(means, scales, factors)
        expected = torch.tensor([[math.log(4), 0.0], [0.0, 0.0]])
        assert_close(found, expected, rtol=0, atol=1e-8)
    for ratio in (2.0**-20, 1e-300):  # of two widths at one place; the wide density is constant
        scales = torch.tensor([1.0, ratio])[:, None]
        labels = torch.tensor([[0], [1]])
        found = metrics.density_mutual_information(torch.zeros(2, 1), scales, labels)
        lost = 0.5 * ratio * overlap_loss(ratio)
        assert_close(found.item(), LOG2 - lost, rtol=0, atol=2e-7)


def overlap_loss(ratio: float) -> float:
    """Integral of p log(1 + q / p) + q log(1 + p / q) over z / ratio; q is narrow, p constant."""
    from scipy.integrate import quad

    p = 1 / math.sqrt(2 * math.pi)

    def integrand(z: float) -> float:
        q = p / ratio * math.exp(-0.5 * z * z)
        return p * math.log1p(q / p) + (q * math.log1p(p / q) if q > 0 else 0.0)

    return quad(integrand, -12, 12, limit=200)[0]


def test_density_refuses_bad_input() -> None:
    means, factors = torch.zeros(4, 2), torch.arange(4)[:, None]
    scales = torch.ones(4, 2)
    scales[2, 1] = 0.001
    with pytest.raises(ValueError, match=r"narrowest posterior; latent 1 needs \d+ points"):
        metrics.density_mutual_information(means, scales, factors, grid=1000)
    with pytest.raises(ValueError, match="`scales` must be finite and positive; got -2"):
        metrics.density_mutual_information(means, scales - 3, factors)
    means[0, 0] = torch.inf
    with pytest.raises(ValueError, match="`means` must be finite; got 1 values"):
        metrics.density_mutual_information(means, scales, factors)


def test_factors_that_are_not_labels_are_refused(plain: Callable) -> None:
    latents, good = torch.randn(6, 2), torch.randint(3, (6, 2))
    module = plain(metrics.information)
    calls = (
        lambda factors: module.mutual_information(latents, factors),
        lambda factors: module.density_mutual_information(latents, latents.exp(), factors),
    )
    for factors, message in (
        (torch.randn(6, 2), r"integers \[n, factor\]; got \[6, 2\] of torch.float64. Number"),
        (good[:, 0], r"integers \[n, factor\]; got \[6\] of torch.int64"),
        (good[:5], "one row a sample; got 5 for 6 samples"),
    ):
        for call in calls:
            with pytest.raises(ValueError, match=message):
                call(factors)
    with pytest.raises(ValueError, match="integers"):
        module.entropies(torch.randn(6, 2))
    for factors in (good[:, 0], good[:5]):
        with pytest.raises(ValueError, match=r"one column a factor; got \[.* for 6 samples"):
            plain(metrics.recovery).linear_probe_r2(latents, factors)


def test_values_on_an_edge_fall_as_numpy_has_it() -> None:
    """Whole numbers in bins one wide, under affine maps that move edges by rounding."""
    labels = torch.arange(21)[:, None]
    for _ in range(200):
        shift, unit = torch.randn(1).item(), torch.rand(1).item() + 0.01
        values = unit * torch.arange(21.0) + shift
        counts = torch.from_numpy(np.histogram(values.numpy(), 20)[0]).double()
        expected = math.log(21) - torch.special.xlogy(counts, counts).sum() / 21
        found = metrics.mutual_information(values[:, None], labels)
        assert_close(found[0, 0], expected, rtol=0, atol=1e-12)


# Scores of an information matrix


def test_entropies_of_uniform_skewed_and_constant_factors() -> None:
    factors = torch.tensor([[0, 3, 9], [1, 3, 9], [2, 3, 9], [3, 8, 9]])
    skewed = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    values = metrics.entropies(factors)
    assert_close(values, torch.tensor([math.log(4), skewed, 0.0]), rtol=1e-12, atol=0)
    assert values[2] == 0


def test_gap_of_known_matrices() -> None:
    h = torch.tensor([1.0, 2.0, 4.0])
    perfect = torch.diag(h)
    assert metrics.mutual_information_gap(perfect, h) == 1
    assert metrics.mutual_information_gap(torch.ones(5, 3), h) == 0
    assert metrics.mutual_information_gap(torch.cat([perfect, perfect]), h) == 0
    # Column 0: (0.9 - 0.4) / 1; column 1: (1 - 1) / 2; column 2: (3 - 2.6) / 4.
    information = torch.tensor(
        [[0.4, 1.0, 0.1], [0.9, 1.0, 2.6], [0.1, 0.3, 3.0], [0.0, 0.0, 0.0]]
    )
    gaps = metrics.mutual_information_gaps(torch.stack([information, 0 * information]), h)
    assert_close(gaps[0], torch.tensor([0.5, 0.0, 0.1]), rtol=1e-12, atol=1e-12)
    assert (gaps[1] == 0).all()
    assert_close(metrics.mutual_information_gap(information, h), 0.2, rtol=1e-12, atol=0)


def test_gap_end_to_end() -> None:
    factors = product_grid(2, 5, 3)
    h = metrics.entropies(factors)
    identity = factors.to(h.dtype)

    def gap(latents: Tensor) -> float:
        return metrics.mutual_information_gap(metrics.mutual_information(latents, factors), h)

    assert_close(gap(identity), 1.0, rtol=1e-12, atol=0)
    assert gap(torch.cat([identity, identity], 1)) == 0
    assert gap(torch.ones(30, 4)) == 0
    mixed = identity @ torch.tensor([[1.0, 1, 0], [-1, 1, 0], [0, 0, 1]])
    assert 1 / 3 < gap(mixed) < 0.8


def test_gap_refuses_bad_input() -> None:
    h = torch.ones(3)
    with pytest.raises(ValueError, match="Every factor must vary; factor 1 has entropy 0"):
        metrics.mutual_information_gap(torch.ones(4, 3), torch.tensor([1.0, 0.0, 2.0]))
    with pytest.raises(ValueError, match="factor 2 has entropy nan"):
        metrics.mutual_information_gaps(torch.ones(4, 3), torch.tensor([1.0, 1.0, torch.nan]))
    with pytest.raises(ValueError, match="needs 2 or more latents; got 1"):
        metrics.mutual_information_gap(torch.ones(1, 3), h)
    for bad in (-1.0, torch.nan, torch.inf):
        with pytest.raises(ValueError, match="`information` must be finite and not negative"):
            metrics.mutual_information_gap(torch.full((4, 3), bad), h)


def test_alignment_of_known_matrices() -> None:
    permuted = torch.diag(torch.tensor([0.5, 2.0, 1.0, 3.0]))[torch.randperm(4)]
    assert metrics.axis_alignment_score(permuted) == 1
    assert_close(metrics.axis_alignment_score(torch.ones(10, 5)), 0.15, rtol=1e-12, atol=0)
    assert_close(metrics.axis_alignment_score(torch.zeros(10, 5)), 0.15, rtol=1e-12, atol=0)
    # Row maxima 3 + 5, column maxima 4 + 5 + 2 (not square), total 17.
    information = torch.tensor([[3.0, 1.0, 2.0], [4.0, 5.0, 2.0]])
    assert_close(metrics.axis_alignment_score(information), 19 / 34, rtol=1e-12, atol=0)
    shuffled = information[[1, 0]][:, [2, 0, 1]]
    assert_close(metrics.axis_alignment_score(shuffled), 19 / 34, rtol=1e-12, atol=0)


def test_alignment_is_never_below_its_floor() -> None:
    for _ in range(100):
        d, k = torch.randint(1, 8, (2,)).tolist()
        score = metrics.axis_alignment_score(torch.rand(d, k))
        assert (1 / d + 1 / k) / 2 - 1e-12 <= score <= 1 + 1e-12


def test_alignment_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="`information` must be finite and not negative"):
        metrics.axis_alignment_score(torch.tensor([[1.0, -0.5]]))


def test_greedy_order_of_a_known_matrix() -> None:
    information = torch.tensor(
        [[0.0, 0.1, 0.2], [5.0, 4.0, 0.0], [0.3, 0.0, 0.0], [4.9, 1.0, 0.0], [0.0, 0.0, 0.5]]
    )
    latents, factors = metrics.greedy_order(information)
    # 5.0 at (1, 0) rules out 4.9 and 4.0; 1.0 at (3, 1) is next, then 0.5 at (4, 2).
    assert latents.tolist() == [1, 3, 4, 2, 0]
    assert factors.tolist() == [0, 1, 2]
    transposed = metrics.greedy_order(information.T)
    assert transposed[0].tolist() == [0, 1, 2]
    assert transposed[1].tolist() == [1, 3, 4, 2, 0]


def test_greedy_order_undoes_a_permutation() -> None:
    values = torch.tensor([9.0, 7.0, 5.0, 3.0])
    latents, factors = torch.randperm(4), torch.randperm(4)
    shuffled = torch.diag(values)[latents][:, factors]
    rows, columns = metrics.greedy_order(shuffled)
    assert (shuffled[rows][:, columns] == torch.diag(values)).all()


# Activity and diagonality


def test_active_latents_at_the_threshold() -> None:
    signs = torch.tensor([1.0, -1.0]).repeat(50)[:, None]
    means = 3.0 + signs * torch.tensor([0.0, 0.0999, 0.1001, 1.0])
    assert metrics.active_latents(means).tolist() == [False, False, True, True]
    assert metrics.active_latents(torch.stack([means, means]), 0.5)[1].tolist() == [False] * 3 + [
        True
    ]


def test_latents_in_use_cost_more_than_a_tenth_of_a_nat() -> None:
    kl = torch.tensor([0.0, 0.1, 0.11, 3.0])
    assert metrics.latents_in_use(kl).tolist() == [False, False, True, True]
    assert metrics.latents_in_use(torch.stack([kl, kl]), 1.0)[1].tolist() == [False] * 3 + [True]


def test_a_mean_that_varies_a_little_is_active_and_not_in_use() -> None:
    # A linear-Gaussian posterior: means of variance v, posterior variance 1 - v.
    v = torch.tensor([0.009, 0.02, 0.17, 0.19, 0.9])
    means = v.sqrt() * torch.tensor([1.0, -1.0]).repeat(50)[:, None]
    kl = -0.5 * torch.log1p(-v)
    assert metrics.active_latents(means).tolist() == [False, True, True, True, True]
    assert metrics.latents_in_use(kl).tolist() == [False, False, False, True, True]


def off_diagonality_twin(M: Tensor) -> float:
    """The listing of Appendix E, entry by entry."""
    d = M.shape[1]
    total = 0.0
    for i, j in itertools.product(range(d), range(d)):
        if i != j:
            total += abs(M[i, j].item()) / math.sqrt(abs(M[i, i].item()) * abs(M[j, j].item()))
    return total / (d * (d - 1))


def test_off_diagonality_of_known_matrices() -> None:
    diagonal = torch.diag_embed(torch.tensor([[1.0, -2.0, 3.0], [0.1, 0.7, 1e9]]))
    assert (metrics.off_diagonality(diagonal) == 0).all()
    assert_close(metrics.off_diagonality(torch.ones(2, 4, 4)), torch.ones(2), rtol=1e-12, atol=0)
    M = torch.randn(5, 4, 4)
    expected = torch.tensor([off_diagonality_twin(m) for m in M])
    assert_close(metrics.off_diagonality(M), expected, rtol=1e-12, atol=0)
    a = torch.tensor([0.01, 3.0, 200.0, 1.0])
    assert_close(metrics.off_diagonality(a[:, None] * M * a), expected, rtol=1e-12, atol=0)
    assert_close(metrics.off_diagonality(M[None])[0], expected, rtol=1e-12, atol=0)


def test_off_diagonality_of_active_latents_and_of_the_mean() -> None:
    M = torch.randn(6, 4, 4)
    active = torch.tensor([True, False, True, True])
    kept = M[:, [0, 2, 3]][:, :, [0, 2, 3]]
    M[:, 1] = 0
    assert_close(
        metrics.off_diagonality(M, active), metrics.off_diagonality(kept), rtol=1e-12, atol=0
    )
    of_mean = metrics.off_diagonality_of_mean(M, active)
    assert_close(of_mean.item(), off_diagonality_twin(kept.mean(0)), rtol=1e-12, atol=0)
    # Signs that cancel: each matrix scores one half, their mean scores nothing.
    pair = torch.tensor([[[1.0, 0.5], [0.5, 1.0]], [[1.0, -0.5], [-0.5, 1.0]]])
    assert metrics.off_diagonality_of_mean(pair) == 0
    assert_close(metrics.off_diagonality(pair).mean().item(), 0.5, rtol=1e-12, atol=0)


def test_off_diagonality_refuses_bad_input() -> None:
    M = torch.ones(2, 4, 4)
    M[0, 3, 3] = 0
    exact = (
        "`off_diagonality` needs a nonzero diagonal; latent 3 of sample 0 has 0.0. It is "
        "inactive: select active latents before calling."
    )
    with pytest.raises(ValueError) as caught:
        metrics.off_diagonality(M)
    assert str(caught.value) == exact
    active = torch.tensor([True, False, True, True])
    with pytest.raises(ValueError, match="latent 3 of sample 0 has"):
        metrics.off_diagonality(M, active)
    with pytest.raises(ValueError, match="latent 3 of sample 1, 0 has"):
        metrics.off_diagonality(torch.stack([torch.ones(2, 4, 4), M]))
    with pytest.raises(ValueError, match="`off_diagonality` needs 2 or more latents; got 1"):
        metrics.off_diagonality(M, torch.tensor([True, False, False, False]))
    with pytest.raises(ValueError, match="`off_diagonality` needs finite entries; got 1"):
        metrics.off_diagonality(
            M.index_put(
                (torch.tensor(1), torch.tensor(0), torch.tensor(1)), torch.tensor(torch.nan)
            )
        )


def test_contrast_of_known_matrices() -> None:
    assert (metrics.independent_mechanism_contrast(torch.eye(3).expand(2, 3, 3)) == 0).all()
    # Two columns at correlation r: -log(1 - r^2) / 2, whatever their lengths.
    r = 0.6
    gram = torch.tensor([[[4.0, 2 * 5 * r], [2 * 5 * r, 25.0]]])
    expected = torch.tensor([-0.5 * math.log(1 - r**2)])
    assert_close(metrics.independent_mechanism_contrast(gram), expected, rtol=1e-12, atol=0)
    G = random_gram(7, 4)
    by_definition = 0.5 * (torch.diagonal(G, dim1=1, dim2=2).log().sum(1) - torch.logdet(G))
    assert_close(metrics.independent_mechanism_contrast(G), by_definition, rtol=1e-10, atol=0)


def test_contrast_refuses_bad_input() -> None:
    G = random_gram(3, 3)
    G[1] = 1.0
    with pytest.raises(ValueError, match="must be positive definite; sample 1 is not"):
        metrics.independent_mechanism_contrast(G)
    G[2, 0] = 0
    with pytest.raises(
        ValueError,
        match="`independent_mechanism_contrast` needs a nonzero diag.* latent 0 of sample 2",
    ):
        metrics.independent_mechanism_contrast(G)
    active = torch.tensor([False, True, True])
    with pytest.raises(ValueError, match="sample 1 is not"):
        metrics.independent_mechanism_contrast(G, active)


def orthogonality_twin(V: Tensor) -> float:
    """Every signed permutation, tried."""
    d = len(V)
    distances = []
    for order in itertools.permutations(range(d)):
        for signs in itertools.product((-1.0, 1.0), repeat=d):
            P = torch.zeros(d, d)
            P[range(d), order] = torch.tensor(signs)
            distances.append((V - P).norm().item())
    return min(distances)


def test_distance_to_orthogonality_tries_every_signed_permutation() -> None:
    V = random_rotations(6, 4)
    expected = torch.tensor([orthogonality_twin(v) for v in V])
    assert_close(metrics.distance_to_orthogonality(V), expected, rtol=1e-12, atol=0)
    shape = metrics.distance_to_orthogonality(V.unflatten(0, (2, 3)))
    assert_close(shape, expected.view(2, 3), rtol=1e-12, atol=0)


def test_distance_to_orthogonality_of_known_matrices() -> None:
    P = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))[torch.randperm(4)]
    assert metrics.distance_to_orthogonality(P[None]) == 0
    angle = 0.3  # a plane rotation: each of four entries contributes
    c, s = math.cos(angle), math.sin(angle)
    V = torch.tensor([[[c, -s], [s, c]]])
    expected = torch.tensor([2 * math.sqrt(1 - c)])
    assert_close(metrics.distance_to_orthogonality(V), expected, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="`V` must be finite; got 4 entries"):
        metrics.distance_to_orthogonality(V * torch.nan)


# Recovery of known latents


def test_correlation_matrix_equals_numpy() -> None:
    latents, truth = torch.randn(50, 3), torch.randn(50, 2).exp()
    expected = np.corrcoef(latents.numpy().T, truth.numpy().T)[:3, 3:]
    assert_close(
        metrics.correlation_matrix(latents, truth),
        torch.from_numpy(expected),
        rtol=1e-12,
        atol=1e-12,
    )


def test_mean_correlation_of_known_cases() -> None:
    truth = torch.randn(200, 3)
    recovered = truth[:, [2, 0, 1]] * torch.tensor([-3.0, 0.5, 1.0]) + 7
    assert_close(metrics.mean_correlation(recovered, truth), 1.0, rtol=1e-12, atol=0)
    monotonic = recovered.exp()
    assert metrics.mean_correlation(monotonic, truth) < 0.95
    assert_close(metrics.mean_correlation(monotonic, truth, "spearman"), 1.0, rtol=1e-12, atol=0)
    # One latent serves one truth only; what is left without a latent counts 0, a constant one too.
    single = metrics.mean_correlation(truth[:, :1], truth)
    assert_close(single, 1 / 3, rtol=1e-12, atol=0)
    # (The mean of 200 times 0.7 is not 0.7 in floating point.)
    collapsed = torch.cat([truth[:, :2], torch.full((200, 4), 0.7)], 1)
    assert (metrics.correlation_matrix(collapsed, truth)[2:] == 0).all()
    assert_close(metrics.mean_correlation(collapsed, truth), 2 / 3, rtol=1e-12, atol=0)


def test_mean_correlation_assigns_jointly() -> None:
    # Greedy takes 0.75 and is left with 0; the best assignment is 0.6 and 0.7.
    directions = torch.linalg.qr(torch.cat([torch.ones(6, 1), torch.randn(6, 4)], 1))[0][:, 1:]
    truth = directions[:, :2]
    mixing = torch.tensor(
        [[0.75, 0.6, math.sqrt(1 - 0.75**2 - 0.6**2), 0.0], [0.7, 0.0, 0.0, 0.0]]
    )
    mixing[1, 3] = math.sqrt(1 - 0.7**2)
    value = metrics.mean_correlation(directions @ mixing.T, truth)
    assert_close(value, (0.6 + 0.7) / 2, rtol=1e-12, atol=0)


def test_correlation_of_tied_ranks_equals_scipy() -> None:
    from scipy.stats import spearmanr

    latents, truth = torch.randint(5, (60, 1)).double(), torch.randint(4, (60, 1)).double()
    expected = spearmanr(latents.numpy(), truth.numpy()).statistic
    value = metrics.correlation_matrix(latents, truth, "spearman").item()
    assert_close(value, float(expected), rtol=1e-12, atol=0)


def test_correlation_refuses_bad_input() -> None:
    latents, truth = torch.randn(9, 2), torch.randn(9, 2)
    with pytest.raises(ValueError, match="`truth` must vary in every column; column 1"):
        metrics.mean_correlation(latents, torch.cat([truth[:, :1], torch.ones(9, 1)], 1))
    with pytest.raises(ValueError, match="`latents` must be finite; got 18 values"):
        metrics.correlation_matrix(latents * torch.nan, truth)


def test_probe_is_exact_and_rotation_invariant() -> None:
    factors = torch.stack([torch.randint(6, (300,)), torch.randint(32, (300,))], 1)
    noise = torch.randn(300, 1)
    clean = torch.cat([factors + 0.0, noise, torch.zeros(300, 1)], 1)
    mixed = clean @ random_rotations(1, 4)[0] + 5
    assert_close(metrics.linear_probe_r2(mixed, factors), torch.ones(2), rtol=1e-12, atol=0)
    noisy = mixed + torch.randn(300, 4)
    rotated = noisy @ random_rotations(1, 4)[0]
    scores = metrics.linear_probe_r2(noisy, factors)
    assert 0.1 < scores[0] < 0.9
    assert_close(metrics.linear_probe_r2(rotated, factors), scores, rtol=1e-10, atol=0)


def test_probe_equals_numpy_on_a_given_split() -> None:
    latents, factors = torch.randn(80, 3), torch.randint(4, (80, 1))
    latents[:, 1] += factors[:, 0]
    train = torch.arange(80) % 3 > 0
    design = np.concatenate([latents.numpy(), np.ones((80, 1))], 1)
    fit, held = train.numpy(), ~train.numpy()
    target = factors[:, 0].numpy()
    weights = np.linalg.lstsq(design[fit], target[fit], rcond=None)[0]
    error = ((target[held] - design[held] @ weights) ** 2).sum()
    expected = 1 - error / ((target[held] - target[held].mean()) ** 2).sum()
    score = metrics.linear_probe_r2(latents, factors, train=train)
    assert_close(score.item(), float(expected), rtol=1e-10, atol=0)


def test_probe_encodes_circles_and_categories() -> None:
    factors = torch.stack([torch.randint(3, (400,)), torch.randint(40, (400,))], 1)
    angle = 2 * torch.pi * factors[:, 1] / 39
    category = torch.eye(3)[factors[:, 0]][:, [0, 1]] @ torch.tensor([[1.0, 2.0], [-2.0, 3.0]])
    latents = torch.cat([category, torch.stack([angle.sin(), angle.cos()], 1)], 1)
    encoded = metrics.linear_probe_r2(latents, factors, one_hot=[0], periods={1: 39})
    assert_close(encoded, torch.ones(2), rtol=1e-10, atol=0)
    assert metrics.linear_probe_r2(latents, factors)[1] < 0.9


def test_probe_of_noise_is_not_positive_by_overfitting() -> None:
    score = metrics.linear_probe_r2(torch.randn(60, 20), torch.randint(5, (60, 1)))
    assert score.item() < 0


def test_probe_refuses_bad_input() -> None:
    latents, factors = torch.randn(20, 2), torch.randint(3, (20, 2))
    for one_hot, periods in (([2], {}), ([], {-1: 4.0}), ([1], {1: 4.0})):
        with pytest.raises(ValueError, match="must name different columns from 0 to 1"):
            metrics.linear_probe_r2(latents, factors, one_hot, periods)
    with pytest.raises(ValueError, match="A period must be positive; got 0 for column 1"):
        metrics.linear_probe_r2(latents, factors, periods={1: 0})
    with pytest.raises(ValueError, match="samples on both sides; got 20 of 20"):
        metrics.linear_probe_r2(latents, factors, train=torch.ones(20, dtype=torch.bool))
    train = torch.arange(20) < 12
    factors[12:, 1] = 2
    with pytest.raises(ValueError, match="held-out samples; factor 1 does not"):
        metrics.linear_probe_r2(latents, factors, train=train)
    with pytest.raises(ValueError, match="`latents` must be finite; got 40 values"):
        metrics.linear_probe_r2(latents * torch.inf, factors)


# Bands


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_mean_interval_covers_what_it_says(runs: int) -> None:
    """Of 20,000 means of normal values; of skewed ones it covers less."""
    n = 20_000
    exponential = -torch.rand(runs, n).log()
    for values, mean, expected in (
        (torch.randn(runs, n), 0.0, 0.95),
        (exponential, 1.0, {3: 0.885, 5: 0.885, 10: 0.90}[runs]),  # as simulated
    ):
        low, high = metrics.mean_interval(values)
        covered = ((low <= mean) & (mean <= high)).double().mean().item()
        assert abs(covered - expected) < 4 * (0.1 / n) ** 0.5, (runs, mean)


def test_mean_interval_of_a_known_sample() -> None:
    """The table of t: 4.303 for 3 values, 12.706 for 2."""
    low, high = metrics.mean_interval(torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]]))
    half = 4.302653 / math.sqrt(3)
    assert_close(low, torch.tensor([2 - half, 5.0]), rtol=1e-6, atol=0)
    assert_close(high, torch.tensor([2 + half, 5.0]), rtol=1e-6, atol=0)
    low, high = metrics.mean_interval(torch.tensor([0.0, 2.0]), level=0.9)
    assert_close(high - low, torch.tensor(2 * 6.313752), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="2 or more runs; got 1. Train more seeds"):
        metrics.mean_interval(torch.ones(1))
    with pytest.raises(ValueError, match=r"between 0 and 1; got 95\.0"):
        metrics.mean_interval(torch.ones(3), level=95.0)


def test_difference_interval_is_that_of_welch() -> None:
    """By the formula of another library; of groups that do not vary, the difference itself."""
    from scipy.stats import ttest_ind

    one, other = torch.tensor([0.215, 0.172, 0.171]), torch.tensor([0.008, 0.029])
    wanted = ttest_ind(one.numpy(), other.numpy(), equal_var=False).confidence_interval(0.9)
    assert metrics.difference_interval(one, other, 0.9) == pytest.approx(tuple(wanted), rel=1e-9)
    assert metrics.difference_interval(torch.ones(3), torch.zeros(2)) == (1.0, 1.0)
    with pytest.raises(ValueError, match="2 or more runs; got 1. Train more seeds"):
        metrics.difference_interval(one, torch.ones(1))
    with pytest.raises(ValueError, match=r"between 0 and 1; got 2"):
        metrics.difference_interval(one, other, level=2.0)


def test_greedy_columns_leave_the_factors_in_place() -> None:
    information = torch.tensor([[0.1, 0.9], [0.0, 0.2], [0.8, 0.7], [0.3, 0.3]])
    # the largest entry (0, 1), then (2, 0); the rest by their largest: latent 3 before latent 1
    assert_close(metrics.greedy_columns(information), torch.tensor([2, 0, 3, 1]))


def test_greedy_columns_with_more_factors_than_latents() -> None:
    information = torch.tensor([[0.1, 0.2, 0.9], [0.7, 0.2, 0.8]])
    assert_close(metrics.greedy_columns(information), torch.tensor([1, 0]))

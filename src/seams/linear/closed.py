r"""Closed forms of the linear Gaussian model: PPCA, linear VAEs, the cost of a diagonal posterior.

$p(z) = \mathcal N(0, I)$, $p(x|z) = \mathcal N(D z, \sigma^2 I)$, with the matrix `decoder` $D = U
S V^\top$ and centred $x$ (Eq. 2). `sigma` and $s$ are in the unit of x. A weight $\beta$ on the KL
moves every optimum to that of noise variance $v = \beta\sigma^2$ (Appendix B); unless both are
positive, functions raise ValueError. Only the posterior determines $V$ (`rotation_curvature`).
"""

import math
from typing import Literal

import torch
from torch import Tensor

from seams.distributions import DiagonalGaussian, FullGaussian, Posterior
from seams.shapes import Bool, Float

__all__ = [
    "alignment_rate",
    "decoder_mle",
    "diagonal_gap",
    "fitting_rate",
    "linear_elbo",
    "log_evidence",
    "optimal_posterior",
    "posterior_precision",
    "ppca_em",
    "predicted_active",
    "rotation_curvature",
]


def posterior_precision(
    decoder: Float[Tensor, "*batch data latent"], *, sigma: float, beta: float = 1.0
) -> Float[Tensor, "*batch latent latent"]:
    r"""Optimal precision $P = I + D^\top D / v$ for every x; $M^{-1}$ of Eq. 3 at $\beta = 1$."""
    variance = _noise_variance(sigma, beta)
    identity = torch.eye(decoder.shape[-1], dtype=decoder.dtype, device=decoder.device)
    return identity + decoder.mT @ decoder / variance


def optimal_posterior(
    x: Float[Tensor, "batch data"],
    decoder: Float[Tensor, "data latent"],
    covariance: Literal["diagonal", "full"] = "full",
    *,
    sigma: float,
    beta: float = 1.0,
) -> Posterior:
    r"""ELBO-optimal posterior for a given decoder, $\mathcal N(P^{-1} D^\top x / v,\, \Sigma)$.

    The mean is that of the exact posterior for either covariance, as mean and covariance decouple
    where the log-likelihood is quadratic. "full" has $\Sigma = P^{-1}$, the exact posterior at
    $\beta = 1$; "diagonal" has $\Sigma_{jj} = 1 / P_{jj}$, which is smaller than $(P^{-1})_{jj}$.

    Returns:
        One posterior a row of `x`.

    Raises:
        ValueError: The covariance has another name.

    Source: Eq. 3, left.
    """
    precision = posterior_precision(decoder, sigma=sigma, beta=beta)
    root = torch.linalg.cholesky(precision)
    mean = torch.cholesky_solve(decoder.mT @ x.mT, root).mT / (beta * sigma**2)
    if covariance == "full":
        return FullGaussian(mean, torch.linalg.cholesky(torch.cholesky_inverse(root)))
    if covariance == "diagonal":
        return DiagonalGaussian(mean, precision.diagonal().rsqrt())
    raise ValueError(f"`covariance` must be 'diagonal' or 'full'; got {covariance!r}.")


def log_evidence(
    x: Float[Tensor, "batch data"],
    decoder: Float[Tensor, "data latent"],
    *,
    sigma: float,
    beta: float = 1.0,
) -> Float[Tensor, " batch"]:
    r"""Nats of each row, $\log \mathcal N(x; 0, D D^\top + v I)$: Eq. 2, z integrated out."""
    variance = _noise_variance(sigma, beta)
    root = torch.linalg.cholesky(posterior_precision(decoder, sigma=sigma, beta=beta))
    mean = torch.cholesky_solve(decoder.mT @ x.mT, root).mT / variance
    # By Woodbury: only a latent-sized system is solved, and nothing cancels at small variance.
    quadratic = (x - mean @ decoder.mT).square().sum(-1) / variance + mean.square().sum(-1)
    half_log_determinant = root.diagonal().log().sum()
    return -0.5 * (quadratic + x.shape[-1] * math.log(2 * math.pi * variance)) - (
        half_log_determinant
    )


def linear_elbo(
    x: Float[Tensor, "batch data"],
    decoder: Float[Tensor, "data latent"],
    posterior: Posterior,
    *,
    sigma: float,
    beta: float = 1.0,
) -> Float[Tensor, " batch"]:
    r"""ELBO of a linear VAE without sampling, for any Gaussian posterior.

    $-\tfrac m2 \log 2\pi\sigma^2 - \tfrac1{2\sigma^2} (\|x - D\mu\|^2 + \|D L\|_F^2) -
    \beta\,\mathrm{KL}$, where the posterior is $\mathcal N(\mu, L L^\top)$. At $\beta = 1$ its
    maximum over full posteriors is `log_evidence`, and over diagonal ones `log_evidence` -
    `diagonal_gap`. At another $\beta$ the constants differ: the maximum is $\beta$ times
    `log_evidence`, plus $\tfrac m2 (\beta \log 2\pi\beta\sigma^2 - \log 2\pi\sigma^2)$.

    Returns:
        Nats, one value a row of `x`.

    Source: Eq. 1 with the decoder of section 2, "Linear VAE".
    """
    _noise_variance(sigma, beta)
    residual = (x - posterior.mean @ decoder.mT).square().sum(-1)
    spread = (decoder @ posterior.scale_tril).square().sum((-2, -1))
    constant = x.shape[-1] * math.log(2 * math.pi * sigma**2)
    distortion = 0.5 * ((residual + spread) / sigma**2 + constant)
    return -distortion - beta * posterior.kl_to_prior()


def diagonal_gap(
    decoder: Float[Tensor, "*batch data latent"], *, sigma: float, beta: float = 1.0
) -> Float[Tensor, " *batch"]:
    r"""Nats lost by a diagonal posterior, $\tfrac\beta2 (\sum_j \log P_{jj} - \log\det P) \ge 0$.

    Both posteriors are at their optimum for this decoder. The loss is the same for every x. By
    Hadamard's inequality it is zero if and only if the columns of $D$ are orthogonal: for distinct
    singular values, if and only if $V$ is a signed permutation.

    Returns:
        One value a decoder: $\beta$ times the KL of the diagonal optimum to the full one.

    Source: Our own reading of Eq. 4.
    """
    precision = posterior_precision(decoder, sigma=sigma, beta=beta)
    scale = precision.diagonal(dim1=-2, dim2=-1).sqrt()
    # To unit diagonal first: else a gap near zero is the difference of two large logarithms.
    correlation = precision / (scale.unsqueeze(-1) * scale.unsqueeze(-2))
    return -0.5 * beta * torch.linalg.slogdet(correlation).logabsdet


def rotation_curvature(
    singular_values: Float[Tensor, " latent"], *, sigma: float, beta: float = 1.0
) -> Float[Tensor, "latent latent"]:
    r"""Curvature of `diagonal_gap` along rotations, $\beta\kappa_{ij}$, nats per squared radian.

    With $\lambda = s^2 + v$ and $\kappa = (s_i^2 - s_j^2)^2 / \lambda_i\lambda_j$, turning V away
    from the axes by $\theta$, in the plane of latents i and j, costs just $\tfrac\beta2 \log(1 +
    \tfrac\kappa4 \sin^2 2\theta)$, because $P_{ii} P_{jj} = p_i p_j + (p_i - p_j)^2 \sin^2\theta
    \cos^2\theta$ with $p = \lambda / v$: nothing where two singular values coincide. It holds for
    any $S$, fitted or not; letting $U$ and $S$ readjust changes nothing, as the mixed derivatives
    are zero. At the optimum the evidence curves as much when $U$ is turned in the same plane.

    Returns:
        Symmetric, zero diagonal.

    Source: Derived here from Eq. 3 and 4.
    """
    square = singular_values.square()
    eigenvalue = square + _noise_variance(sigma, beta)
    return beta * (square[:, None] - square).square() / (eigenvalue[:, None] * eigenvalue)


def alignment_rate(
    singular_values: Float[Tensor, " latent"], *, sigma: float, beta: float = 1.0
) -> Float[Tensor, "latent latent"]:
    r"""Rate at which gradient ascent aligns V, $\beta (s_i - s_j)^2 / \lambda_i\lambda_j$.

    For gradient ascent of the mean ELBO in the entries of $D$, near the optimum, with the diagonal
    posterior kept at its own optimum. In the plane of latents i and j the Hessian then has two
    eigenvalues: this one, the slow decay $e^{-rt}$ of V's misalignment ($t$ = learning rate times
    steps), and one with $(s_i + s_j)^2$. A full posterior has zero (V never aligns) and
    `fitting_rate` instead, so the plane converges slower by $(s_i - s_j)^2 / (s_i^2 + s_j^2)$.

    Both follow from `rotation_curvature` $h$: the entries (i, j) and (j, i) of $U^\top D$ move by
    $A (\theta_V, \theta_U)^\top$, where $A$ has singular values $s_i \pm s_j$, so the Hessian in
    them is $h (A A^\top)^{-1}$. Training the encoder too can only lower the smallest eigenvalue:
    this Hessian is a Schur complement of the joint one.

    Returns:
        Symmetric, zero diagonal; in the inverse unit of $x^2$.

    Source: Derived here; explains "notably slower" in section 7 (compare Bao et al. 2020).
    """
    eigenvalue = singular_values.square() + _noise_variance(sigma, beta)
    difference = singular_values[:, None] - singular_values
    return beta * difference.square() / (eigenvalue[:, None] * eigenvalue)


def fitting_rate(
    singular_values: Float[Tensor, " latent"], *, sigma: float, beta: float = 1.0
) -> Float[Tensor, "latent latent"]:
    r"""Rate at which a full posterior fits U and S, $\beta (s_i^2 + s_j^2) / \lambda_i\lambda_j$.

    In the setting of `alignment_rate`: entry (i, j) is how fast U turns into place in that plane,
    entry (i, i) how fast $s_i$ reaches its value, the latter with either posterior. Not included:
    U leaving the discarded directions, at $\beta (\lambda_i - \lambda_k) / v \lambda_i$ for their
    eigenvalues $\lambda_k$, with either posterior.

    Returns:
        Symmetric and positive; in the inverse unit of $x^2$.
    """
    square = singular_values.square()
    eigenvalue = square + _noise_variance(sigma, beta)
    return beta * (square[:, None] + square) / (eigenvalue[:, None] * eigenvalue)


def predicted_active(
    spectrum: Float[Tensor, " direction"], *, sigma: float, beta: float = 1.0
) -> Bool[Tensor, " direction"]:
    r"""Where $\lambda$ of the data covariance pays for a latent, $\lambda > v$ (Eq. 3, right)."""
    return spectrum > _noise_variance(sigma, beta)


def decoder_mle(
    covariance: Float[Tensor, "data data"],
    latent: int,
    rotation: Float[Tensor, "latent latent"] | None = None,
    *,
    sigma: float,
    beta: float = 1.0,
) -> Float[Tensor, "data latent"]:
    r"""Optimal decoder, $W_* = U_x (\Lambda_x - v I)_+^{1/2} R$, largest eigenvalue first.

    With a full posterior any $R$ is optimal, with a diagonal one only signed permutations are.
    Directions with $\lambda \le v$ get a zero column (before $R$). `covariance` is $X^\top X / n$
    of the centred data; `rotation` is $R = V^\top$, orthonormal, the identity if None.

    Returns:
        $W_*$, in the unit of x. Signs of its columns are arbitrary.

    Raises:
        ValueError: No latent, or more of them than data columns.

    Source: Eq. 3, right.
    """
    variance = _noise_variance(sigma, beta)
    if not 0 < latent <= len(covariance):
        raise ValueError(
            f"`latent` must be between 1 and the number of data columns; got {latent} for "
            f"{len(covariance)} columns."
        )
    spectrum, vectors = torch.linalg.eigh(covariance)
    leading, U = spectrum[-latent:].flip(0), vectors[:, -latent:].flip(1)
    decoder = U * (leading - variance).clamp(min=0).sqrt()
    return decoder if rotation is None else decoder @ rotation


def ppca_em(
    x: Float[Tensor, "batch data"],
    latent: int,
    *,
    sigma: float,
    iterations: int,
    generator: torch.Generator,
    beta: float = 1.0,
) -> Float[Tensor, "step data latent"]:
    r"""PPCA by expectation maximisation, $\sigma$ known: the decoder after each iteration.

    E step: `optimal_posterior`. M step: $D \leftarrow X^\top Z (n P^{-1} + Z^\top Z)^{-1}$, rows
    of $Z$ being posterior means; both need the covariance of the data only. Starts from
    independent normal entries of variance 1 / data, drawn on the CPU.

    Returns:
        `iterations` + 1 decoders, the start first; in the unit of x.

    Source: PPCA^EM, below Eq. 3; Tipping and Bishop 1999, Appendix B.
    """
    variance = _noise_variance(sigma, beta)
    covariance = x.mT @ x / len(x)
    decoder = torch.randn(x.shape[-1], latent, generator=generator, dtype=x.dtype).to(x.device)
    path = [decoder / math.sqrt(x.shape[-1])]
    noise = variance * torch.eye(latent, dtype=x.dtype, device=x.device)
    for _ in range(iterations):
        decoder = path[-1]
        image = covariance @ decoder
        precision = posterior_precision(decoder, sigma=sigma, beta=beta)
        moment = noise + torch.linalg.solve(precision, decoder.mT @ image) / variance
        path.append(torch.linalg.solve(moment, image, left=False))
    return torch.stack(path)


def _noise_variance(sigma: float, beta: float) -> float:
    if not (sigma > 0 and beta > 0):
        raise ValueError(f"`sigma` and `beta` must be positive; got {sigma} and {beta}.")
    return beta * sigma**2

"""The paper's statements and figures, and which claims test them; without a number in it.

Every claim of a notebook belongs to a row or more; a row that names a notebook alone takes all of
them. A notebook that no row here names has one of its own, from its entry in `figures`.
"""

from dataclasses import dataclass

__all__ = ["DEFINITIONS", "OURS", "STATEMENTS", "Statement"]


@dataclass(frozen=True)
class Statement:
    """One numbered statement or figure of the paper."""

    id: str
    name: str  # what the paper calls it
    says: str  # in our words; plain text
    tests: tuple[str, ...]  # short names of notebooks, or `notebook:claim` for one claim
    labels: tuple[str, ...] = ()  # on the page of the theory; the first one is linked
    limits: str = ""  # of what was found, beside what the paper says; markup of a page

    @property
    def notebooks(self) -> tuple[str, ...]:
        """Short names, each once."""
        return tuple(dict.fromkeys(test.partition(":")[0] for test in self.tests))

    def reaches(self, notebook: str, claim: str) -> bool:
        """Whether this row takes a claim, by name or with all of its notebook."""
        return notebook in self.tests or f"{notebook}:{claim}" in self.tests


DEFINITIONS = ("eq-1", "eq-2", "eq-5", "def-D1", "def-D3", "def-D4")  # labels; nothing to test
OURS = "Ours, not the paper's"  # name of the rows that the paper does not have

# id | name | labels, then what it says, then where it is tested.
_ROWS = """
eq-3 | Equation 3 | eq-3
The posterior and the maximum-likelihood decoder of the linear Gaussian model in closed form, up
to any rotation of the latents.
> claims:eq_3_posterior claims:eq_3_decoder

eq-4 | Equation 4 | eq-4
At the optimum the posterior covariance turns with the decoder: a diagonal one is optimal for
signed permutations alone.
> claims:eq_4 claims:eq_4_rotation

eq-6 | Equation 6 | eq-6
The inverse of the best posterior covariance is the identity minus the expected Hessian of the
log-likelihood over β.
> eq06:closes_diagonal eq06:closes_full eq06:amortised

p1 | Property P1 | prop-P1
With diagonal posteriors each of the two terms of Eq. 6 is diagonal by itself.
> eq06:p1 eq06:gram_turned eq06:hessian_turned

lem-4.1 | Lemma 4.1 | lem-4.1 eq-13
If P1 holds, the Jacobian has orthogonal columns (C1) and each singular value depends on its own
latent alone (C2).
> claims:lem_4_1 claims:lem_4_1_needed fig01:c2 fig01:c2_turned

lem-C.1 | Lemma C.1 | lem-C.1
The image of a singular-vector path is a seam.
> claims:lem_c_1 fig03:lemma_C_1

lem-5.1 | Lemma 5.1 | lem-5.1 eq-7 eq-14
The density on the manifold is the product of the factors of its seams; with C1 each factor is the
density over one.
> claims:lem_5_1 claims:lem_5_1_axes fig04:lemma_5_1 fig04:crossing

thm-5.2-if | Theorem 5.2, if | thm-5.2
With C1 and C2, each singular value a function of its latent, the manifold density is disentangled.
> claims:thm_5_2_if fig04:thm_5_2_if fig01:independent_diagonal

thm-5.2-only-if | Theorem 5.2, only if | thm-5.2
Without C1, without C2, or without both, it is not, if each factor is one function for all latents.
> claims:thm_5_2_without_c1 claims:thm_5_2_without_c2 claims:thm_5_2_without_both
> claims:thm_5_2_strict fig04:thm_5_2_only_if fig01:independent_full

cor-6.1 | Corollary 6.1 | cor-6.1
A linear VAE with diagonal posteriors that fits linear Gaussian data with distinct singular values
finds their components up to order and sign.
> claims:cor_6_1 claims:cor_6_1_full fig02

rem-6.2 | Remark 6.2 | rem-6.2
The right singular vectors of the true decoder are not in the data.
> claims:rem_6_2

lem-6.3 | Lemma 6.3 | lem-6.3 eq-8
The density on the manifold alone determines its seams, as eigenvectors of its Hessian, where its
eigenvalues are distinct.
> claims:lem_6_3 gap:recovered_plane gap:equal_plane

lem-6.4 | Lemma 6.4 | lem-6.4
A decoder with C1 and C2 that produces the density has these seams and their factors.
> claims:lem_6_4_seams claims:lem_6_4_factors

thm-6.5 | Theorem 6.5 | thm-6.5
A Gaussian VAE with diagonal posteriors that fits data made with C1 and C2 identifies their
factors up to order and sign.
> ident:thm65 ident:thm65_fit ident:thm65_full

rem-6.6 | Remark 6.6
Order and sign of the seams carry no meaning: a decoder with its latents relabelled is as good.
> claims:rem_6_6

cor-6.7 | Corollary 6.7 | cor-6.7
The same with other factorised priors, up to a map of each axis by itself.
> claims:cor_6_7 ident:cor67 ident:cor67_full

rem-6.8 | Remark 6.8
With a normal prior the density does not identify the generator; C1 and C2 remove the freedom.
> claims:rem_6_8_density claims:rem_6_8_mixed

app-b-noise | Appendix B, noise
β is the variance of the likelihood: for the optimum only βσ² matters.
> claims:app_b fig06:weighted_mean fig06:nearer fig06:points fig06:centres fig06:centroid

app-b-collapse | Appendix B, collapse
Some β < 1 makes the collapse of posteriors onto the prior impossible.
> claims:app_b_collapse fig06:circles_alive fig06:coins_alive

app-e | Appendix E
The axis alignment score is 1 if each factor has its own latent; its floor, which the paper does
not name, is that of a constant matrix.
> claims:app_e_best claims:app_e_floor

app-h-1 | Appendix H, first
The difference of two squared lengths may exceed the squared length of the difference; a proof
elsewhere says it cannot.
> claims:app_h_1

app-h-2 | Appendix H, second
The squared length of a difference may exceed the sum of both squared lengths; a proof elsewhere
says it cannot.
> claims:app_h_2

app-h-3 | Appendix H, third
What a proof elsewhere leaves out, the decoder's curvature, may exceed all that it keeps.
> claims:app_h_3

fig-1 | Figure 1
Diagonal posteriors turn the latent axes onto the seams.
> fig01:traversal_diagonal fig01:traversal_full fig01:seams_full fig01:seams_diagonal
> fig01:independent_diagonal fig01:independent_full

fig-2 | Figure 2
Diagonal posteriors break the rotation of a linear VAE.
> fig02

fig-3 | Figure 3
Singular-vector paths and seams of one decoder; its Jacobian is nearly diagonal.
> fig03

fig-4 | Figure 4
The prior is pushed forward from paths to seams.
> fig04

fig-5 | Figure 5
On dSprites diagonal posteriors make derivatives diagonal and disentangle, more so at larger β.
> fig05

fig-6 | Figure 6
β sets the variance of x given z.
> fig06:weighted_mean fig06:nearer fig06:points fig06:centres fig06:centroid

fig-7 | Figure 7
On faces, latents change the image in more nearly orthogonal ways with diagonal posteriors;
whether a change has a meaning is left to the eye.
> fig07

fig-8 | Figure 8
On faces with diagonal posteriors latents are active or not, fewer at a larger β; with full ones
activity has no such cliff.
> fig08:cliff fig08:grows celeba:grows

fig-9 | Figure 9
On faces with diagonal posteriors the block of active latents grows as β falls, and JᵀJ is
diagonal in it, unlike with full ones; the Hessian shows less structure.
> fig09:block fig09:gram fig09:less_structure celeba:gram celeba:less_structure

fig-9-draws | Figure 9, suspicion
The directed Hessian takes more samples to be estimated well.
> fig09:noise

fig-10 | Figure 10
On faces, a smaller β gives sharper images, and diagonal and full posteriors are about as good.
> fig10:recon_diagonal fig10:recon_full fig10:sharper_diagonal fig10:sharper_full fig10:comparable

fig-11 | Figure 11
Lowering β in training gives both disentanglement and sharp images.
> fig11:high_disentangles fig11:low_reconstructs fig11:annealed_sharp fig11:annealed_mig
> fig11:annealed_aas fig11:annealed_gram fig11:frontier_mig fig11:frontier_aas
> fig11:frontier_off_diagonal_gram_of_abs

letter | Ours, not the paper's
To the letter Lemma 5.1 and Theorem 5.2 say too much: without C1 the factors are no densities, a
map without C2 satisfies D1, and one with C1 and C2 almost everywhere is not disentangled.
> claims:lem_5_1_letter claims:thm_5_2_letter claims:thm_5_2_letter_c2 claims:thm_5_2_crease

violation | Ours, not the paper's
Recovery fades as C1 or C2 fails more and more; equal ranges are lost for normal factors alone.
> ident:equal_normal ident:equal_uniform ident:fades_sheared ident:fades_polar ident:shear_theory

terms | Ours, not the paper's
With diagonal posteriors both terms of Eq. 6 and their sum are nearer to diagonal than with full
ones, and the terms do not cancel: weaker than P1.
> eq06:sum eq06:axes eq06:gram eq06:hessian eq06:no_cancellation fig05:gram fig05:hessian
> fig05:gram_ratio fig05:hessian_ratio fig05:gram_fair fig05:hessian_fair fig05:large_gram
> fig05:large_hessian fig05:large_gram_ratio fig05:large_hessian_ratio fig05:large_gram_fair
> fig05:large_hessian_fair

hold | Ours, not the paper's
Lowering β after it was held at its largest value gives both disentanglement and sharp images.
> fig11:held_sharp fig11:held_mig fig11:held_aas fig11:held_gram fig11:held_frontier_mig
> fig11:held_frontier_aas fig11:held_frontier_off_diagonal_gram_of_abs fig11:held_more_mig
> fig11:held_more_gram fig11:held_as_sharp

length | Ours, not the paper's
The longer the training, the more a β that falls has over a constant one.
> fig11:longer_falling_behind fig11:longer_falling_ahead fig11:longer_held_behind
> fig11:longer_held_ahead

diagnosis | Ours, not the paper's
A diagnosis tells diagonal from full posteriors by model and data alone: by latents that tell of
one position each, and by axes that mean something.
> own:told own:known own:axes

alone | Ours, not the paper's
A decoder alone, without encoder or data, tells them apart by C1 and C2 at draws of the prior.
> own:alone_gram own:alone_c2

flat | Ours, not the paper's
The manifold of a trained decoder is flat, which C1 with C2 needs whatever the latents.
> fig01:flat_diagonal fig01:flat_full

faces-hessian | Ours, not the paper's
On faces the directed Hessian, too, is nearer to diagonal with diagonal posteriors: weaker than
P1, and not in the caption of Figure 9.
> fig09:hessian celeba:hessian

faces-draws | Ours, not the paper's
Averaged over more draws the directed Hessian on faces becomes more diagonal: stochastic error hid
its structure.
> fig09:more_draws

faces-in-use | Ours, not the paper's
On faces full posteriors leave more latents in use than diagonal ones do.
> fig08:special celeba:special

collapse | Ours, not the paper's
Posteriors collapse at the β that theory names, and next to it have the KL that theory has.
> fig06:circles_theory fig06:coins_theory fig06:circles_collapsed fig06:coins_collapsed
"""


def _row(text: str) -> Statement:
    head, *lines = text.strip().splitlines()
    id, name, labels = (part.strip() for part in f"{head}||".split("|")[:3])
    says = " ".join(line for line in lines if line[:1] != ">")
    tests = [word for line in lines if line[:1] == ">" for word in line[1:].split()]
    return Statement(id, name, says, tuple(tests), tuple(labels.split()))


STATEMENTS = tuple(map(_row, _ROWS.split("\n\n")))  # in the paper's order, ours last

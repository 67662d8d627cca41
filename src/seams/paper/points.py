"""What the paper says about its figures, in its own words, and which claims stand beside each.

Words within "..." are the paper's; its letters are printed without markup, and what is left out is
marked "[…]". Whether the two agree is computed from the claims' verdicts.
"""

import re

from seams.paper.statements import Statement

__all__ = ["POINTS"]

# notebook | where in the paper, then its words, the claims beside them, and the limits.
_POINTS = """
fig01 | caption
"with full posteriors, s.v. paths are not axis-aligned; the axis-traversal image […] does not
  follow the seam."
> fig01:traversal_full fig01:seams_full
! Drawn there; here trained models, on a sheet of our choice.

fig01 | caption
"under C1-C2 induced by diagonal posteriors, s.v. paths axis-align and the traversal image follows
  the seam everywhere"
> fig01:traversal_diagonal fig01:seams_diagonal
! Drawn there; here trained models, at the posterior means of points of the sheet.

fig01 | caption
"and 1-D densities over seams are independent, achieving disentanglement (D1)."
> fig01:independent_diagonal fig01:independent_full
! Drawn there.

fig02 | caption
"both full-Σx and diagonal-Σx VAEs fit the data, i.e. learn ground truth parameters U∗, S∗ (all
  losses → 0)"
> fig02:fit_diagonal fig02:fit_full
! Sizes, noise and step are not stated there.

fig02 | caption
"only in diagonal-Σx VAEs do right singular vectors of the Jacobian […] align with standard basis
  vectors"
> fig02:V_diagonal fig02:V_full
! Sizes, noise and step are not stated there.

fig02 | Section 7
"learning parameters a disentangled model is notably slower (left), due to the rate at which V → I"
> fig02:slower
! The paper gives no rate. It refers to Figure 3; the curves are those of Figure 2.

fig03 | Section 4
"In practice, the […] term alone is found to be approximately diagonal (Fig. 3, left)"
> fig03:gram
! The matrix there is of {cite:t}`rolinek2019variational`; that page of the paper was not at hand.

fig03 | Lemma C.1
"the images under d of singular-vector paths (D3) are exactly the seams through x"
> fig03:lemma_C_1
! One decoder, along paths that were integrated.

fig04 | caption
"1-D marginals […] over s.v. paths […] factorise p(z); and push-forward to 1-D seam densities over
  seams […] that factorise pμ (Lemma 5.1)."
> fig04:lemma_5_1 fig04:crossing
! Drawn there; here maps whose volumes are known in closed form.

fig04 | caption
"are axis-aligned (by C1) and seam densities are independent components (by C2) that factorise pμ."
> fig04:thm_5_2_if
! The same.

fig04 | Section 5
"to the extent disentanglement is observed, diagonalisation constraints C1-C2 must hold."
> fig04:thm_5_2_only_if
! Three maps, each without C1, C2 or both.

eq06 | Section 4
"the ELBO with Gaussian posteriors is optimised when their covariances satisfy"
> eq06:closes_diagonal eq06:closes_full
! The paper derives Eq. 6 and compares no two sides.

eq06 | Property P1
"are each diagonal for z concentrated around E[z|x]."
> eq06:p1 eq06:gram_turned eq06:hessian_turned
! The paper assumes it. Images of {{ eq06.parameters.resolution }} pixels a side here.

fig05 | Section 7
"For diagonal posterior VAEs (left), disentanglement and diagonality both broadly increase with β."
> fig05:trend fig05:gram_beta fig05:hessian_beta
! Values of β here: {{ fig05.parameters.betas }}. The paper's range is on its axis, which we do not
  have.

fig05 | Section 7
"For full posteriors (right) no clear trend is observed."
> fig05:no_trend fig05:full_no_trend
! Values of β here: {{ fig05.parameters.betas }}.

fig05 | Section 7
"individual latent co-ordinates (horizontal) correlate with distinct ground truth factors
  (vertical), whereas that trend is not observed for full posteriors."
> fig05:mig fig05:mig_largest fig05:aas fig05:aas_largest fig05:large_mig fig05:large_mig_largest
  fig05:large_aas fig05:large_aas_largest
! {{ fig05.parameters.seeds }} seeds where the paper has 5 runs, so that intervals are wide; its
  MIG is in an image.

fig05 | caption
"With diagonal posteriors, disentanglement and diagonality are correlated (supporting P1), relative
  to full posteriors"
> fig05:correlated_gram fig05:correlated_gram_within fig05:correlated_hessian
  fig05:correlated_hessian_within
! A correlation over β takes four values of it.

fig05 | caption
"derivatives in Eq. 6. terms are less diagonal for lower beta or full posteriors."
> fig05:gram fig05:gram_ratio fig05:hessian fig05:hessian_ratio fig05:ratio_beta fig05:large_gram
  fig05:large_gram_ratio fig05:large_hessian fig05:large_hessian_ratio
! The same network and data; the length of training is not stated there.

fig06 | caption
"For low β (β = 0.55), Var[x|z] is low (by Eq. 6), and data must be well reconstructed"
> fig06:points
! The sizes of the circles and σ are not stated. Ours were chosen so that the regimes lie at these
  β: where they lie is no evidence.

fig06 | caption
"For z in overlapping {q(z|xi)}i, the decoder E[x|z] maps to a weighted average of {xi}i."
> fig06:weighted_mean fig06:nearer
! Whatever the sizes.

fig06 | caption
"Initially, close neighbours reconstruct to their mean (β = 2.2, 3.8), then small circles “become
  neighbours” and map to their centres."
> fig06:centres
! At our sizes the centres stand alone at β = 15, which we added.

fig06 | caption
"Finally (β = 60), all samples reconstruct to the global centroid."
> fig06:centroid
! The sizes are ours.

fig06 | Appendix B
"for some β < 1 the effective variance falls below Var[x], rendering posterior collapse impossible"
> claims:app_b_collapse fig06:circles_alive fig06:coins_alive
! The threshold is in units of the likelihood's own variance.

fig07 | caption
"For full covariance posteriors, independent features are less clearly assigned to distinct latent
  dimensions, i.e. less disentangled."
> fig07:orthogonal
! ORL's faces and small MLPs, where the paper has CelebA and its network; a cosine, where it shows
  images.

fig07 | caption
"background shade (row 1), facial orientation (row 3), lighting (row 5), background colour (row
  7)."
! Left to the eye there. ORL is grey and has one background.

fig08 | caption
"there are relatively sharp cliff-edges implying that dimensions are (broadly) active or inactive
  and that axis-aligned directions are preferred."
> fig08:cliff
! ORL's faces and small MLPs, where the paper has CelebA and its network.

fig08 | caption
"The number of active dimension increases as β reduces"
> fig08:grows celeba:grows
! ORL and part of CelebA, small MLPs, other values of β.

fig09 | caption
"the active dimensions are visible as a darker block in the upper left, which grows with as β
  reduces (matching Fig. 8)"
> fig09:block
! ORL's faces and small MLPs.

fig09 | caption
"diagonal structure is visible for active dimensions of J⊤J. Such structure is not visible for full
  covariances"
> fig09:gram celeba:gram
! ORL and part of CelebA, small MLPs; a score, where the paper shows maps.

fig09 | caption
"The Hessians show less discernable structure"
> fig09:less_structure celeba:less_structure
! ORL and part of CelebA, small MLPs.

fig09 | caption
"we suspect that such a higher order derivative require more samples to be well estimated for a
  complex distribution."
> fig09:noise
! A suspicion there. Small MLPs here, {{ fig09.parameters.draws }} draws an image.

fig10 | caption
"As β reduces, reconstruction quality and samples improve (i.e. blur reduces)."
> fig10:recon_diagonal fig10:recon_full fig10:sharper_diagonal fig10:sharper_full
! ORL's faces and small MLPs.

fig10 | caption
"Reconstruction and sample quality is broadly comparable for diagonal and full covariances"
> fig10:comparable
! Full posteriors on ORL were not trained to their end.

fig11 | caption
"high β (1) gives best disentanglement (see heatmap) but blurry images"
> fig11:high_disentangles fig11:low_reconstructs
! The same network and data, {{ fig11.parameters.resolution }} pixels a side.

fig11 | caption
"lowering β over training (1 → 0.001) gives good disentanglement (see heatmap) and good
  reconstructions."
> fig11:annealed_sharp fig11:annealed_mig fig11:annealed_aas fig11:annealed_gram fig11:frontier_mig
! Values of β here: {{ fig11.parameters.betas }}, where the paper goes down to 0.001. It does not
  state over how many images β falls.

region | Section 4
"it broadens the regions (i.e. posteriors) over which decoder derivatives are diagonalised"
> region:wider region:conv_wider
! A rationale there, without a measurement.

rolinek | Section 7
"Rolinek et al. (2019) show that columns of a decoder’s Jacobian are more orthogonal (i.e. V → I,
  C1) in VAEs with diagonal posterior than those with full posteriors"
> rolinek:linear_full rolinek:nonlinear_full rolinek:dsprites_full
! Their two synthetic squares, and dSprites by the network of this paper, as [](fig03.md).
"""


def _point(text: str) -> Statement:
    head, _, rest = text.strip().partition("\n")
    notebook, where = (part.strip() for part in head.split("|"))
    parts = {part[0]: " ".join(part[1:].split()) for part in re.split(r"\n(?=[\">!])", rest)}
    quote, tests = parts['"'].removesuffix('"'), tuple(parts.get(">", "").split())
    return Statement(notebook, where, quote, tests, (), parts["!"])


# By page, each with its notebook as id, and where it stands in the paper as name.
POINTS = tuple(map(_point, _POINTS.split("\n\n")))

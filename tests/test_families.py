import math

import pytest
import torch
from torch import vmap
from torch.func import jacfwd
from torch.testing import assert_close

from seams import data as datasets
from seams.data import dsprites
from seams.data.families import FAMILIES, LAWS, columns, is_member, known, samples, transport

EXACT = {"rtol": 1e-9, "atol": 1e-9}
MEMBERS = (
    "plane-1.5",
    "curves-uniform-3-1.5",
    "rolled-2",
    "sheared-30",
    "polar-0.2",
    "twisted-0.3",
    "blobs-1.5",
)


def jacobians(found, n=5):
    return vmap(jacfwd(found.decoder))(found.z[:n])


def grams(found):
    J = jacobians(found)
    return J.mT @ J


CDF = {
    "normal": lambda t: 0.5 * (1 + torch.erf(t / math.sqrt(2))),
    "uniform": lambda t: 0.5 + t / (2 * math.sqrt(3)),
    "laplace": lambda t: torch.where(
        t < 0, 0.5 * torch.exp(math.sqrt(2) * t), 1 - 0.5 * torch.exp(-math.sqrt(2) * t)
    ),
    "arcsine": lambda t: 0.5 + torch.asin(t / math.sqrt(2)) / torch.pi,
}


@pytest.mark.parametrize("law", LAWS)
def test_transport_is_the_map_between_distribution_functions(law):
    z = torch.linspace(-4, 4, 81)
    assert_close(CDF[law](transport(law, z)), CDF["normal"](z), **EXACT)


@pytest.mark.parametrize("law", LAWS)
def test_laws_have_mean_zero_and_variance_one(law):
    z = torch.linspace(-8, 8, 160_001)
    weight = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    t = transport(law, z)
    assert (weight * t).sum().abs() < 1e-12
    assert_close((weight * t**2).sum(), torch.tensor(1.0), rtol=1e-8, atol=0)


def test_transport_refuses_other_laws():
    with pytest.raises(ValueError, match="`law` must be one of .*'normal'.*; got 'cauchy'"):
        transport("cauchy", torch.zeros(1))


@pytest.mark.parametrize("name", MEMBERS)
def test_members_hold_what_their_decoder_makes_of_z(name):
    found = known(name, 8)
    law = "uniform" if name[0] in "cb" else "normal"
    assert len(found.x) == 8_192 and found.x.dtype == torch.float64
    assert_close(torch.stack([found.decoder(z) for z in found.z[:64]]), found.x[:64], **EXACT)
    assert_close(found.latents, transport(law, found.z), **EXACT)
    assert found.x.shape[1] == columns(name, 8)
    loaded = samples(name, 8)
    assert torch.equal(loaded.x, found.x.float()) and torch.equal(loaded.latents, found.latents)


@pytest.mark.parametrize(
    ("name", "square"),
    [
        ("plane-1.5", [2.25, 1.0]),
        ("curves-normal-3-1.5", [1.5**4, 2.25, 1.0]),
        ("sheared-0", [4.0, 1.0]),
        ("polar-0", [1.0, 4.0]),
        ("twisted-0", [4.0, 1.0]),
    ],
)
def test_without_a_violation_the_ratio_is_that_of_constant_singular_values(name, square):
    expected = torch.diag(torch.tensor(square)).expand(5, -1, -1)
    assert_close(grams(known(name)), expected, **EXACT)


def test_latents_of_a_law_have_their_singular_values_times_its_slope():
    found = known("curves-arcsine-2-2")
    slope = vmap(jacfwd(lambda z: transport("arcsine", z)))(found.z[:5])
    slope = slope.diagonal(dim1=1, dim2=2)
    expected = torch.diag_embed((slope * torch.tensor([2.0, 1.0])) ** 2)
    assert_close(grams(found), expected, **EXACT)


def test_rolled_speeds_change_along_their_own_latents():
    found = known("rolled-2")
    along = 2 * torch.exp(0.2 * found.z[:5, 0])
    across = 1 + 0.2 * torch.tanh(found.z[:5, 1])
    assert_close(grams(found), torch.diag_embed(torch.stack([along, across], 1) ** 2), **EXACT)


def test_sheared_columns_leave_the_right_angle_by_so_many_degrees():
    G = grams(known("sheared-30"))[0]
    assert_close(G[0, 1] / (G[0, 0] * G[1, 1]).sqrt(), torch.tensor(0.5), **EXACT)
    assert_close(G.diagonal(), torch.tensor([4.0, 1.0]), **EXACT)


def test_polar_keeps_c1_and_bends_the_second_speed():
    found = known("polar-0.2")
    around = 2 * (1 + 0.2 * found.z[:5, 0])
    assert_close(
        grams(found), torch.diag_embed(torch.stack([torch.ones(5), around], 1) ** 2), **EXACT
    )


def test_twist_turns_the_axes_and_keeps_the_density():
    flat, turned = known("twisted-0"), known("twisted-0.3")
    assert torch.equal(flat.z, turned.z)
    assert_close(torch.linalg.det(grams(turned)), torch.linalg.det(grams(flat)), **EXACT)
    assert (grams(turned)[:, 0, 1].abs() > 0.1).all()


def test_plane_is_exactly_uncorrelated():
    found = known("plane-3")
    assert_close(found.z.mT @ found.z / 8_192, torch.eye(2), **EXACT)


def test_blobs_move_over_ranges_of_that_ratio():
    side = 16
    found = known("blobs-2", side)
    pixel = torch.arange(side) + 0.5
    images = found.x.unflatten(1, (side, side))
    mass = images.sum((1, 2))
    x, y = ((images * axis).sum((1, 2)) / mass for axis in (pixel, pixel[:, None]))
    reach = (side - 4 * side / 6) / math.sqrt(12)
    # Blobs are cut off two widths from the edge: a centre of mass is short by a few percent.
    expected = found.latents * torch.tensor([reach, reach / 2]) + side / 2
    assert (torch.stack([x, y], 1) - expected).abs().max() < 0.2 * reach
    brightest = images.flatten(1).argmax(1)
    nearest = expected.floor()
    assert torch.equal(brightest % side, nearest[:, 0].long())
    assert torch.equal(brightest // side, nearest[:, 1].long())


def test_the_ratio_opens_the_eigenvalue_gap():
    """The two leading principal directions: equal on a square range, apart on a long one."""
    gaps = []
    for ratio in (1, 2):
        first, second = torch.linalg.eigvalsh(known(f"blobs-{ratio}").x.mT.cov())[-2:].flip(0)
        gaps.append(first / second)
    assert gaps[0] < 1.1 and gaps[1] > 2


@pytest.mark.parametrize(("ratio", "rows"), [("1", 32), ("1.5", 21), ("2", 16), ("4", 8)])
def test_squares_are_images_of_dsprites_in_the_middle_rows(ratio, rows):
    found = samples(f"dsprites_square-{ratio}", 16)
    assert found.x.shape == (32 * rows, 256) and found.x.dtype == torch.float32
    first, last = (32 - rows) // 2, (32 - rows) // 2 + rows - 1
    assert found.latents.min(0).values.tolist() == [0, first]
    assert found.latents.max(0).values.tolist() == [31, last]
    classes = torch.tensor([[0, 0, 5, 0, 5, last]])
    image = dsprites.render(classes)[0].double().reshape(16, 4, 16, 4).mean((1, 3))
    place = 5 * rows + rows - 1
    assert torch.equal(found.x[place].double(), image.flatten())
    assert found.latents[place].tolist() == [5, last]


@pytest.mark.parametrize("spacing", [2, 4, 5, 8])
def test_squares_on_a_grid_overlap_by_what_their_spacing_leaves(spacing):
    found = samples(f"xy_square-{spacing}-3", 64)
    assert found.latents[[0, 4, -1]].tolist() == [[0, 0], [1, 1], [7, 2]]
    column, row = ((a[:, None] - a).abs() * spacing for a in found.latents.T)
    common = (8 - column).clamp(min=0) * (8 - row).clamp(min=0)
    x = found.x.double()
    assert torch.equal(x @ x.mT, common)
    pixels = x.sum(0).reshape(64, 64).nonzero()  # in the middle, up to one pixel
    ends = pixels.min(0).values, 63 - pixels.max(0).values
    assert (ends[0] - ends[1]).abs().max() <= 1
    assert_close(
        samples(f"xy_square-{spacing}-3", 16).x.sum(1), torch.full((24,), 4.0, dtype=torch.float32)
    )


def test_load_knows_members_and_what_may_be_stacked():
    loaded = datasets.load("curves-normal-2-3", 1)
    assert_close(loaded.x, known("curves-normal-2-3").x.float())
    same = {datasets.alike(name, 1) for name in MEMBERS if name not in (MEMBERS[1], MEMBERS[-1])}
    assert same == {"families of 4 columns"}
    assert datasets.alike("curves-normal-3-2", 1) == "families of 6 columns"
    images = [datasets.alike(n, 16) for n in ("blobs-1", "blobs-3", "dsprites_square-2")]
    assert set(images) == {"families of 256 columns"}
    assert datasets.alike("dsprites", 16) == "dsprites"


def test_members_are_told_by_form():
    assert all(is_member(name) for name in (*MEMBERS, "dsprites_square-2", *FAMILIES))
    assert not any(is_member(name) for name in ("plane", "dsprites", "linear", "plan-2"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blob-2", r"A family must be one of \('plane-RATIO'.*; got 'blob-2'"),
        ("plane-2-3", "A member of this family is named 'plane-RATIO'; got 'plane-2-3'"),
        ("polar-much", "A value in 'polar-much' must be a number; got 'much'"),
        ("plane-0.5", "A ratio must be 1 or more; got '0.5' in 'plane-0.5'"),
        ("blobs-nan", "A ratio must be 1 or more; got 'nan'"),
        ("curves-normal-0-2", "A number of latents must be 1 to 100; got '0'"),
        ("curves-normal-2.5-2", "A number of latents must be 1 to 100; got '2.5'"),
        ("curves-normal-100000-2", "A number of latents must be 1 to 100; got '100000'"),
        ("xy_square-2.5-8", "A spacing must be 1 to 100; got '2.5'"),
        ("curves-cauchy-2-2", "`law` must be one of .*; got 'cauchy'"),
        ("dsprites_square-2", "`known` has no decoder of 'dsprites_square-2': use `samples`"),
    ],
)
def test_names_that_cannot_be(name, message):
    with pytest.raises(ValueError, match=message):
        known(name)


@pytest.mark.parametrize(("ratio", "side"), [("100", 16), ("2", 17)])
def test_squares_that_cannot_be_are_refused(ratio, side):
    with pytest.raises(ValueError, match=f"got {ratio} and {side}"):
        samples(f"dsprites_square-{ratio}", side)


@pytest.mark.parametrize(("name", "got"), [("9-8", "9, 8 and 16"), ("8-9", "8, 9 and 16")])
def test_grids_that_do_not_fit_are_refused(name, got):
    with pytest.raises(ValueError, match=f"spacing and rows up to 8 and .*; got {got}"):
        samples(f"xy_square-{name}", 16)

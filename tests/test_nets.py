"""Nets of paths and seams: a linear map has them in closed form, and the panels draw them."""

import math
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import torch
from mpl_toolkits.mplot3d import Axes3D
from torch import Tensor

from seams.data.generators import linear, product_of_curves, rotated, twisted
from seams.geometry import singular_vector_path
from seams.geometry.nets import (
    SeamNet,
    manifold_surface,
    prior_disc,
    seam_deviation,
    seam_net,
    tangent_frame,
)
from seams.plotting import nets

matplotlib.use("Agg")

S = torch.tensor([2.0, 0.5])


def flat(turn: float = 0.0) -> tuple[Tensor, Tensor, object]:
    """A linear map with singular values `S`: its U, its V, and itself."""
    U = torch.linalg.qr(torch.randn(3, 2)).Q
    c, s = math.cos(turn), math.sin(turn)
    V = torch.tensor([[c, -s], [s, c]])
    return U, V, linear(U * S @ V.T)


@pytest.fixture
def net() -> SeamNet:
    _, _, g = flat(0.4)
    return seam_net(g, tangent_frame(g), [-2.0, 0.0, 1.0], reach=1.5, points=7)


def test_frame_is_orthonormal_and_tangent() -> None:
    U, _, g = flat(0.4)
    frame = tangent_frame(g)
    torch.testing.assert_close(frame.T @ frame, torch.eye(3))
    torch.testing.assert_close((frame[:, :2].T @ U).abs(), torch.eye(2))


def test_net_of_a_linear_map_is_straight_and_known(net: SeamNet) -> None:
    t, offsets = torch.linspace(-1.5, 1.5, 7), torch.tensor([-2.0, 0.0, 1.0])
    normal = (-0.5 * t.square()).exp() / math.sqrt(2 * math.pi)
    for i in (0, 1):
        along = t[:, None] * net.V[:, i] + offsets[:, None, None] * net.V[:, 1 - i]
        torch.testing.assert_close(net.z[i], along)
        seams = torch.zeros(3, 7, 3)
        seams[..., i], seams[..., 1 - i] = S[i] * t, S[1 - i] * offsets[:, None]
        torch.testing.assert_close(net.seams[i], seams)
        across = torch.eye(3)[1 - i].expand(3, 7, 3)
        torch.testing.assert_close(net.across[i], across)
        torch.testing.assert_close(net.prior[i], normal.expand(3, 7))
        torch.testing.assert_close(net.density[i], normal.expand(3, 7) / S[i])


def test_net_follows_the_frame_that_it_is_given() -> None:
    _, _, g = flat()
    frame = tangent_frame(g) * torch.tensor([1.0, -1.0, 1.0])
    found = seam_net(g, frame, [0.0], reach=1.0, points=3)
    assert found.seams[1, 0, -1, 1] > 0 and (found.across[0, ..., 1] > 0).all()
    torch.testing.assert_close(found.z[1, 0, -1], found.V[:, 1])


def test_surface_and_its_density() -> None:
    _, _, g = flat()
    z = torch.randn(4, 5, 2)
    points, density = manifold_surface(g, tangent_frame(g), z)
    torch.testing.assert_close(points[..., :2].square(), (S * z).square())
    torch.testing.assert_close(points[..., 2], torch.zeros(4, 5))
    expected = (-0.5 * z.square().sum(-1)).exp() / (2 * math.pi * S.prod())
    torch.testing.assert_close(density, expected)


def test_prior_falls_from_one() -> None:
    disc = prior_disc(2.0, 3)
    assert disc[1, 1] == 1
    torch.testing.assert_close(disc[0, 0], torch.tensor(-4.0).exp())
    torch.testing.assert_close(disc[0, 1], torch.tensor(-2.0).exp())


def test_image_of_a_path_is_a_seam_to_second_order() -> None:
    g = twisted(product_of_curves(), 0.1)
    found = [
        seam_deviation(g, singular_vector_path(g, torch.zeros(2), 0, extent=0.5, points=n))
        for n in (21, 41)
    ]
    assert found[1] < 1e-3 and found[0] / found[1] == pytest.approx(4, rel=0.1)


def test_another_curve_is_not_a_seam() -> None:
    g = product_of_curves()
    path = singular_vector_path(g, torch.zeros(2), 0, extent=1.0, points=51)
    c = math.sqrt(0.5)
    turned = rotated(g, torch.tensor([[c, c], [-c, c]]))
    assert seam_deviation(g, replace(path, x=1.1 * path.x)) == pytest.approx(0.1, abs=2e-3)
    assert seam_deviation(turned, path) > 0.1


# --- drawn -------------------------------------------------------------------------------------


def drawn(space: Axes3D) -> list[np.ndarray]:
    return [np.stack(line.get_data_3d(), -1) for line in space.get_lines()]


def test_panels_are_squares_of_the_size_asked_for() -> None:
    figure, planes, spaces = nets.net_panels(4.25, 1.89, "d")
    width, height = figure.get_size_inches()
    for plane, space in zip(planes, spaces, strict=True):
        box = plane.get_position()
        assert (box.width * width, box.height * height) == pytest.approx((1.89, 1.89))
        box = space.get_position()
        assert box.width * width == pytest.approx(box.height * height)
    assert planes[1].get_position().x0 - planes[0].get_position().x0 == pytest.approx(0.5)
    assert [text.get_text() for text in figure.texts] == ["$d$", "$d$"]


def test_paths_and_seams_are_drawn_within_the_disc(net: SeamNet) -> None:
    figure, (plane, _), (space, _) = nets.net_panels(4.25, 1.89, "d")
    surface, density = np.zeros((2, 2, 3)), np.ones((2, 2))
    surface[..., :2] = np.indices((2, 2)).transpose(1, 2, 0)
    nets.plot_net(plane, space, net, surface, density, radius=1.6)
    widths = [line.get_linewidth() for line in plane.get_lines()]
    assert widths == [0.8, 1.4, 0.8] * 2, "the path through the origin is the thick one"
    for line, path in zip(plane.get_lines(), net.z.flatten(0, 1), strict=True):
        inside = path[path.norm(dim=-1) < 1.6]
        np.testing.assert_allclose(line.get_xydata(), inside)
    assert len(plane.get_lines()[0].get_xydata()) == 0 < len(plane.get_lines()[2].get_xydata())
    kept = net.z.norm(dim=-1) < 1.6
    for line, seam, inside in zip(
        drawn(space), net.seams.flatten(0, 1), kept.flatten(0, 1), strict=True
    ):
        np.testing.assert_allclose(line, seam[inside])
    nets.net_legend(figure, [plane, space])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["singular-vector path", "seam"]


def test_margins_stand_beyond_the_rim(net: SeamNet) -> None:
    _, _, (space, _) = nets.net_panels(4.25, 1.89, "f")
    tops = nets.plot_seam_margins(space, net)
    first, second = np.split(tops, 2)
    density = net.density[:, 0].numpy()
    np.testing.assert_allclose(first[:, 1], -2 * S[1].item() - 0.08 - 1.2 * density[0])
    np.testing.assert_allclose(second[:, 0], -2 * S[0].item() - 0.08 - 1.2 * density[1])
    assert [text.get_text() for text in space.texts] == ["$f_1$", "$f_2$"]


def test_axes_are_named_at_their_ends_and_drawn_with_their_images() -> None:
    _, (plane, _), (space, _) = nets.net_panels(4.25, 1.89, "d")
    lines = np.stack([np.outer([-1.0, 1.0], axis) for axis in np.eye(2)])
    images = np.stack([np.outer([-1.0, 1.0], axis) for axis in np.eye(3)[:2]])
    nets.plot_axis_images(plane, space, lines, images)
    where = {text.get_text(): text.get_position() for text in plane.texts if text.get_text()}
    assert where == {"$z_1$": (2.62, 0), "$z_2$": (0, 2.62)}
    np.testing.assert_allclose(drawn(space), images)
    nets.use_net_view(space, 5.0, images, np.array([[3.0, 0, 1]]))
    assert (space.get_xlim(), space.get_ylim(), space.get_zlim()) == ((-1, 3), (-1, 1), (0, 1))

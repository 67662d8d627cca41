import hashlib
import math
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from seams.data import arrays, dsprites
from seams.data.dsprites import DSprites, classes_at, index_of, load, original, render, rule, write
from seams.data.dsprites.images import RENDERED_SHA256

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "dsprites_real_gif.npz"
SUBSET_SHA256 = "234b863073463ddbb0e9963f7e2886db4a580ee8f744382af05e182fe51fad79"
SQUARE, ELLIPSE, HEART = range(3)

# Pixel centres lie on an edge of these (the first two: a top, a bottom edge), so that another rule
# for edges draws them differently.
CENTRE_ON_EDGE = (
    40968,
    40983,
    81162,
    41706,
    81172,
    474043,
    372786,
    281896,
    604469,
    730201,
    718639,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("dsprites")
    write(made)
    yield made
    shutil.rmtree(made)  # pytest would keep 377 MB of each of the last three runs


def one(**classes: int) -> torch.Tensor:
    """Image with these classes, all others 0, as [row, column]."""
    row = [classes.get(name, 0) for name in dsprites.FACTOR_NAMES]
    return render(torch.tensor([row]))[0]


def slow_twin(classes: list[int]) -> np.ndarray:
    """One image, edge by edge, tested at pixel centres moved a hair to the right and up.

    Then no centre lies on an edge, and those that did belong to left and bottom edges. All is
    exact in float64: 2^-13 times a height below 2^13 cannot reach 1, the least nonzero cross
    product, and 2^-26 times a width below 2^13 cannot reach 2^-13.
    """
    _, shape, scale, orientation, pos_x, pos_y = classes
    if shape == SQUARE:
        outline = [(-9.6, -9.6), (9.6, -9.6), (9.6, 9.6), (-9.6, 9.6)]
    elif shape == ELLIPSE:
        angles = [2 * math.pi * k / 100 for k in range(100)]
        outline = [(9.6 * 1.33 * math.cos(p), 9.6 / 1.33 * math.sin(p)) for p in angles]
    else:
        outline = []
        for k in range(150):
            c = [math.cos(n * 2 * math.pi * k / 150) for n in range(5)]
            v = -(19.2 / 29) * (13 * c[1] - 5 * c[2] - 2 * c[3] - c[4]) - 1.44
            outline.append((9.6 * math.sin(2 * math.pi * k / 150) ** 3, v))
    s, t = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)[scale], math.radians(360 / 39 * orientation)
    cx, cy = 16 + 32 / 31 * pos_x, 16 + 32 / 31 * pos_y
    vertices = [
        (
            round(256 * (cx + s * (u * math.cos(t) + v * math.sin(t)))),
            round(256 * (cy + s * (v * math.cos(t) - u * math.sin(t)))),
        )
        for u, v in outline
    ]
    column = 256 * (np.arange(64) + 0.5) + 2.0**-13
    row = 256 * (np.arange(64) + 0.5)[:, None] - 2.0**-26
    inside = np.zeros((64, 64), dtype=bool)
    for (x1, y1), (x2, y2) in zip(vertices, vertices[1:] + vertices[:1], strict=True):
        spans = (y1 > row) != (y2 > row)
        cross = (x2 - x1) * (row - y1) - (y2 - y1) * (column - x1)
        inside ^= spans & ((cross > 0) == (y2 > y1))
    return inside


@pytest.mark.skipif(not REAL.is_file(), reason="needs ../shared/data/dsprites_real_gif.npz")
def test_renders_every_real_frame_without_a_wrong_pixel():
    with np.load(REAL, allow_pickle=False) as real:
        images, classes = real["imgs"], real["latents_classes"]
    assert len(images) == 320
    torch.testing.assert_close(render(classes), torch.from_numpy(images), rtol=0, atol=0)


def test_renders_the_pinned_subset():
    images = render(classes_at(torch.arange(0, dsprites.IMAGES, 997)))
    assert hashlib.sha256(images.numpy().tobytes()).hexdigest() == SUBSET_SHA256


def test_render_equals_slow_twin():
    index = torch.cat([torch.randint(dsprites.IMAGES, (60,)), torch.tensor(CENTRE_ON_EDGE)])
    classes = classes_at(index)
    for row, image in zip(classes.tolist(), render(classes).numpy(), strict=True):
        np.testing.assert_array_equal(image, slow_twin(row), err_msg=str(row))


def test_no_vertex_is_near_a_tie_of_the_rounding():
    # Sine and cosine differ between machines by about 1e-11 of this unit.
    every = np.arange(32)
    for pose in range(3 * 6 * 40):
        for unrounded in rule.vertices(pose, every, every):
            assert np.abs(unrounded - np.floor(unrounded) - 0.5).min() > 1e-8, pose


def test_centre_on_an_edge_belongs_to_left_and_bottom():
    # Half side 5.76 at scale 0.6; 16 + 32 * 8 / 31 - 5.76 = 18.498, which rounds to 18.5.
    low, high = {"scale": 1, "posX": 8}, {"scale": 1, "posX": 23}
    assert one(**low).any(0).nonzero().flatten().tolist() == list(range(18, 30))
    assert one(**high).any(0).nonzero().flatten().tolist() == list(range(34, 45))
    low, high = {"scale": 1, "posY": 8}, {"scale": 1, "posY": 23}
    assert one(**low).any(1).nonzero().flatten().tolist() == list(range(19, 30))
    assert one(**high).any(1).nonzero().flatten().tolist() == list(range(34, 46))


def test_square_at_orientation_0_has_the_predicted_sides():
    grid = torch.cartesian_prod(*(torch.arange(k) for k in (1, 1, 6, 1, 32, 32)))
    images = render(grid).reshape(6, 32, 32, 64, 64).bool()
    wide, high = images.any(-2), images.any(-1)
    for scale in range(6):
        half = Fraction(96, 10) * Fraction(5 + scale, 10)
        for pos in range(32):
            centre = 16 + Fraction(32 * pos, 31)
            left, right = (Fraction(round(256 * (centre + side)), 256) for side in (-half, half))
            columns = [left <= j + Fraction(1, 2) < right for j in range(64)]
            rows = [left < i + Fraction(1, 2) <= right for i in range(64)]
            assert (wide[scale, pos] == torch.tensor(columns)).all(), (scale, pos)
            assert (high[scale, :, pos] == torch.tensor(rows)).all(), (scale, pos)
    assert torch.equal(images.sum((-1, -2)), wide.sum(-1) * high.sum(-1))


@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE, HEART])
def test_position_moves_the_shape_by_32_pixels_over_31_steps(shape: int):
    across = render(torch.tensor([[0, shape, 3, 7, k, 11] for k in range(32)]))
    down = render(torch.tensor([[0, shape, 3, 7, 11, k] for k in range(32)]))
    # The ends are 32 whole pixels apart, so every pixel moves with the shape.
    assert torch.equal(across[31], across[0].roll(32, dims=1))
    assert torch.equal(down[31], down[0].roll(32, dims=0))
    at = torch.arange(64) + 0.5
    for images, axis in ((across, 1), (down, 2)):
        centroid = (images.sum(axis) * at).sum(-1) / images.sum((1, 2))
        steps = centroid.diff()
        torch.testing.assert_close(steps.mean(), torch.tensor(32 / 31))
        assert (steps - 32 / 31).abs().max() < 0.2


def test_centroid_is_the_stated_centre():
    # Square and ellipse are symmetric about their pivot; pixels add at most a fraction of one.
    image = one(shape=ELLIPSE, scale=5, orientation=5, posX=10, posY=20).double()
    at = torch.arange(64, dtype=torch.float64) + 0.5
    assert (image.sum(0) @ at / image.sum()).item() == pytest.approx(16 + 320 / 31, abs=0.05)
    assert (image.sum(1) @ at / image.sum()).item() == pytest.approx(16 + 640 / 31, abs=0.05)


def test_orientation_is_counter_clockwise_and_classes_0_and_39_coincide():
    grid = torch.cartesian_prod(*(torch.arange(k) for k in (1, 3, 6, 1, 2, 2)))
    turned = grid.clone()
    turned[:, 3] = 39
    assert torch.equal(render(grid), render(turned))
    # The heart's tip starts at the bottom; a quarter turn to the left brings it to the right.
    upright = one(shape=HEART, scale=5, posX=15, posY=15)
    quarter = one(shape=HEART, scale=5, orientation=10, posX=15, posY=15)
    rows, columns = upright.any(1).nonzero().flatten(), quarter.any(0).nonzero().flatten()
    assert upright[rows[-3:]].sum() < upright[rows[:3]].sum() / 2
    assert quarter[:, columns[-3:]].sum() < quarter[:, columns[:3]].sum() / 2


def test_square_nearly_repeats_after_a_quarter_turn_and_heart_never():
    # A quarter turn is 39/4 steps, no whole number: class 10 is 92.3 degrees, class 5 is 46.2.
    grid = torch.cartesian_prod(*(torch.arange(k) for k in (1, 3, 1, 39, 32, 1)))
    grid[:, 2], grid[:, 5] = 5, 15
    images = render(grid).reshape(3, 39, 32, 64 * 64)
    different = (images != images[:, :1]).sum(-1) / images[:, :1].sum(-1)
    assert 0 < different[SQUARE, 10].max() < 0.08
    assert different[SQUARE, 5].min() > 0.2
    assert different[HEART, 1:].min() > 0.1


def test_scale_multiplies_the_outline():
    # Averaged over position, the number of pixels is the area, to 1/31 pixel in each side.
    grid = torch.cartesian_prod(*(torch.arange(k) for k in (1, 3, 6, 1, 32, 32)))
    area = render(grid).sum((1, 2)).reshape(3, 6, -1).double().mean(-1)
    scale = 0.5 + 0.1 * torch.arange(6, dtype=torch.float64)
    torch.testing.assert_close(area[SQUARE], 19.2**2 * scale**2, rtol=1e-2, atol=0)
    torch.testing.assert_close(area[ELLIPSE], math.pi * 9.6**2 * scale**2, rtol=1e-2, atol=0)
    torch.testing.assert_close(area[HEART], area[HEART, -1] * scale**2, rtol=1e-2, atol=0)


def test_render_takes_arrays_tensors_repeats_any_order_and_nothing():
    index = torch.tensor([737279, 5, 400000, 5, 0])
    classes = classes_at(index)
    images = render(classes)
    assert images.dtype == torch.uint8 and images.max() == 1
    assert torch.equal(images, render(classes.numpy()))
    assert torch.equal(images, render(classes.int()))
    assert torch.equal(images, torch.cat([render(row[None]) for row in classes]))
    assert render(classes[:0]).shape == (0, 64, 64)


def test_index_and_classes_are_inverse_and_posY_varies_fastest():
    index = torch.arange(dsprites.IMAGES)
    classes = classes_at(index)
    assert classes[1].tolist() == [0, 0, 0, 0, 0, 1]
    assert classes[32].tolist() == [0, 0, 0, 0, 1, 0]
    assert classes[2 * 245760 + 3 * 40960 + 5 * 1024].tolist() == [0, 2, 3, 5, 0, 0]
    assert classes[-1].tolist() == [0, 2, 5, 39, 31, 31]
    assert torch.equal(index_of(classes), index)
    assert torch.equal(index_of(classes_at(index[:6].reshape(2, 3))), index[:6].reshape(2, 3))


@pytest.mark.parametrize("index", [-1, 737280])
def test_index_outside_the_set(index: int):
    with pytest.raises(ValueError, match=rf"must lie in 0..737279; got {index}\."):
        classes_at(torch.tensor([0, index]))


def test_class_outside_its_factor():
    with pytest.raises(ValueError, match=r"orientation lie in 0..39; got 40 in row 1\."):
        render(torch.tensor([[0, 0, 0, 39, 0, 0], [0, 0, 0, 40, 0, 0]]))
    with pytest.raises(ValueError, match=r"shape lie in 0..2; got -1 in row 0\."):
        index_of(torch.tensor([0, -1, 0, 0, 0, 0]))


def test_write_makes_the_pinned_files(folder: Path):
    assert sorted(file.name for file in folder.iterdir()) == ["dsprites.json", "dsprites.npy"]
    assert (folder / "dsprites.json").read_text() == (
        '{\n  "source": "rendered",\n  "images": 737280,\n  "white_pixels": 128328864,\n'
        f'  "sha256": "{RENDERED_SHA256}"\n}}\n'
    )
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (737280, 512), }"
    with (folder / "dsprites.npy").open("rb") as stream:
        assert stream.read(128) == b"\x93NUMPY\x01\x00v\x00" + header.ljust(117) + b"\n"
        rest = hashlib.file_digest(stream, "sha256").hexdigest()
    assert rest == RENDERED_SHA256
    packed = np.load(folder / "dsprites.npy", mmap_mode="r", allow_pickle=False)
    index = torch.arange(0, dsprites.IMAGES, 9973)
    images = render(classes_at(index)).flatten(1).numpy()
    np.testing.assert_array_equal(packed[index.numpy()], np.packbits(images, axis=1))


def pooled(images: torch.Tensor, resolution: int) -> torch.Tensor:
    """Mean over blocks, the slow way: images [..., 64, 64] to [..., resolution^2]."""
    block = 64 // resolution
    blocks = images.unflatten(-1, (-1, block)).unflatten(-3, (-1, block))
    return blocks.to(torch.get_default_dtype()).mean((-1, -3)).flatten(-2)


@pytest.mark.parametrize(
    ("subset", "resolution"),
    [
        ("full", 64),
        ("half_height", 64),
        ("half_height", 16),
        pytest.param("half_height", 32, marks=pytest.mark.slow),
        pytest.param("full", 32, marks=pytest.mark.slow),
        pytest.param("full", 16, marks=pytest.mark.slow),
    ],
)
def test_batch_equals_render_of_the_same_factors(
    folder: Path, subset: str, resolution: int, device: torch.device
):
    images = load(folder, subset, resolution)
    half = subset == "half_height"
    assert len(images) == dsprites.IMAGES // (2 if half else 1)
    assert images.factor_names == ("shape", "scale", "orientation", "posX", "posY")
    assert images.factor_sizes == (3, 6, 40, 32, 16 if half else 32)
    assert images.resolution == resolution and images.scale == (resolution / 64) ** 2
    assert images.source == "rendered" and images.checksum == RENDERED_SHA256
    assert images.factors.amin(0).tolist() == [0] * 5
    assert images.factors.amax(0).tolist() == [size - 1 for size in images.factor_sizes]

    index = torch.randint(len(images), (6, 5))
    classes = torch.nn.functional.pad(images.factors[index], (1, 0))
    classes[..., -1] += 8 if half else 0
    expected = pooled(render(classes.flatten(0, 1)), resolution).unflatten(0, (6, 5))
    moved = images.to(device)
    batch = moved.batch(index.to(device))
    torch.testing.assert_close(batch, expected.to(device), rtol=0, atol=0)
    assert torch.equal(moved.batch(index[2, 3].to(device)), batch[2, 3])
    for dtype in (torch.bfloat16, torch.float32):
        low = moved.batch(index.int().to(device), dtype=dtype)
        assert low.dtype == dtype
        assert torch.equal(low.to(batch.dtype), batch)


@pytest.mark.parametrize("resolution", [32, 16])
def test_pool_counts_white_pixels_of_each_block(resolution: int):
    images = torch.randint(2, (3, 5, 64, 64), dtype=torch.uint8)
    images[0, 0] = 1
    packed = np.packbits(images.flatten(-2).numpy(), axis=-1)
    counts = torch.from_numpy(rule.pool(packed, 64 // resolution))
    expected = pooled(images, resolution) * (64 // resolution) ** 2
    assert counts.dtype == torch.uint8
    assert torch.equal(counts.to(expected), expected)


def test_to_keeps_everything_but_the_device():
    small = DSprites(
        images=torch.zeros(2, 256, dtype=torch.uint8),
        factors=torch.zeros(2, 5, dtype=torch.int64),
        factor_names=("shape", "scale", "orientation", "posX", "posY"),
        factor_sizes=(3, 6, 40, 32, 32),
        scale=1 / 16,
        resolution=16,
        source="rendered",
        checksum="0",
    )
    moved = small.to("meta")
    assert moved.images.device.type == moved.factors.device.type == "meta"
    assert (moved.scale, moved.factor_sizes, moved.checksum) == (1 / 16, (3, 6, 40, 32, 32), "0")


class Trap:
    """Leaves a file where it was unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def npz(path: Path, pixels: np.ndarray) -> str:
    """Write a small file like the original npz, pickled metadata included; return its md5."""
    metadata = np.array(Trap(path.with_suffix(".sprung")), dtype=object)
    np.savez_compressed(path, metadata=metadata, imgs=pixels, latents_classes=np.zeros(3))
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_original_is_packed_in_parts_and_never_unpickled(tmp_path: Path):
    count = original.READ + 3
    index = torch.arange(count) * (dsprites.IMAGES // count)
    pixels = render(classes_at(index)).numpy()
    md5 = npz(tmp_path / "o.npz", pixels)
    parts = list(original.packed_original(tmp_path / "o.npz", md5=md5, images=count))
    assert [len(part) for part in parts] == [original.READ, 3]
    np.testing.assert_array_equal(
        np.concatenate(parts), np.packbits(pixels.reshape(count, -1), axis=1)
    )
    assert not (tmp_path / "o.sprung").exists()
    with np.load(tmp_path / "o.npz", allow_pickle=True) as loaded:
        loaded["metadata"]
    assert (tmp_path / "o.sprung").exists(), "the trap would not have sprung"


def test_original_with_another_checksum(tmp_path: Path):
    md5 = npz(tmp_path / "o.npz", np.zeros((2, 64, 64), dtype=np.uint8))
    with pytest.raises(ValueError, match=rf"md5 7da33b31b13a06f4b04a70402ce90c2e; .* has {md5}\."):
        write(tmp_path / "out", tmp_path / "o.npz")
    assert list((tmp_path / "out").iterdir()) == []


def test_original_cut_short(tmp_path: Path):
    npz(tmp_path / "o.npz", np.zeros((2, 64, 64), dtype=np.uint8))
    (tmp_path / "o.npz").write_bytes((tmp_path / "o.npz").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"is not a complete zip \(300 bytes\)\. Download"):
        write(tmp_path / "out", tmp_path / "o.npz")


@pytest.mark.parametrize(
    ("pixels", "came"),
    [
        (np.zeros((3, 64, 64), dtype=np.uint8), r"uint8 \(3, 64, 64\)"),
        (np.zeros((2, 64, 64), dtype=np.float32), r"float32 \(2, 64, 64\)"),
        (np.asfortranarray(np.zeros((2, 64, 64), dtype=np.uint8)), r"uint8 \(2, 64, 64\) by col"),
    ],
)
def test_original_with_other_images(tmp_path: Path, pixels: np.ndarray, came: str):
    md5 = npz(tmp_path / "o.npz", pixels)
    with pytest.raises(ValueError, match=rf"must be uint8 \(2, 64, 64\) by rows; got {came}"):
        list(original.packed_original(tmp_path / "o.npz", md5=md5, images=2))


BLACK = np.zeros((1, 512), dtype=np.uint8)


def stored(folder: Path, *parts: np.ndarray) -> Path:
    """A small array in the place of the whole set."""
    path = folder / "dsprites.npy"
    arrays.store(path, (len(parts), 512), parts, lambda sha256: {"source": "rendered"})
    return path


@pytest.mark.parametrize("name", ["dsprites.npy", "dsprites.json"])
def test_load_without_a_file(tmp_path: Path, name: str):
    stored(tmp_path, BLACK).with_name(name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} is missing: run `seams data` \(or `dvc"):
        load(tmp_path)


def test_load_of_a_damaged_file(tmp_path: Path):
    file = stored(tmp_path, BLACK, BLACK)
    with pytest.raises(ValueError, match=r"\(737280, 512\); got uint8 \(2, 512\)\. Delete it"):
        load(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"\(737280, 512\); got 1151 bytes\. Delete it"):
        load(tmp_path)
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"\(737280, 512\); got 0 bytes\. Delete it"):
        load(tmp_path)


def test_black_images_are_not_taken_for_dsprites(folder: Path, tmp_path: Path):
    """Neither beside the description of the genuine ones, nor changed in place after a load."""
    load(folder)
    black = np.lib.format.open_memmap(
        tmp_path / "dsprites.npy", "w+", np.uint8, (dsprites.IMAGES, 512)
    )
    black.flush()
    shutil.copy(folder / "dsprites.json", tmp_path)
    with pytest.raises(
        ValueError, match=r"must be the array of dsprites\.json; got sha256 .* run"
    ):
        load(tmp_path)


def test_other_resolutions_are_refused():
    with pytest.raises(ValueError, match=r"`resolution` of dSprites must be 64, 32 or 16; got 17"):
        dsprites.named("dsprites", 17)

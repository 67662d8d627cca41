import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seams import data as datasets
from seams.cli import main
from seams.data import Samples, load_faces
from seams.data.arrays import store as store_array
from seams.files import clean, scratch
from seams.training import Stack, TrainConfig, train
from seams.training.runs import FILES
from seams.training.store import FORMAT, Run, Store, run_id, table

CONFIG = TrainConfig(
    dataset="linear",
    resolution=1,
    network="mlp",
    width=4,
    latent=2,
    images=64,
    batch=16,
    snapshots=2,
)
FACTS = {"data_size": 6, "device": "cpu", "seconds": 1.5}
SCORES = {"rate": 0.25, "active": 2, "collapsed": False, "mig": None}


def arrays() -> dict[str, np.ndarray]:
    return {"information": np.arange(6.0).reshape(2, 3), "images": np.zeros((1, 4), np.uint8)}


def stack_of(*configs: TrainConfig, trained: bool = True) -> Stack:
    generator = torch.Generator().manual_seed(0)
    data = Samples(torch.randn(50, 6, generator=generator, dtype=torch.float32))
    stack = Stack.start(configs, data)
    for _ in train(stack, data) if trained else ():
        pass
    return stack


@pytest.fixture(scope="module")
def stack() -> Stack:
    return stack_of(CONFIG)


def saved(store: Store, stack: Stack, run: int = 0, **scores: Any) -> Run:
    return store.save(stack, run, FACTS, SCORES | scores, arrays())


def flip(path: Path, place: int | None = None) -> None:
    """Turn one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    path.write_bytes(content)


def apart(action: Callable[[], Any]) -> int:
    """Do something in another process, over and over, until it is killed; its number."""
    child = os.fork()
    if child:
        return child
    try:
        while True:
            action()
    finally:
        os._exit(1)


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- names -------------------------------------------------------------------------------------


def test_name_of_a_run_is_fixed() -> None:
    """Published numbers are stored under these names; they cannot move within a format."""
    assert FORMAT == 1
    assert run_id(TrainConfig()) == "e86bc66447c00a09"
    assert run_id(TrainConfig(beta=4, covariance="full", seed=2)) == "ff2d4160660a49bf"


def test_every_changed_field_changes_the_name() -> None:
    others = {
        "dataset": "linear",
        "network": "mlp",
        "activation": "relu",
        "covariance": "full",
        "likelihood": "bernoulli",
        "precision": "bfloat16",
        "beta_start": 3.0,
        "hold": 0.5,
        "covariance_start": "full",
        "off_diagonal": "relative",
        "warmup": 0.5,
    }
    names = {run_id(TrainConfig())}
    for item in fields(TrainConfig):
        value = others.get(item.name)
        if value is None:
            value = item.default + type(item.default)(1)
        needed = {"hold": {"beta_start": 3.0}, "covariance_start": {"hold": 0.5}}.get(
            item.name, {}
        )
        names.add(run_id(TrainConfig(**needed | {item.name: value})))
    assert len(names) == 1 + len(fields(TrainConfig))


def test_a_new_field_with_a_default_leaves_names_as_they_are() -> None:
    wider = make_dataclass("Wider", [("novelty", str, "none")], bases=(TrainConfig,), frozen=True)
    assert run_id(wider(beta=2.0)) == run_id(TrainConfig(beta=2.0))
    assert run_id(wider(beta=2.0, novelty="some")) != run_id(TrainConfig(beta=2.0))


def test_integers_and_floats_name_the_same_run() -> None:
    assert run_id(TrainConfig(beta=4)) == run_id(TrainConfig(beta=4.0))


# --- what is stored ----------------------------------------------------------------------------


def test_a_stored_run_comes_back_whole(store: Store, stack: Stack) -> None:
    assert store.find(CONFIG) is None
    saved(store, stack)
    run = store.find(CONFIG)
    assert run is not None and run.config == CONFIG and run.id == run_id(CONFIG)
    assert run.provenance == FACTS
    assert run.scores == SCORES
    assert run.arrays.keys() == arrays().keys()
    for name, array in arrays().items():
        assert run.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(run.arrays[name], array)
    for name, weight in run.weights().items():
        assert torch.equal(weight, stack.params[name][0])
    assert list(run.snapshots()) == [1, 4]
    for step, weights in run.snapshots().items():
        for name, weight in weights.items():
            assert torch.equal(weight, stack.snapshots[step][name][0])


def test_history_has_a_row_a_chunk(store: Store, stack: Stack) -> None:
    history = saved(store, stack).history
    assert history["step"].tolist() == [4] and history["images"].tolist() == [64]
    assert history["distortion"].tolist() == [stack.history["distortion"][0].item()]
    assert list(history) == ["step", "images", "beta", "distortion", "rate"]


def test_the_model_is_the_one_that_was_trained(store: Store, stack: Stack) -> None:
    run = saved(store, stack)
    x, noise = torch.randn(3, 6).float(), torch.randn(3, 2).float()
    params = {name: param[0] for name, param in stack.params.items()}
    expected = torch.func.functional_call(stack.model, params, (x, noise))
    model = run.model()
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    for found, value in zip(model(x, noise), expected, strict=True):
        assert torch.equal(found, value)
    early = run.model(run.snapshots()[1])
    assert torch.equal(early.network[0].weight, stack.snapshots[1]["network.0.weight"][0])


def test_every_run_of_a_stack_is_stored_for_itself(store: Store) -> None:
    configs = [CONFIG, replace(CONFIG, seed=1), replace(CONFIG, beta=2.0)]
    stack = stack_of(*configs)
    for run in range(3):
        saved(store, stack, run, rate=float(run))
    for position, config in enumerate(configs):
        found = store.find(config)
        assert found.scores["rate"] == position
        name = "encoder.mean.weight"
        assert torch.equal(found.weights()[name], stack.params[name][position])


def test_saving_again_replaces(store: Store, stack: Stack) -> None:
    saved(store, stack, rate=1.0)
    (store.root / run_id(CONFIG) / "left-over").touch()
    saved(store, stack, rate=2.0)
    assert store.find(CONFIG).scores["rate"] == 2.0
    assert listing(store.root) == {"store.json", run_id(CONFIG)}
    assert "left-over" not in listing(store.root / run_id(CONFIG))


def test_others_can_read_what_the_umask_lets_them(store: Store, stack: Stack) -> None:
    before = os.umask(0o027)
    try:
        folder = saved(store, stack).folder
        store.save_checkpoint(stack)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o750
    for path in (*folder.iterdir(), *(store.root / "checkpoint").iterdir()):
        assert path.stat().st_mode & 0o777 == 0o640, path


def test_nothing_is_pickled(store: Store, stack: Stack) -> None:
    folder = saved(store, stack).folder
    assert {path.suffix for path in folder.iterdir()} == {".json", ".npz", ".safetensors"}
    objects = {"object": np.array([{}], dtype=object)}
    with pytest.raises(ValueError, match="allow_pickle=False"):
        store.save(stack, 0, FACTS, SCORES, objects)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_undefined_scores_are_refused(store: Store, stack: Stack, value: float) -> None:
    message = rf"The score 'mig' of run {run_id(CONFIG)} must be finite, or None .*; got {value}\."
    with pytest.raises(ValueError, match=message):
        saved(store, stack, mig=value)
    assert store.find(CONFIG) is None


# --- what is found -----------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["config.json", "evaluation.json", "evaluation.npz"])
def test_a_half_written_folder_is_not_found(store: Store, stack: Stack, missing: str) -> None:
    (saved(store, stack).folder / missing).unlink()
    assert store.find(CONFIG) is None


def test_a_writer_that_is_killed_leaves_the_old_or_the_new(store: Store, stack: Stack) -> None:
    saved(store, stack, rate=0.0)
    rounds = 8
    for number in range(rounds):
        child = apart(lambda: saved(store, stack, rate=1.0))
        time.sleep(0.02 + 0.013 * number)
        kill(child)
        again = Store(store.root)
        run = again.trained(CONFIG)
        assert run and run.damage(weights=True) == ""
        assert not run.is_evaluated or run.scores["rate"] in (0.0, 1.0)
        assert listing(store.root) == {"store.json", run_id(CONFIG)}


def test_the_configuration_of_another_run_is_set_aside(store: Store, stack: Stack) -> None:
    folder = saved(store, stack).folder
    (folder / FILES.checksums).unlink()  # as before there were any
    path = folder / FILES.config
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beta": 7.0}))
    assert store.find(CONFIG) is None and not folder.exists()


def test_a_run_stored_before_a_field_existed_is_found(store: Store, stack: Stack) -> None:
    path = saved(store, stack).folder / "config.json"
    (path.parent / FILES.checksums).unlink()  # as before there were any
    stored = json.loads(path.read_text())
    del stored["precision"]
    path.write_text(json.dumps(stored | {"since_removed": 3}))
    assert store.find(CONFIG) is not None


def test_stores_of_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 99}')
    message = rf"has format 99, this version reads {FORMAT}: name another folder in SEAMS_STORE"
    with pytest.raises(ValueError, match=message):
        Store(tmp_path)


def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAMS_ROOT", str(tmp_path))
    monkeypatch.delenv("SEAMS_STORE", raising=False)
    assert Store().root == tmp_path / ".runs"
    monkeypatch.setenv("SEAMS_STORE", str(tmp_path / "elsewhere"))
    assert Store().root == tmp_path / "elsewhere"
    assert Store(tmp_path / "given").root == tmp_path / "given"


# --- the record --------------------------------------------------------------------------------


@pytest.fixture
def record(tmp_path: Path, stack: Stack) -> Path:
    """A run as the record keeps it: evaluated, without weights."""
    folder = saved(Store(tmp_path / "origin"), stack, rate=9.0).folder
    for name in ("weights.safetensors", "snapshots.safetensors"):
        (folder / name).unlink()
    return Path(shutil.copytree(folder, tmp_path / "record" / folder.name)).parent


def test_runs_of_the_record_are_found(tmp_path: Path, record: Path) -> None:
    run = Store(tmp_path / "store", record).find(CONFIG)
    assert run.scores["rate"] == 9.0
    assert len(run.history) == 1
    assert Store(tmp_path / "store").find(CONFIG) is None


def test_the_store_comes_before_the_record(tmp_path: Path, record: Path, stack: Stack) -> None:
    store = Store(tmp_path / "store", record)
    saved(store, stack, rate=1.0)
    assert store.find(CONFIG).scores["rate"] == 1.0


def test_the_record_has_no_weights(tmp_path: Path, record: Path) -> None:
    run = Store(tmp_path / "store", record).find(CONFIG)
    message = (
        f"Run {run_id(CONFIG)} is known from the record, without its weights: train it again "
        "with `retrain=True`"
    )
    for call in (run.weights, run.snapshots, run.model):
        with pytest.raises(FileNotFoundError, match=message):
            call()


def test_no_snapshots_were_asked_for(store: Store) -> None:
    config = replace(CONFIG, snapshots=0)
    assert saved(store, stack_of(config, trained=False)).snapshots() == {}


def test_nothing_is_stored_that_needs_pickle(store: Store) -> None:
    run = saved(store, stack_of(CONFIG))
    with pytest.raises(ValueError, match="allow_pickle"):
        store.update(run, run.scores, {"a": np.array([None])})
    assert "a" not in Store(store.root).find(CONFIG).arrays


# --- checkpoints -------------------------------------------------------------------------------


def test_checkpoints_come_back_until_the_run_is_saved(store: Store) -> None:
    configs = [CONFIG, replace(CONFIG, seed=1)]
    stack = stack_of(*configs)
    assert store.checkpoint(CONFIG) is None and store.step(CONFIG) == 0
    store.save_checkpoint(stack)
    for position, config in enumerate(configs):
        found, expected = store.checkpoint(config), stack.state(position)
        assert float(found.pop("seconds")) == 0
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    store.save_checkpoint(stack, [1.5, 2.5])
    assert [float(store.checkpoint(c)["seconds"]) for c in configs] == [1.5, 2.5]
    assert store.find(CONFIG) is None and store.step(CONFIG) == 4
    saved(store, stack)
    assert store.checkpoint(CONFIG) is None
    assert store.checkpoint(configs[1]) is not None


def test_a_checkpoint_of_another_run_or_with_a_flipped_bit_is_set_aside(
    store: Store, capsys: pytest.CaptureFixture
) -> None:
    one, other = CONFIG, replace(CONFIG, seed=1)
    store.save_checkpoint(stack_of(one, other))
    path = {c: store.root / "checkpoint" / f"{run_id(c)}.safetensors" for c in (one, other)}
    shutil.copy(path[other], path[one])
    assert store.step(one) == 0 and store.checkpoint(one) is None
    assert "is unfit: it is another run's. It lies in" in capsys.readouterr().err
    content = path[other].read_bytes()
    for place in range(0, len(content), len(content) // 40):
        path[other].write_bytes(content)
        flip(path[other], place)
        assert store.checkpoint(other) is None, place
    path[other].write_bytes(content)
    assert store.checkpoint(other) is not None


def test_runs_of_other_images_do_not_count(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config = replace(CONFIG, dataset="folder:mine", resolution=4)
    folder = tmp_path / "faces" / "mine"
    folder.mkdir(parents=True)
    monkeypatch.setenv("SEAMS_FACES", str(folder.parent))

    def show(level: int) -> None:
        Image.fromarray(np.full((4, 4), level, np.uint8)).save(folder / "a.png")
        datasets.load.cache_clear()  # as in another process
        datasets._checksum_in.cache_clear()

    show(0)
    stack, before = stack_of(config), load_faces("folder:mine", 4).checksum
    record = Store(tmp_path / "record")
    for place in (store, record):
        place.save(stack, 0, FACTS | {"data_checksum": before}, SCORES, arrays())
    store.save_checkpoint(stack, data=[before])
    assert store.find(config) and store.checkpoint(config)
    show(255)
    assert store.trained(config) is None and store.checkpoint(config) is None
    said = capsys.readouterr().err
    assert "was trained on other images than folder:mine has now. It lies in" in said
    assert len([*(store.root / ".damaged").iterdir()]) == 2
    recorded = Store(store.root, record=record.root)
    assert recorded.find(config) and recorded.find(config)  # the record has a single version
    assert capsys.readouterr().err.count("other images than are here") == 1
    shutil.rmtree(folder)
    datasets._checksum_in.cache_clear()
    store.save(stack, 0, FACTS | {"data_checksum": before}, SCORES, arrays())
    assert store.find(config)  # without the images nothing can be compared


def test_dsprites_are_known_by_the_bits_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAMS_DATA", str(tmp_path))
    assert datasets.checksum_here("dsprites", 16) is None
    facts = store_array(
        tmp_path / "dsprites.npy", (2, 3), [np.eye(2, 3, dtype=np.uint8)], lambda _: {}
    )
    datasets._checksum_in.cache_clear()
    assert datasets.checksum_here("dsprites_half_height", 16) == facts["sha256"]
    assert datasets.checksum_here("dsprites_square-1.5", 8) is None  # drawn by code


# --- two processes -----------------------------------------------------------------------------


def test_two_stores_see_each_other(tmp_path: Path, stack: Stack) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    saved(one, stack, rate=3.0)
    assert other.find(CONFIG).scores["rate"] == 3.0
    saved(other, stack, rate=4.0)
    assert one.find(CONFIG).scores["rate"] == 4.0


def test_two_writers_of_one_run_do_not_collide(store: Store, stack: Stack) -> None:
    """There is a run at every moment, and none that is being replaced is taken for damaged."""
    run = saved(store, stack, rate=1.0)

    def write(rate: float) -> None:
        with store.lock(CONFIG) as mine:
            if mine:
                saved(store, stack, rate=rate)

    children = [apart(lambda rate=rate: write(rate)) for rate in (1.0, 2.0)]
    try:
        end, found = time.monotonic() + 1.0, 0
        while time.monotonic() < end:
            assert (run.folder / FILES.config).is_file()
            found += store.trained(CONFIG) is not None
    finally:
        for child in children:
            kill(child)
    assert found and not (store.root / ".damaged").exists()


def test_a_store_that_cannot_be_written_says_so(store: Store, stack: Stack) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom seams.files import publish, scratch\n"
        "os.setuid(65534)\npublish(Path(sys.argv[1], 'new'), Path(sys.argv[1], 'target'))"
    )
    if os.geteuid() != 0:
        pytest.skip("becomes another user")
    for name in ("new", "target"):
        (store.root / name / name).mkdir(parents=True)
    for folder in (store.root, *store.root.parents):
        if folder.is_relative_to(store.root.parent.parent):
            folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", program, str(store.root)], capture_output=True, text=True
    )
    assert done.returncode == 1 and "PermissionError" in done.stderr
    assert (store.root / "target" / "target").is_dir()


def test_one_process_has_a_run_in_hand(store: Store, stack: Stack) -> None:
    """Until it dies: the kernel gives the lock to others then."""

    def hold() -> None:
        with store.lock(CONFIG) as mine:
            if mine:
                (store.root / "held").touch()
            time.sleep(60)

    child = apart(hold)
    try:
        while not (store.root / "held").exists():
            time.sleep(0.01)
        with store.lock(CONFIG) as mine, store.lock(replace(CONFIG, seed=1)) as other:
            assert not mine and other
        assert store.is_locked(CONFIG)
    finally:
        kill(child)
    assert not store.is_locked(CONFIG)
    with store.lock(CONFIG) as mine, store.lock(CONFIG) as again:
        assert mine and not again, "also within a process"


def test_what_a_dead_process_left_is_cleaned_away(store: Store, stack: Stack) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    mine = scratch(store.root)
    ended = mine.with_name(mine.name.replace(str(os.getpid()), str(child)))
    (ended / "a").mkdir(parents=True)
    elsewhere = mine.with_name(f".new-{child}-elsewhere-01234567")
    ancient = mine.with_name(".new-abcdefg")
    elsewhere.mkdir()
    ancient.mkdir()
    os.utime(ancient, (0, 0))
    folder = saved(store, stack).folder
    folder.rename(ended.with_name(ended.name.replace("new", "old") + f"-{folder.name}"))
    again = Store(store.root)
    assert listing(store.root) == {"store.json", mine.name, elsewhere.name, folder.name}
    assert again.find(CONFIG)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_a_process_that_nobody_reaps_is_dead(tmp_path: Path) -> None:
    """In a container a killed process may stay a zombie, whose number still answers."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and still there
        os.kill(child.pid, 0)
        mine = scratch(tmp_path)
        mine.with_name(mine.name.replace(str(os.getpid()), str(child.pid))).mkdir()
        clean(tmp_path)
        assert listing(tmp_path) == {mine.name}


# --- damage ------------------------------------------------------------------------------------

NAMES = [value for name, value in vars(FILES).items() if not name.startswith("_")]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {FILES.decoder}))
def test_a_bit_that_flips_is_seen(
    store: Store, stack: Stack, name: str, capsys: pytest.CaptureFixture
) -> None:
    run = saved(store, stack)
    large = name in (FILES.weights, FILES.snapshots)
    flip(run.folder / name)
    if large:
        assert store.find(CONFIG), "seen where it is read"
        with pytest.raises(ValueError, match=rf"^{name} was damaged; `seams store check` sets"):
            run.weights() if name == FILES.weights else run.snapshots()
    assert store.find(CONFIG, weights=True) is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "does not count" in said
    assert [path.parent.name for path in store.root.glob(".damaged/*/config.json")]
    assert not run.folder.exists() and saved(store, stack).scores == SCORES


def test_a_checksum_under_another_name_is_seen(store: Store, stack: Stack) -> None:
    path = saved(store, stack).folder / FILES.checksums
    path.write_text(path.read_text().replace("history.npz", "hjstory.npz"))
    assert store.find(CONFIG) is None  # else that file would be read unchecked


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("checksums", [True, False])
def test_files_that_end_early_are_seen(
    store: Store, stack: Stack, share: float, checksums: bool
) -> None:
    """Also those stored before there were checksums, as far as their form tells."""
    for name in (FILES.config, FILES.evaluation, FILES.arrays, FILES.history, FILES.weights):
        folder = saved(store, stack).folder
        if not checksums:
            (folder / FILES.checksums).unlink()
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])
        assert store.find(CONFIG, weights=True) is None, name


def test_a_check_sees_every_file(store: Store, stack: Stack, capsys: Any) -> None:
    runs = [saved(store, stack_of(replace(CONFIG, seed=seed))) for seed in range(3)]
    store.save_checkpoint(stack_of(replace(CONFIG, seed=3), replace(CONFIG, seed=4)))
    assert store.check() == (5, [])
    assert main(["store", "check", str(store.root)]) == 0
    assert "5 runs and checkpoints in" in capsys.readouterr().out
    flip(runs[1].folder / FILES.snapshots)
    flip(next((store.root / "checkpoint").iterdir()))
    assert main(["store", "check", str(store.root)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"Run {runs[1].id}: snapshots.safetensors was damaged")
    assert said[1].startswith("The checkpoint of run ") and said[2].startswith("seams: 3 runs")
    assert store.check() == (3, [])
    assert main(["store", "check", str(store.root / "nowhere")]) == 2
    assert "There is no run store in" in capsys.readouterr().err


# --- trained, and not evaluated ----------------------------------------------------------------


def test_what_was_learned_is_kept_before_it_is_evaluated(store: Store, stack: Stack) -> None:
    store.save_checkpoint(stack)
    run = store.finish(stack, 0, FACTS)
    assert store.find(CONFIG) is None and store.checkpoint(CONFIG) is None
    assert store.trained(CONFIG) == run and not run.is_evaluated
    assert run.provenance == FACTS and len(run.history) == 1 and len(run.snapshots()) == 2
    weights = run.weights()
    store.update(run, SCORES, arrays())
    found = store.find(CONFIG, weights=True)
    assert found and found.scores == SCORES
    assert all(torch.equal(found.weights()[name], value) for name, value in weights.items())


# --- tables ------------------------------------------------------------------------------------


def test_table_has_a_row_a_run_in_the_order_given(store: Store) -> None:
    configs = [replace(CONFIG, seed=1), CONFIG]
    stack = stack_of(*configs, trained=False)
    runs = [saved(store, stack, run, rate=float(run)) for run in range(2)]
    frame = table(runs)
    assert frame.index.tolist() == [run_id(c) for c in configs]
    assert frame["seed"].tolist() == [1, 0]
    assert frame["rate"].tolist() == [0.0, 1.0]
    assert frame["mig"].isna().all()
    assert frame["beta"].tolist() == [1.0, 1.0]
    assert set(frame) == {item.name for item in fields(TrainConfig)} | set(SCORES)
    assert table([]).empty

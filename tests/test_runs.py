import json
import shutil
from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seams.data import Samples
from seams.training import Stack, TrainConfig, train
from seams.training import store as module
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
        "warmup": 0.5,
    }
    names = {run_id(TrainConfig())}
    for item in fields(TrainConfig):
        value = others.get(item.name)
        if value is None:
            value = item.default + type(item.default)(1)
        needed = {"beta_start": 3.0} if item.name == "hold" else {}
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


def test_folders_can_be_read_by_others(store: Store, stack: Stack) -> None:
    assert saved(store, stack).folder.stat().st_mode & 0o055 == 0o055


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


def test_a_writer_that_dies_leaves_nothing_to_find(
    store: Store, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever file it dies: the folder gets its name when all are written."""
    for function in ("savez_compressed", "save_file"):
        with monkeypatch.context() as patch:
            owner = module.np if function == "savez_compressed" else module
            patch.setattr(owner, function, lambda *a, **k: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                saved(store, stack)
        assert store.find(CONFIG) is None
        assert run_id(CONFIG) not in listing(store.root)
    assert saved(store, stack).scores == SCORES


def test_another_run_under_the_name_is_refused(store: Store, stack: Stack) -> None:
    path = saved(store, stack).folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beta": 7.0}))
    with pytest.raises(ValueError, match="holds another run than its name says; delete it"):
        store.find(CONFIG)


def test_a_run_stored_before_a_field_existed_is_found(store: Store, stack: Stack) -> None:
    path = saved(store, stack).folder / "config.json"
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
    assert store.checkpoint(CONFIG) is None
    store.save_checkpoint(stack)
    for position, config in enumerate(configs):
        found, expected = store.checkpoint(config), stack.state(position)
        assert float(found.pop("seconds")) == 0
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    store.save_checkpoint(stack, [1.5, 2.5])
    assert [float(store.checkpoint(c)["seconds"]) for c in configs] == [1.5, 2.5]
    assert store.find(CONFIG) is None
    saved(store, stack)
    assert store.checkpoint(CONFIG) is None
    assert store.checkpoint(configs[1]) is not None


# --- two processes -----------------------------------------------------------------------------


def test_two_stores_see_each_other(tmp_path: Path, stack: Stack) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    saved(one, stack, rate=3.0)
    assert other.find(CONFIG).scores["rate"] == 3.0
    saved(other, stack, rate=4.0)
    assert one.find(CONFIG).scores["rate"] == 4.0


def test_two_writers_of_one_run_do_not_collide(
    store: Store, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writer puts its folder in place just before ours is moved there."""
    rename, others = Path.rename, [1.0, 2.0]

    def interfering(self: Path, target: Path) -> Path:
        if self.name.startswith(".new-") and others:
            rate = others.pop()
            saved(store, stack, rate=rate)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interfering)
    saved(store, stack, rate=3.0)
    assert not others
    assert store.find(CONFIG).scores["rate"] == 3.0
    assert listing(store.root) == {"store.json", run_id(CONFIG)}


def test_a_store_that_cannot_be_written_says_so(
    store: Store, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        saved(store, stack)


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

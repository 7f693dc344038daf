"""Training: resumed, spread over processes, refused; and the members of an ensemble."""

import json

import pandas as pd
import pytest
from conftest import DISTIL, Copy, fit
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from wyk.common import weights
from wyk.model import checkpoint
from wyk.model.ensemble import Ensemble


def test_training_learns(folder):
    log = pd.read_csv(folder / "log.csv")
    assert log["val_nll"].iloc[-1] < 0.8 * log["val_nll"].iloc[0]
    assert json.loads((folder / "config.json").read_text())["val_nll"] == log["val_nll"].min()


PUBLISHED = {
    "architecture": {"query_layers": 0, "presence": "concatenated", "descriptors": False},
    "targets": "one",
    "optimizer": "sgd",
    "lr": 0.2,
    "schedule": "plateau",
    "formal_masks": False,
    "batch": 1_000_000,
    "epochs": 60,
    "evaluate_every": 20,
    "patience": 60,
}


@pytest.mark.parametrize("changes", [PUBLISHED, {"order": "canonical"}], ids=["paper", "canonical"])
def test_other_recipes_learn(tmp_path, changes):
    fit(tmp_path, **changes)
    log = pd.read_csv(tmp_path / "log.csv")
    assert log["val_nll"].iloc[-1] < log["val_nll"].iloc[0] - 1


def save_and_die(*arguments, save=weights.save_state):
    """Ctrl-C right after a state was saved."""
    save(*arguments)
    raise KeyboardInterrupt


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_resumed_training_equals_uninterrupted(tmp_path, schedule, monkeypatch):
    fit(tmp_path / "whole", schedule=schedule)
    monkeypatch.setattr(weights, "save_state", save_and_die)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "parts", schedule=schedule)
    monkeypatch.undo()
    fit(tmp_path / "parts", schedule=schedule)
    for name in ("model.safetensors", "config.json", "log.csv", "state.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_finished_training_is_not_repeated(tmp_path, monkeypatch):
    fit(tmp_path, patience=1)
    monkeypatch.setattr(weights, "save_state", save_and_die)
    fit(tmp_path, patience=1)


def test_other_settings_are_another_run(tmp_path, monkeypatch):
    """A state is not resumed by a run that would not have made it."""
    fit(tmp_path / "other", lr=0.005)
    monkeypatch.setattr(weights, "save_state", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "one")
    monkeypatch.undo()
    fit(tmp_path / "one", lr=0.005)
    one, other = (tmp_path / name / "model.safetensors" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_nan_loss_keeps_the_last_good_model(tmp_path):
    fit(tmp_path)
    good = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="loss became nan.*best model so far stays"):
        fit(tmp_path, lr=1e30, clip=1e30, epochs=20)
    assert (tmp_path / "model.safetensors").read_bytes() == good


def fit_on(fabric, folder):
    fit(folder, fabric=fabric, epochs=2, evaluate_every=1, architecture={"dropout": 0.0})


def test_two_processes_learn_what_one_does(tmp_path):
    """The same global batches over gloo; only the order of sums differs."""
    fit_on(Fabric(accelerator="cpu", devices=1), tmp_path / "one")
    strategy = DDPStrategy(start_method="spawn", process_group_backend="gloo")
    Fabric(accelerator="cpu", devices=2, strategy=strategy).launch(fit_on, tmp_path / "two")
    fit(tmp_path / "other", epochs=2, evaluate_every=1, batch=64, architecture={"dropout": 0.0})
    one, two, other = (
        pd.read_csv(tmp_path / name / "log.csv")[["train_nll", "val_nll"]]
        for name in ("one", "two", "other")
    )
    assert (one - two).abs().to_numpy().max() < 1e-3
    assert (one - other).abs().to_numpy().max() > 0.1


def test_members_are_read_as_one_model(folder, tmp_path):
    fit(tmp_path / "a", lr=0.005)
    models = [checkpoint.load(folder), checkpoint.load(tmp_path / "a")]
    weights.save(tmp_path / "both", models, models[0].config | {"seed": [3, 3]})
    both = checkpoint.load(tmp_path / "both")
    assert isinstance(both, Ensemble)
    assert both.config["seed"] == [3, 3]
    for member, model in zip(both.members, models, strict=True):
        for name, tensor in model.state_dict().items():
            assert (member.state_dict()[name] == tensor).all()


def test_members_trained_side_by_side_are_the_same(tmp_path):
    """And differ from one another; nothing but the model is left of them."""
    clone = Copy(tmp_path / "clone")
    distil = DISTIL.model_copy(update={"members": 2}).model_dump()
    clone.set("quick", "model", d=16)
    clone.set("quick", "train", epochs=4, evaluate_every=2, members=2, distil=distil)
    clone.run("dvc", "repro", "represent@quick")
    results = []
    for jobs in "12":
        clone.run("wyk", "train", "--experiment", "quick", "--jobs", jobs)
        folder = clone.root / "runs/quick/train"
        assert {path.name for path in folder.iterdir()} == {
            "model.safetensors",
            "config.json",
            "log.csv",
        }
        results.append([path.read_bytes() for path in sorted(folder.iterdir())])
        assert set(pd.read_csv(folder / "log.csv")["member"]) == {0, 1}
    assert results[0] == results[1]
    first, second = checkpoint.load(folder).members
    assert (first.embed_element.weight != second.embed_element.weight).any()

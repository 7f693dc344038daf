"""The network, its training, likelihoods and samples, on the embedded crystals."""

import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from wyk import checkpoint, datasets, training
from wyk.likelihood import likelihood, log_p
from wyk.model import WyckoffTransformer
from wyk.params import Experiment, Model, Train
from wyk.representation import WyckoffRepresentation, from_table, to_table
from wyk.sampling import Conditions, grow, sample
from wyk.spacegroups import space_group
from wyk.tokenization import VOCABULARY, decode, encode, prefixes, tables

MODEL = Model(d=16, encoder_layers=2, query_layers=1, heads=2, feedforward=2, dropout=0.1)
TRAIN = Train(
    epochs=6,
    batch=128,
    optimizer="adamw",
    lr=0.01,
    weight_decay=0.01,
    clip=1.0,
    schedule="cosine",
    warmup=0.1,
    variants=0.5,
    substitute=0.2,
    augment_until=0.5,
    evaluate_every=2,
    patience=6,
)


def fit(folder, epochs=6, **changes):
    """A small model of the embedded crystals."""
    settings = Experiment.model_construct(
        model=MODEL, train=TRAIN.model_copy(update={"epochs": epochs} | changes)
    )
    rows = from_table(datasets.load("aflow:train"))
    counts = pd.Series([r.space_group for r in rows]).value_counts()
    config = {
        "seed": 3,
        "most_sites": max(len(r.letters) for r in rows),
        "space_group_counts": {str(g): int(c) for g, c in counts.items()},
    }
    sets = (encode(rows, VOCABULARY, variants=True), encode(rows[:50], VOCABULARY))
    return training.fit(settings, *sets, folder, config)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    fit(path, epochs=12)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return checkpoint.load(folder)


@pytest.fixture(scope="module")
def data():
    return encode(from_table(datasets.load("aflow:test")), VOCABULARY)


def logits(model, space_group, elements, positions):
    with torch.no_grad():
        context = model.encode(space_group, elements, positions)
        row = torch.arange(len(space_group))
        element, symmetry = torch.full_like(row, 7), model.symmetry[positions[:, 0].clamp(min=0)]
        return (
            model.element_logits(context),
            model.symmetry_logits(context, row, element),
            model.enumeration_logits(context, row, element, symmetry),
        )


def test_prediction_does_not_depend_on_the_order_of_known_sites(model, data):
    """To the last bit; and it does depend on which sites are known."""
    known = (data.length - 1).clamp(min=1)
    batch = prefixes(data.space_group, data.elements, data.positions, known)
    expected = logits(model, batch.space_group, batch.elements, batch.positions)
    for seed in range(5):
        order = torch.rand(
            batch.elements.shape, generator=torch.Generator().manual_seed(seed)
        ).argsort(1)
        shuffled = (batch.elements.gather(1, order), batch.positions.gather(1, order))
        context = model.encode(batch.space_group, *shuffled)
        with torch.no_grad():
            assert torch.equal(model.element_logits(context), expected[0])
            row, element = torch.arange(len(order)), torch.full((len(order),), 7)
            assert torch.equal(model.symmetry_logits(context, row, element), expected[1])
    swapped = batch.elements.where(batch.elements != batch.elements[0, 0], 8)
    assert not torch.equal(
        logits(model, batch.space_group, swapped, batch.positions)[0], expected[0]
    )


def test_padding_changes_nothing(model, data):
    known = (data.length - 1).clamp(min=1)
    batch = prefixes(data.space_group, data.elements, data.positions, known)
    wider = [
        torch.nn.functional.pad(x, (0, 3), value=-1) for x in (batch.elements, batch.positions)
    ]
    for a, b in zip(
        logits(model, batch.space_group, batch.elements, batch.positions),
        logits(model, batch.space_group, *wider),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-5)


def test_probabilities_of_all_sets_sum_to_one(model):
    """Exact: over everything that one group can hold, the cascade is a distribution; STOP included."""
    triclinic = torch.tensor(
        [1]
    )  # group 1 has one position, general: elements and STOP are all there is
    empty = torch.full((1, 1), -1)
    with torch.no_grad():
        context = model.encode(triclinic, empty, empty)
        element = model.element_logits(context).softmax(-1)
        row, every = torch.zeros(len(VOCABULARY), dtype=torch.long), torch.arange(len(VOCABULARY))
        symmetry = model.symmetry_logits(context, row, every).softmax(-1)
    assert element[0, -1] == 0  # nothing is no crystal
    assert torch.isclose(element.sum(), torch.tensor(1.0))
    assert torch.allclose(symmetry.max(-1).values, torch.ones(len(VOCABULARY)))  # one site symmetry


def test_loss_is_the_expectation_over_orders(model):
    """The loss over all prefixes equals −log p averaged over all orders, counted out by hand."""
    representation = WyckoffRepresentation(62, ("O", "Ti", "O"), ("c", "a", "c"))
    data = encode([representation], VOCABULARY)
    orders = list(itertools.permutations(range(3)))
    exact = -np.mean(
        [log_p(model, data, torch.tensor([order], dtype=torch.float)).item() for order in orders]
    )
    total = 0.0
    for known in range(4):
        values = []
        for order in orders:  # every subset of `known` sites, equally often
            batch = prefixes(
                data.space_group,
                data.elements,
                data.positions,
                torch.tensor([known]),
                torch.tensor([order], dtype=torch.float),
            )
            values.append(training.loss(model, batch).item())
        total += np.mean(values)
    assert total == pytest.approx(exact, abs=1e-4)


def test_formal_masks_leave_only_what_the_group_has(model):
    taken = encode([WyckoffRepresentation(225, ("Na",), ("a",))], VOCABULARY)
    context = model.encode(taken.space_group, taken.elements, taken.positions)
    row, element = torch.tensor([0]), torch.tensor([16])
    cubic = model.symmetry[taken.positions[0, :1]]
    with torch.no_grad():
        masked = model.enumeration_logits(context, row, element, cubic)[0]
        free = model.enumeration_logits(context, row, element, cubic, formal_masks=False)[0]
        symmetries = model.symmetry_logits(context, row, element)[0]
    assert masked.isfinite().tolist() == [False, True] + 6 * [False]  # 4a is taken, 4b is not
    assert free.isfinite().all()
    offered = {tables().symmetries[i] for i in symmetries.isfinite().nonzero().ravel().tolist()}
    assert offered == {p.site_symmetry for p in space_group(225).positions}


def test_training_learns(folder):
    log = pd.read_csv(folder / "log.csv")
    assert log["val_nll"].iloc[-1] < 0.8 * log["val_nll"].iloc[0]
    assert json.loads((folder / "config.json").read_text())["val_nll"] == log["val_nll"].min()


def save_and_die(*arguments, save=checkpoint.save_state):
    """Ctrl-C right after a state was saved."""
    save(*arguments)
    raise KeyboardInterrupt


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_resumed_training_equals_uninterrupted(tmp_path, schedule, monkeypatch):
    fit(tmp_path / "whole", schedule=schedule)
    monkeypatch.setattr(checkpoint, "save_state", save_and_die)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "parts", schedule=schedule)
    monkeypatch.undo()
    fit(tmp_path / "parts", schedule=schedule)
    files = {path.name for path in (tmp_path / "parts").iterdir()}
    assert files == {"model.safetensors", "config.json", "log.csv"}
    for name in ("model.safetensors", "config.json", "log.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_other_settings_are_another_run(tmp_path, monkeypatch):
    """A state is not resumed by a run that would not have made it."""
    fit(tmp_path / "other", lr=0.005)
    monkeypatch.setattr(checkpoint, "save_state", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "one")
    monkeypatch.undo()
    fit(tmp_path / "one", lr=0.005)
    one, other = (tmp_path / name / "model.safetensors" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_nan_loss_keeps_the_last_good_model(tmp_path):
    with pytest.raises(ValueError, match="loss became nan.*best model so far stays"):
        fit(tmp_path, lr=1e30, clip=1e30, epochs=20)


def test_likelihood_table(folder):
    frame = datasets.load("aflow:test")
    odd = to_table(
        [
            WyckoffRepresentation(225, ("Na", "Na"), ("a", "a")),
            WyckoffRepresentation(1, ("Rf",), ("a",)),
        ],
        ["fixed", "rutherfordium"],
    )
    table = likelihood(folder, pd.concat([frame, odd]), permutations=3)
    assert table["material_id"].tolist()[-2:] == ["fixed", "rutherfordium"]
    assert table["reason"].isna().sum() == len(frame)
    assert "4a" in table["reason"].iloc[-2]
    assert "Rf" in table["reason"].iloc[-1]
    good = table[table["reason"].isna()]
    assert np.isfinite(good[["log_p", "log_p_mean", "log_p_std"]]).all(axis=None)
    lone = good[good["n_sites"] == 1]
    assert np.allclose(lone["log_p"], lone["log_p_mean"])
    assert (lone["log_p_std"] < 1e-6).all()
    assert good[good["n_sites"] > 2]["log_p_std"].median() > 0.01


def test_samples_are_formally_valid_at_every_temperature(folder):
    for temperature in (0.01, 1.0, 100.0):
        rows = from_table(sample(folder, 200, temperature=temperature, seed=1))
        assert [r.invalidity() for r in rows] == 200 * [None]


def test_the_validity_check_can_fail(model):
    """Without the masks the same model does emit positions that its groups do not have."""
    generator = torch.Generator().manual_seed(0)
    everything = torch.ones(len(VOCABULARY), dtype=torch.bool)
    groups = torch.full((200,), 62)

    class Unmasked(torch.nn.Module):
        def __getattr__(self, name):
            value = getattr(model, name)
            if name.endswith("_logits"):
                return lambda *arguments: value(*arguments, formal_masks=False)
            return value

    elements, positions = grow(
        Unmasked(), groups, 1.0, Conditions(everything, ~everything), generator
    )
    placed = positions[elements >= 0]
    assert (placed < 0).any()  # a (site symmetry, enumeration) that group 62 does not have


def test_temperature_acts(folder):
    def distinct(temperature):
        rows = from_table(sample(folder, 300, temperature=temperature, seed=2, space_groups=[225]))
        return len({r.fingerprint() for r in rows}), np.mean([len(r.letters) for r in rows])

    cold, warm, hot = distinct(0.01), distinct(1.0), distinct(100.0)
    assert cold[0] < warm[0] <= hot[0]
    assert warm[1] < hot[1]


def test_same_seed_same_samples(folder):
    first, again, other = (sample(folder, 50, seed=s) for s in (5, 5, 6))
    pd.testing.assert_frame_equal(first, again)
    assert not first["elements"].equals(other["elements"])


def test_space_groups_follow_the_data(folder, model):
    counts = pd.Series(model.config["space_group_counts"])
    drawn = sample(folder, 2000, seed=1)["space_group"].value_counts()
    assert set(map(str, drawn.index)) <= set(counts.index)
    common = int(counts.idxmax())
    expected = counts.max() / counts.sum()
    assert abs(drawn[common] / 2000 - expected) < 4 * (expected / 2000) ** 0.5


def test_conditions_are_met(folder):
    rows = from_table(
        sample(
            folder,
            100,
            space_groups=[225, 227],
            elements=["Li", "O", "Fe"],
            required=["Li", "O"],
            max_atoms=20,
        )
    )
    centring = 4  # both groups are F
    for r in rows:
        assert r.space_group in (225, 227)
        assert {"Li", "O"} <= set(r.elements) <= {"Li", "O", "Fe"}
        assert r.n_atoms <= 20 * centring
        assert r.invalidity() is None


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"temperature": 0}, "temperature 0"),
        ({"temperature": -1}, "temperature -1"),
        ({"space_groups": [231]}, "no space group 231"),
        ({"elements": ["Rf"]}, "vocabulary has no Rf"),
        ({"elements": ["Li"], "required": ["O"]}, "required but not allowed: O"),
        (
            {"space_groups": [227], "max_atoms": 1},
            "no sample of space group 227 met the conditions",
        ),
    ],
)
def test_conditions_that_cannot_be_met_say_so(folder, conditions, message):
    with pytest.raises(ValueError, match=message):
        sample(folder, 5, **conditions)


def test_damaged_and_foreign_models_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no model.safetensors"):
        checkpoint.load(tmp_path)
    copy = tmp_path / "copy"

    def damaged(change):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        change()
        with pytest.raises(ValueError, match="copy") as error:  # the file is named
            checkpoint.load(copy)
        return str(error.value)

    def tamper(**changes):
        config = json.loads((copy / "config.json").read_text()) | changes
        (copy / "config.json").write_text(json.dumps(config))

    assert "changed after" in damaged(lambda: tamper(seed=4))
    assert "format 99" in damaged(lambda: tamper(format=99))
    assert "no elements: ['Zz']" in damaged(lambda: tamper(elements=["H", "Zz"]))
    assert "not a config" in damaged(lambda: (copy / "config.json").write_text("{"))
    assert "not a config" in damaged(lambda: tamper(model={"d": 16, "size": 3}))
    weights = copy / "model.safetensors"
    assert "damaged" in damaged(lambda: weights.write_bytes(weights.read_bytes()[:1000]))
    assert "damaged" in damaged(lambda: weights.write_bytes(b"\x80\x04pickle"))

    def other_architecture():
        bigger = WyckoffTransformer(MODEL.model_copy(update={"d": 32}), VOCABULARY)
        config = json.loads((copy / "config.json").read_text())
        checkpoint.save(copy, bigger, config)
        text = (copy / "config.json").read_text().replace('"d": 32', '"d": 16')
        (copy / "config.json").write_text(text)

    assert "changed after" in damaged(other_architecture)
    shutil.rmtree(copy)
    shutil.copytree(folder, copy)
    checkpoint.load(copy)  # undamaged, it loads


def test_decode_of_samples_is_encode(folder):
    frame = sample(folder, 50, seed=9)
    rows = from_table(frame)
    data = encode(rows, VOCABULARY)
    assert decode(data.space_group, data.elements, data.positions, VOCABULARY) == rows

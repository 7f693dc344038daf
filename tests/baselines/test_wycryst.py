"""WyCryst: its tables say what a crystal is, and it learns from them."""

import json

import pandas as pd
import pytest
import torch
from conftest import SALT
from typer.testing import CliRunner

from wyk.baselines import wycryst
from wyk.cli import main as cli
from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.tables import from_table
from wyk.files import datasets
from wyk.metrics import evaluation

EPOCHS, N = 30, 300


@pytest.fixture(scope="module")
def crystals() -> list[WyckoffRepresentation]:
    """All embedded crystals of two or three elements."""
    everything = from_table(datasets.load("aflow"))
    taken = [crystal for crystal in everything if wycryst.refusal(crystal) is None]
    assert {len(set(crystal.elements)) for crystal in taken} == {2, 3}
    assert len(taken) > 0.7 * len(everything)
    return taken


def as_set(crystal: WyckoffRepresentation) -> tuple:
    return crystal.space_group, sorted(zip(crystal.elements, crystal.letters, strict=True))


def test_tables_tell_all_of_a_crystal(crystals):
    tables, groups = wycryst.encode(crystals)
    assert list(map(as_set, wycryst.decode(tables, groups))) == list(map(as_set, crystals))
    # the negative control: each letter taken for the next one
    letters = len(wycryst.LETTERS)
    tables[:, -letters:] = tables[:, -letters:].roll(1, 1)
    pairs = zip(wycryst.decode(tables, groups), crystals, strict=True)
    assert not any(as_set(made) == as_set(crystal) for made, crystal in pairs)


def test_atoms_are_those_of_the_conventional_cell():
    (table,), _ = wycryst.encode([SALT])
    atoms, share = table[wycryst.NONE + 1], table[wycryst.NONE + 2]
    assert (atoms * wycryst.ATOMS).tolist() == pytest.approx([4, 4, 0])
    assert share.tolist() == [0.5, 0.5, 0]


def test_what_a_table_cannot_mean():
    tables, groups = wycryst.encode([SALT])
    nowhere = tables.clone()
    nowhere[0, -len(wycryst.LETTERS) :, 0] = 0
    (made,) = wycryst.decode(nowhere, groups)
    assert "(no site)" in made.invalidity()
    tables[0, -1, 0] = 1  # position A, which only group 47 has, and not this one
    assert as_set(*wycryst.decode(tables, groups)) == as_set(SALT)
    (made,) = wycryst.decode(tables, torch.tensor([46]))
    assert "A" in made.letters


ONE = WyckoffRepresentation(225, ("Cu",), ("a",))
FOUR = WyckoffRepresentation(216, ("Li", "Mg", "O", "S"), ("a", "b", "c", "d"))
HEAVY = WyckoffRepresentation(225, ("Og", "Cl"), ("a", "b"))


@pytest.mark.parametrize(
    ("crystal", "reason"),
    [
        (ONE, "Cu: WyCryst takes two or three elements, not 1"),
        (FOUR, "LiMgOS: WyCryst takes two or three elements, not 4"),
        (HEAVY, "ClOg: no descriptors of Og"),
        (SALT, None),
    ],
)
def test_what_has_no_table_is_refused(crystal, reason):
    assert wycryst.refusal(crystal) == reason


def test_refused_crystals_are_counted_and_nothing_left_is_an_error(caplog):
    made, about = wycryst.generate([SALT, ONE, FOUR, SALT], 3, seed=0, epochs=1)
    assert len(made) == 3
    assert (about["trained_on"], about["skipped"]) == (2, 2)
    assert "2 of 4 crystals skipped: Cu: WyCryst takes" in caplog.text
    for known in ([], [ONE, FOUR]):
        with pytest.raises(ValueError, match="nothing to train WyCryst on: (no cry|Cu: Wy)"):
            wycryst.generate(known, 3, seed=0, epochs=1)


def valid(made: list[WyckoffRepresentation]) -> int:
    return sum(crystal.invalidity() is None for crystal in made)


def test_training_lowers_the_loss_and_makes_samples_valid(crystals):
    torch.manual_seed(0)
    tables, groups = wycryst.encode(crystals)
    model = wycryst.Autoencoder(tables.shape[1])
    before = valid(wycryst.sample(model, tables, groups, N))
    losses = wycryst.train(model, tables, groups, EPOCHS)
    assert losses[-1] < losses[0] / 3
    assert valid(wycryst.sample(model, tables, groups, N)) > before + N / 10


def test_the_same_seed_gives_the_same_samples(crystals):
    one, other, third = (wycryst.generate(crystals[:40], 20, seed, 2)[0] for seed in (1, 1, 2))
    assert one == other != third


def test_a_loss_that_is_not_finite_is_named(crystals):
    tables, groups = wycryst.encode(crystals[:4])
    tables[0] = torch.nan
    with pytest.raises(ValueError, match="WyCryst: the loss is nan in epoch 1"):
        wycryst.train(wycryst.Autoencoder(tables.shape[1]), tables, groups, 1)


def test_the_command_and_what_is_said_of_its_samples(tmp_path):
    """Valid and invalid samples make up all; both count in the metrics, which name the model."""
    out, metrics = tmp_path / "samples.parquet", tmp_path / "metrics.json"
    arguments = ["baseline", "wycryst", "--known", "aflow:train", "-n", str(N)]
    arguments += ["--epochs", "20", "-o", str(out)]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    rejected = pd.read_csv(tmp_path / "samples.rejected.csv")
    good = N - len(rejected)
    assert 0 < good < N
    assert f"{good} of {N} representations are formally valid" in result.output
    assert len(datasets.load(out)) == good
    evaluation.evaluate(str(out), "aflow:test", metrics, training=["aflow:train"])
    found = json.loads(metrics.read_text())
    validity = found["raw"]["formal_validity"]
    assert (validity["numerator"], validity["denominator"]) == (good, N)
    about = found["provenance"]["generator"]
    assert about["parameters"] > 1_000_000
    assert about["trained_on"] + about["skipped"] == len(datasets.load("aflow:train"))

"""Calibration: samples come to have as many elements and sites as the data."""

import pytest
import torch

from wyk.crystals.descriptors import VOCABULARY
from wyk.files import datasets
from wyk.model import checkpoint
from wyk.model.charge_balance import Charges
from wyk.sampling.samples import sample
from wyk.training import calibration
from wyk.training.calibration import calibrate


def additions(elements) -> torch.Tensor:
    return calibration._additions(elements)


def test_samples_come_to_have_the_sites_of_the_data(folder, monkeypatch):
    monkeypatch.setattr(calibration, "SAMPLES", 5000)
    rows = datasets.load("aflow:train")["elements"].tolist()
    wanted = rows + 2 * [row for row in rows if len(row) > 2]
    model = checkpoint.load(folder)
    before = additions(sample(model, 5000, seed=1)["elements"])
    calibrate(model, wanted, seed=1)
    after = additions(sample(model, 5000, seed=2)["elements"])
    off_before, off_after = ((x / additions(wanted)).log().abs() for x in (before, after))
    assert off_before.max() > 0.15  # there is something to calibrate
    assert off_after.max() < 0.75 * off_before.max()


def counts(**atoms: int) -> torch.Tensor:
    result = torch.zeros(1, len(VOCABULARY))
    for symbol, n in atoms.items():
        result[0, VOCABULARY.index(symbol)] = n
    return result


@pytest.mark.parametrize(
    ("atoms", "balance"),
    [
        ({"Na": 4, "Cl": 4}, 1),
        ({"Na": 4, "Cl": 8}, 0),
        ({"Sr": 1, "Ti": 1, "O": 3}, 1),
        ({"Sr": 1, "Ti": 1, "O": 4}, 0),
        ({"Mg": 3, "Al": 4}, 2),
        ({}, 2),
        ({"Na": 1, "K": 1, "Cl": 1, "Br": 1}, 0),  # balanced, but four elements are not looked at
    ],
)
def test_charge_balance_by_hand(atoms, balance):
    assert Charges(VOCABULARY).balance(counts(**atoms)).tolist() == [balance]


def test_the_site_that_balances():
    oxygen = torch.tensor([VOCABULARY.index("O")])
    sites = torch.tensor([[1, 2, 3, 4, 6]])
    balanced = Charges(VOCABULARY).balanced_by(oxygen, sites, counts(Sr=1, Ti=1))
    assert balanced.tolist() == [[False, False, True, False, False]]
    balanced = Charges(VOCABULARY).balanced_by(oxygen, sites, counts(Sr=2, Ti=2, O=3))
    assert balanced.tolist() == [[False, False, True, False, False]]

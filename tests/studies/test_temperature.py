"""A sweep over temperatures of a small model."""

import pandas as pd
import pytest

from wyk.crystals.tables import from_table
from wyk.files import datasets
from wyk.likelihood import divergence
from wyk.likelihood.sequences import likelihood
from wyk.metrics import distributions as metrics
from wyk.plots.of_likelihood import temperature
from wyk.sampling.samples import sample
from wyk.studies.temperature import ORDERS, sweep

N = 60
TEMPERATURES = (0.05, 1.0, 20.0)


@pytest.fixture(scope="module")
def frames():
    return datasets.load("aflow:test"), datasets.load("aflow:train")


@pytest.fixture(scope="module")
def table(model, frames):
    return sweep(model, TEMPERATURES, N, *frames, seed=3)


def values(table, name, quantity):
    rows = table[(table["set"] == name) & (table["quantity"] == quantity)]
    return rows.set_index("temperature")["value"]


def test_what_a_temperature_does(table):
    assert (values(table, "masked", "formal_validity") == 1).all()
    assert (values(table, "unmasked", "formal_validity") < 1).all()
    cold, warm, hot = values(table, "masked", "uniqueness")
    assert cold < warm <= hot
    for quantity in ("nll", "sites", "atoms"):
        assert values(table, "masked", quantity)[20.0] > values(table, "masked", quantity)[1.0]
    assert values(table, "masked", "entropy").is_monotonic_increasing


def test_every_number_has_its_interval(table):
    assert table["value"].notna().all()
    assert (table["low"] <= table["value"] + 1e-9).all()
    assert (table["value"] <= table["high"] + 1e-9).all()
    assert not table.duplicated(["set", "temperature", "quantity"]).any()
    one_set = table[(table["set"] == "test") & table["temperature"].isna()]
    assert set(one_set["quantity"]) == {"charge_neutrality_smact14", "sites", "atoms"}


def test_the_numbers_are_those_of_the_other_commands(table, model, frames):
    test, known = frames
    samples = sample(model, N, seed=3)
    raw = metrics.raw(samples, test, known, known)
    for quantity in ("uniqueness", "novelty", "charge_neutrality_smact14"):
        assert values(table, "masked", quantity)[1.0] == raw[quantity].value
    own = divergence.divergence(likelihood(model, samples, ORDERS, 3))
    for quantity in ("entropy", "permutation_kl"):
        assert values(table, "masked", quantity)[1.0] == pytest.approx(own[quantity].value)
    sites = pd.Series([len(r.letters) for r in from_table(test)])
    assert values(table, "test", "sites").item() == pytest.approx(sites.mean())


def test_a_set_without_valid_samples_can_be_drawn(table):
    """Nothing is known of the neutrality of no samples; the figure leaves the point out."""
    hot = (table["quantity"] == "charge_neutrality_smact14") & (table["temperature"] == 20)
    figure = temperature(table.assign(value=table["value"].mask(hot)))
    assert len(figure.axes) == 8

"""Each metric against scipy or a case done by hand; the numbers of real data."""

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition
from scipy import stats

from wyk.common import estimates
from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.tables import to_table
from wyk.metrics import distributions as metrics

SALT = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b"))
OTHER_SALT = WyckoffRepresentation(225, ("Cl", "Na"), ("a", "b"))  # a normalizer variant of it
IODIDE = WyckoffRepresentation(225, ("K", "I"), ("a", "b"))
CAESIUM = WyckoffRepresentation(221, ("Cs", "Cl"), ("a", "b"))
PEROVSKITE = WyckoffRepresentation(221, ("Sr", "Ti", "O"), ("a", "b", "c"))
RUTILE = WyckoffRepresentation(136, ("Ti", "O"), ("a", "f"))
TRICLINIC = WyckoffRepresentation(1, ("Ba", "F"), ("a", "a"))
INVALID = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "a"))


def test_wilson_on_newcombes_example():
    """81 of 263: 25.5% to 36.6% (Newcombe, Statistics in Medicine 17, 857 (1998), Table I)."""
    assert estimates.wilson(81, 263) == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert estimates.wilson(0, 10)[0] == 0
    assert estimates.wilson(10, 10)[1] == 1


def test_a_rate_of_nothing_has_no_value():
    nothing = estimates.rate([])
    assert nothing == estimates.Estimate(None, 0, None, 0, 0)
    assert nothing.text(".1%") == "–"


def test_ks_is_that_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.poisson(3, 500), rng.poisson(3.5, 700)
    ours = estimates.ks(*(metrics.histogram(x, 20).mean(axis=0) for x in (a, b)))
    assert ours == pytest.approx(stats.ks_2samp(a, b).statistic)


def test_chi2_by_hand():
    test = np.array([0.5, 0.25, 0.25, 0.0])
    generated = np.array([0.4, 0.4, 0.0, 0.2])  # → 1/2, 1/2, 0 once the absent category is dropped
    assert estimates.chi2(generated, test) == pytest.approx(0 + 0.25 + 0.25)
    assert estimates.chi2(test, test) == 0
    assert np.isnan(estimates.chi2(np.array([0, 0, 0, 1.0]), test))


def test_elements_enter_as_atomic_fractions():
    (row,) = metrics.atomic_fractions([PEROVSKITE])
    assert {metrics.ELEMENTS[i]: row[i] for i in row.nonzero()[0]} == pytest.approx(
        {"Sr": 0.2, "Ti": 0.2, "O": 0.6}
    )


def test_intervals_cover_the_mean_19_times_in_20():
    hits = 0
    for seed in range(200):
        sample = np.random.default_rng([1, seed]).normal(5, 2, size=(100, 1))
        low, high = estimates.bootstrap(sample, lambda m: m[..., 0], seed).interval
        hits += low < 5 < high
    assert 180 <= hits <= 199


def test_real_data_scores_the_floor_and_other_data_does_not():
    rng = np.random.default_rng(0)
    rows = lambda size, mean: metrics.histogram(np.minimum(rng.poisson(mean, size), 29), 30)  # noqa: E731
    test, floor = rows(4000, 5), rows(4000, 5)
    for statistic in (estimates.ks, estimates.chi2):
        same = estimates.distance(rows(500, 5), test, floor, statistic, seed=0)
        other = estimates.distance(rows(500, 7), test, floor, statistic, seed=0)
        assert same.interval[0] < same.floor < same.interval[1]
        assert other.interval[0] > 3 * other.floor
        assert same.interval[0] <= same.value <= same.interval[1]
        small = estimates.distance(rows(500, 5), test, floor[:100], statistic, seed=0)
        assert (same.floor_n, small.floor_n) == (500, 100)
        assert small.floor > same.floor
        assert estimates.distance(rows(500, 5), test, floor, statistic, seed=0).floor == same.floor


def test_charge_neutrality():
    assert metrics.charge_neutral("NaCl")
    assert metrics.charge_neutral("AlNi")  # an alloy
    assert not metrics.charge_neutral("Cl2Na")
    assert not metrics.charge_neutral("Cl1000CrFeMnMoNiRuVW")  # at once, instead of in minutes


def test_the_numbers_of_the_official_test_split(official):
    folder = official / "mp_20_biternary"
    test, val = (pd.read_csv(folder / f"{split}.csv.gz") for split in ("test", "val"))
    for states, percent in (("smact14", 89.66), ("icsd24", 89.74)):
        share = np.mean([metrics.charge_neutral(f, states) for f in test["pretty_formula"]])
        assert round(100 * share, 2) == percent
    groups = [metrics.histogram(d["spacegroup.number"], 231).mean(axis=0) for d in (val, test)]
    assert estimates.chi2(*groups) == pytest.approx(0.046, abs=1e-3)
    elements = [d["pretty_formula"].map(lambda f: len(Composition(f))) for d in (val, test)]
    counts = [metrics.histogram(each, 8).mean(axis=0) for each in elements]
    assert estimates.ks(*counts) == pytest.approx(0.008, abs=5e-4)


@pytest.fixture(scope="module")
def raw() -> dict:
    samples = [SALT, OTHER_SALT, IODIDE, CAESIUM, PEROVSKITE, TRICLINIC, INVALID]
    reference, test, floor = [CAESIUM], [SALT, PEROVSKITE, RUTILE], [IODIDE, RUTILE]
    return metrics.raw(*map(to_table, (samples, test, reference, floor)))


def fractions(block: dict) -> dict:
    return {k: (e.numerator, e.denominator) for k, e in block.items() if e.denominator is not None}


def test_raw_rates_by_hand(raw):
    assert fractions(raw) == {
        "formal_validity": (6, 7),
        "uniqueness": (5, 6),
        "novelty": (4, 5),
        "charge_neutrality_smact14": (3, 4),  # of the novel: not BaF
        "charge_neutrality_icsd24": (3, 4),
        "p1": (1, 4),
    }


def test_distances_are_over_novel_samples(raw):
    assert {e.n for e in raw.values() if e.floor_n is not None} == {4}
    # Novel samples have 2, 2, 3, 2 sites and as many elements, the test set 2, 3, 2.
    assert raw["sites_ks"].value == pytest.approx(3 / 4 - 2 / 3)
    assert raw["elements_ks"].value == pytest.approx(3 / 4 - 2 / 3)
    assert raw["dof_ks"].value == pytest.approx(1 / 4)  # 0, 0, 0, 6 against 0, 0, 1
    # Groups 225, 225, 221 and an absent one, against 225, 221, 136.
    assert raw["space_group_chi2"].value == pytest.approx(1 / 3 + 0 + 1 / 3)
    assert raw["sites_ks"].floor_n == 2


def test_samples_that_could_not_be_read_are_not_valid():
    tables = [to_table([SALT, INVALID])] * 4
    entry = metrics.raw(*tables, unread=3)["formal_validity"]
    assert (entry.numerator, entry.denominator) == (1, 5)


def test_without_novel_samples_there_are_no_distances():
    alone = metrics.raw(*[to_table([SALT])] * 4)
    assert alone["novelty"].value == 0
    assert alone["sites_ks"] == estimates.Estimate(None, 0, floor_n=0)


@pytest.mark.parametrize("states", ["smact14", "icsd24"])
def test_an_element_that_smact_does_not_know_costs_its_own_row_only(states):
    assert not metrics.charge_neutral("OgF4", states)
    assert not metrics.charge_neutral("RfO2", states)
    assert metrics.charge_neutral("ZrO2", states)
    superheavy = WyckoffRepresentation(225, ("Og", "F"), ("a", "c"))
    frame = to_table([SALT, superheavy])
    entry = metrics.raw(frame, frame, frame.head(0), frame.head(0))[f"charge_neutrality_{states}"]
    assert (entry.numerator, entry.denominator) == (1, 2)

"""Each metric against scipy or a case done by hand; the numbers of real data; S.U.N. counted out."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition, Structure
from scipy import stats

from wyk import metrics, statistics, structures
from wyk.representation import WyckoffRepresentation, from_structure, to_table

SHARED = Path(__file__).parents[1] / ".." / "shared"

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
    assert statistics.wilson(81, 263) == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert statistics.wilson(0, 10)[0] == 0
    assert statistics.wilson(10, 10)[1] == 1


def test_a_rate_of_nothing_has_no_value():
    entry = {"value": None, "n": 0, "interval": None, "numerator": 0, "denominator": 0}
    assert statistics.rate([]) == entry


def test_ks_is_that_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.poisson(3, 500), rng.poisson(3.5, 700)
    ours = statistics.ks(*(metrics.histogram(x, 20).mean(axis=0) for x in (a, b)))
    assert ours == pytest.approx(stats.ks_2samp(a, b).statistic)


def test_chi2_by_hand():
    test = np.array([0.5, 0.25, 0.25, 0.0])
    generated = np.array([0.4, 0.4, 0.0, 0.2])  # → 1/2, 1/2, 0 once the absent category is dropped
    assert statistics.chi2(generated, test) == pytest.approx(0 + 0.25 + 0.25)
    assert statistics.chi2(test, test) == 0
    assert np.isnan(statistics.chi2(np.array([0, 0, 0, 1.0]), test))


def test_elements_enter_as_atomic_fractions():
    (row,) = metrics.atomic_fractions([PEROVSKITE])
    assert {metrics.ELEMENTS[i]: row[i] for i in row.nonzero()[0]} == pytest.approx(
        {"Sr": 0.2, "Ti": 0.2, "O": 0.6}
    )


def test_intervals_cover_the_mean_19_times_in_20():
    hits = 0
    for seed in range(200):
        sample = np.random.default_rng([1, seed]).normal(5, 2, size=(100, 1))
        low, high = statistics.bootstrap(sample, lambda m: m[..., 0], seed)["interval"]
        hits += low < 5 < high
    assert 180 <= hits <= 199


def test_real_data_scores_the_floor_and_other_data_does_not():
    rng = np.random.default_rng(0)
    rows = lambda size, mean: metrics.histogram(np.minimum(rng.poisson(mean, size), 29), 30)  # noqa: E731
    test, floor = rows(4000, 5), rows(4000, 5)
    for statistic in (statistics.ks, statistics.chi2):
        same = statistics.distance(rows(500, 5), test, floor, statistic, seed=0)
        other = statistics.distance(rows(500, 7), test, floor, statistic, seed=0)
        assert same["interval"][0] < same["floor"] < same["interval"][1]
        assert other["interval"][0] > 3 * other["floor"]
        assert same["interval"][0] <= same["value"] <= same["interval"][1]
        small = statistics.distance(rows(500, 5), test, floor[:100], statistic, seed=0)
        assert (same["floor_n"], small["floor_n"]) == (500, 100)
        assert small["floor"] > same["floor"]
        assert (
            statistics.distance(rows(500, 5), test, floor, statistic, seed=0)["floor"]
            == same["floor"]
        )


def test_charge_neutrality():
    assert metrics.charge_neutral("NaCl")
    assert metrics.charge_neutral("AlNi")  # an alloy
    assert not metrics.charge_neutral("Cl2Na")
    assert not metrics.charge_neutral("Cl1000CrFeMnMoNiRuVW")  # at once, instead of in minutes


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs ../shared/data")
def test_the_numbers_of_the_official_test_split():
    folder = SHARED / "data/mp_20_biternary"
    test, val = (pd.read_csv(folder / f"{split}.csv.gz") for split in ("test", "val"))
    for states, percent in (("smact14", 89.66), ("icsd24", 89.74)):
        share = np.mean([metrics.charge_neutral(f, states) for f in test["pretty_formula"]])
        assert round(100 * share, 2) == percent
    groups = [metrics.histogram(d["spacegroup.number"], 231).mean(axis=0) for d in (val, test)]
    assert statistics.chi2(*groups) == pytest.approx(0.046, abs=1e-3)
    elements = [d["pretty_formula"].map(lambda f: len(Composition(f))) for d in (val, test)]
    counts = [metrics.histogram(each, 8).mean(axis=0) for each in elements]
    assert statistics.ks(*counts) == pytest.approx(0.008, abs=5e-4)


def crystal(representation: WyckoffRepresentation) -> Structure:
    return structures.draw(representation, seed=0)


def row(name: str, representation: WyckoffRepresentation | None, above: float, **changes) -> dict:
    cif = representation and structures.symmetrised_cif(crystal(representation))
    found = {"cif": cif, "e_above_hull": above, "converged": True, "symmetry_kept": True}
    return {"material_id": name, **found, "hull_covered": False} | changes


@pytest.fixture(scope="module")
def evaluated() -> dict:
    samples = [SALT, OTHER_SALT, IODIDE, CAESIUM, PEROVSKITE, TRICLINIC, INVALID]
    reference, test, floor = [CAESIUM], [SALT, PEROVSKITE, RUTILE], [IODIDE, RUTILE]
    crystals = pd.DataFrame(
        [
            row("0", SALT, 0.01),  # S.U.N. and symmetric
            row("1", SALT, 0.01),  # not unique
            row("2", IODIDE, 0.079, symmetry_kept=False, hull_covered=True),  # S.U.N. only
            row("3", CAESIUM, -0.2),  # not novel
            row("4", PEROVSKITE, 0.08),  # not stable
            row("5", None, np.nan, converged=False, symmetry_kept=False),
        ]
    )
    likelihoods = {
        name: pd.DataFrame(
            {
                "n_sites": [2, 3],
                "log_p": [-9.0, -13],
                "log_p_mean": [-10.0, -14],
                "log_p_std": [0.4, 0.6],
                "expected": [8.0, 12],
                "expected_mean": [9.0, 15],
                "uniform": [20.0, 30],
            }
        )
        for name in ("test", "generated_T1")
    }
    return metrics.evaluate(
        *map(to_table, (samples, test, reference, floor)),
        crystals=crystals,
        reference_structures=[crystal(r) for r in reference],
        likelihoods=likelihoods,
        provenance={"hull": "by hand"},
    )


def fractions(block: dict) -> dict:
    return {k: (e["numerator"], e["denominator"]) for k, e in block.items() if "numerator" in e}


def test_raw_rates_by_hand(evaluated):
    assert fractions(evaluated["raw"]) == {
        "formal_validity": (6, 7),
        "uniqueness": (5, 6),
        "novelty": (4, 5),
        "charge_neutrality_smact14": (3, 4),  # of the novel: not BaF
        "charge_neutrality_icsd24": (3, 4),
        "p1": (1, 4),
    }


def test_relaxed_rates_by_hand(evaluated):
    assert fractions(evaluated["relaxed"]) == {
        "formal_validity": (5, 6),
        "uniqueness": (4, 5),
        "novelty": (3, 4),
        "charge_neutrality_smact14": (3, 3),
        "charge_neutrality_icsd24": (3, 3),
        "p1": (0, 3),
        "converged": (5, 6),
        "symmetry_kept": (4, 6),
        "stable": (4, 6),
        "sun": (2, 6),
        "ssun": (1, 6),
        "hull_coverage": (1, 6),
    }


def test_distances_are_over_novel_samples(evaluated):
    raw = evaluated["raw"]
    assert {e["n"] for k, e in raw.items() if "floor" in e} == {4}
    # Novel samples have 2, 2, 3, 2 sites and as many elements, the test set 2, 3, 2.
    assert raw["sites_ks"]["value"] == pytest.approx(3 / 4 - 2 / 3)
    assert raw["elements_ks"]["value"] == pytest.approx(3 / 4 - 2 / 3)
    assert raw["dof_ks"]["value"] == pytest.approx(1 / 4)  # 0, 0, 0, 6 against 0, 0, 1
    # Groups 225, 225, 221 and an absent one, against 225, 221, 136.
    assert raw["space_group_chi2"]["value"] == pytest.approx(1 / 3 + 0 + 1 / 3)
    assert raw["sites_ks"]["floor_n"] == 2


def test_likelihoods_by_hand(evaluated):
    block = evaluated["likelihood"]
    values = {key: entry["value"] for key, entry in block["test"].items()}
    assert values == pytest.approx(
        {"nll": 12, "nll_std": 2, "sigma_permutation": 0.5, "expected": 12, "uniform": 25}
    )
    assert block["permutation_kl"]["value"] == pytest.approx(1)
    assert block["entropy"]["value"] == pytest.approx(11)
    assert block["entropy_expected"]["value"] == pytest.approx(10)


def test_the_result_is_json_and_says_where_it_comes_from(evaluated):
    text = json.dumps(evaluated, allow_nan=False)
    provenance = json.loads(text)["provenance"]
    assert provenance["novelty_relaxed"].startswith("StructureMatcher")
    assert provenance["hull"] == "by hand"
    assert provenance["versions"]["smact"]


def test_without_reference_structures_novelty_is_by_fingerprint():
    tables = [to_table([SALT])] * 4
    alone = metrics.evaluate(*tables)
    assert set(alone) == {"raw", "provenance"}
    assert alone["raw"]["novelty"]["value"] == 0
    assert alone["raw"]["sites_ks"] | {"floor_n": 0} == {
        "value": None, "n": 0, "interval": None, "floor": None, "floor_n": 0,
    }  # fmt: skip
    with_crystals = metrics.evaluate(*tables, crystals=pd.DataFrame([row("0", SALT, 0.0)]))
    assert with_crystals["provenance"]["novelty_relaxed"] == "Wyckoff fingerprint"
    assert with_crystals["relaxed"]["novelty"]["value"] == 0
    assert from_structure(crystal(SALT)).fingerprint() == SALT.fingerprint()

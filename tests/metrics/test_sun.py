"""Stability and S.U.N. counted out by hand, with holes in the hull and without."""

import numpy as np
import pandas as pd
import pytest

from wyk.coordinates import pyxtal_start
from wyk.crystals.representation import WyckoffRepresentation, from_structure
from wyk.metrics import sun
from wyk.stability.hull import IMPLAUSIBLE

SALT = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b"))
IODIDE = WyckoffRepresentation(225, ("K", "I"), ("a", "b"))
CAESIUM = WyckoffRepresentation(221, ("Cs", "Cl"), ("a", "b"))
FLUORIDE = WyckoffRepresentation(225, ("Ca", "F"), ("a", "c"))
PEROVSKITE = WyckoffRepresentation(221, ("Sr", "Ti", "O"), ("a", "b", "c"))

# crystal, E_hull, symmetry kept, hull covered
ROWS = [
    (SALT, 0.01, True, False),  # S.U.N. and symmetric
    (SALT, 0.01, True, False),  # not unique
    (IODIDE, 0.079, False, True),  # S.U.N. only
    (CAESIUM, -0.2, True, False),  # not novel
    (PEROVSKITE, 0.08, True, False),  # not stable
    (FLUORIDE, -0.31, True, False),  # below the hull beyond belief
    (None, np.nan, False, False),
]


def crystal(representation: WyckoffRepresentation):
    return pyxtal_start.draw(representation, seed=0)


@pytest.fixture(scope="module")
def structures() -> list:
    return [row[0] and crystal(row[0]) for row in ROWS]


def table(**more) -> pd.DataFrame:
    _, above, _, covered = zip(*ROWS, strict=True)
    implausible = [value < IMPLAUSIBLE for value in above]
    return pd.DataFrame(
        {"e_above_hull": above, "hull_covered": covered, "implausible": implausible} | more
    )


def judge(crystals, structures, known, known_structures, test, floor) -> tuple[dict, pd.DataFrame]:
    found = [sun.representation(structure) for structure in structures]
    judged = sun.judged(crystals, structures, found, known, known_structures)
    return sun.relaxed(judged, found, test, floor), judged


def fractions(block: dict) -> dict:
    return {k: (e.numerator, e.denominator) for k, e in block.items() if e.denominator is not None}


def test_rates_by_hand(structures):
    kept = [row[2] for row in ROWS]
    crystals = table(converged=[True] * 6 + [False], symmetry_kept=kept)
    real = {"test": [SALT, PEROVSKITE], "floor": [IODIDE]}
    block, judged = judge(crystals, structures, [CAESIUM], [crystal(CAESIUM)], **real)
    for column, entry in (("unique", "uniqueness"), ("novel", "novelty")):
        assert judged[column].sum() == block[entry].numerator
    assert (judged["novel"] <= judged["unique"]).all()
    assert fractions(block) == {
        "formal_validity": (6, 7),
        "uniqueness": (5, 6),
        "novelty": (4, 5),
        "charge_neutrality_smact14": (4, 4),
        "charge_neutrality_icsd24": (4, 4),
        "p1": (0, 4),
        "converged": (6, 7),
        "symmetry_kept": (5, 7),
        "stable": (5, 7),
        "sun": (3, 7),
        "ssun": (2, 7),
        "stable_plausible": (4, 7),
        "sun_plausible": (2, 7),
        "ssun_plausible": (1, 7),
        "implausible": (1, 7),
        "hull_coverage": (1, 7),
    }
    assert {entry.n for entry in block.values() if entry.floor_n is not None} == {4}


def test_the_first_rows_of_many_count_as_if_they_were_all(structures):
    given = ([CAESIUM], [crystal(CAESIUM)])
    real = ([SALT, PEROVSKITE], [IODIDE])
    found = [sun.representation(structure) for structure in structures]
    judged = sun.judged(table(), structures, found, *given)
    alone, _ = judge(table().head(3), structures[:3], *given, *real)
    assert sun.relaxed(judged.head(3), found[:3], *real) == alone
    assert alone != sun.relaxed(judged, found, *real)


def test_crystals_that_were_not_relaxed_say_nothing_of_it(structures):
    block, _ = judge(table(), structures, [CAESIUM], None, [SALT], [IODIDE])
    assert not {"converged", "symmetry_kept", "ssun", "ssun_plausible"} & set(block)
    assert fractions(block)["sun"] == (3, 7)


def test_without_reference_structures_novelty_is_by_fingerprint(structures):
    stretched = crystal(CAESIUM)
    stretched.apply_strain([0, 0, 0.08])
    assert from_structure(stretched).space_group == 123
    crystals = table().iloc[3:4]
    block, _ = judge(crystals, [stretched], [CAESIUM], None, [SALT], [IODIDE])
    assert block["novelty"].value == 1
    block, _ = judge(crystals, [stretched], [CAESIUM], [crystal(CAESIUM)], [SALT], [IODIDE])
    assert block["novelty"].value == 0

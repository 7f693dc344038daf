"""Table 1 of the paper, and its Table 2: every number with its interval, every distance with its floor.

The definitions are those of the paper, §4 and Appendices B and D. "All metrics below Novelty are computed only
using novel structures": charge neutrality, distances and the share of P1 are taken over the samples that are
formally valid, unique and novel. S.U.N. counts over all samples.

An entry is `{"value", "n", "interval"}`, a rate has `numerator` and `denominator` too, a distance its `floor`; a
value that cannot be computed (no samples left) is None.
"""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from math import prod

import numpy as np
import pandas as pd
from pymatgen.core import Composition, Structure
from smact import Element, metals
from smact.screening import smact_validity

from wyk import divergence, novelty
from wyk.relaxation import POTENTIAL
from wyk.representation import ELEMENTS, WyckoffRepresentation, from_structure, from_table
from wyk.statistics import chi2, distance, ks, rate
from wyk.structures import read_cif

STABLE = 0.08  # eV/atom above the hull, as in the construction of MP-20
COMBINATIONS = 1_000_000  # of oxidation states; smact tries them one by one, 1 µs each
LIBRARIES = [
    "chgnet",
    "moyopy",
    "numpy",
    "pandas",
    "pymatgen",
    "pyxtal",
    "smact",
    "spglib",
    "torch",
]


# --- crystals as rows of features


def histogram(values: Sequence[int], size: int) -> np.ndarray:
    """(n, size) one-hot rows of n integers below `size`."""
    return (np.asarray(values, int)[:, None] == np.arange(size)).astype(float)


def atomic_fractions(representations: Sequence[WyckoffRepresentation]) -> np.ndarray:
    """(n, elements) share of each element among the atoms of each crystal."""
    column = {element: i for i, element in enumerate(ELEMENTS)}
    fractions = np.zeros((len(representations), len(ELEMENTS)))
    for row, representation in zip(fractions, representations, strict=True):
        for element, count in representation.composition.items():
            row[column[element]] = count / representation.n_atoms
    return fractions


@cache
def charge_neutral(formula: str, oxidation_states: str = "smact14") -> bool:
    """Whether SMACT finds oxidation states that make a composition neutral, metals and alloys counted so.

    Compositions with more than COMBINATIONS combinations of states, which takes seven elements or more, could take
    minutes; they count as not neutral.

    Args:
        formula: reduced formula.
        oxidation_states: "smact14" (the headline) or "icsd24".
    """
    symbols = [element.symbol for element in Composition(formula).elements]
    states = [getattr(Element(s), f"oxidation_states_{oxidation_states}") or () for s in symbols]
    if prod(map(len, states)) > COMBINATIONS and not set(symbols) <= set(metals):
        return False
    return smact_validity(
        formula,
        use_pauling_test=True,
        include_alloys=True,
        oxidation_states_set=oxidation_states,
    )


# --- the three blocks


def evaluate(
    samples: pd.DataFrame,
    test: pd.DataFrame,
    reference: pd.DataFrame,
    floor: pd.DataFrame,
    crystals: pd.DataFrame | None = None,
    reference_structures: Sequence[Structure] | None = None,
    likelihoods: dict[str, pd.DataFrame] | None = None,
    seed: int = 0,
    provenance: dict | None = None,
) -> dict:
    """The metrics of a set of generated crystals, ready for JSON.

    Args:
        samples: generated representations.
        test: representations that distances are measured to.
        reference: representations that are not novel: training and validation.
        floor: real representations, not in `test`, whose distance to it is the floor: validation.
        crystals: table of `structures.build` for the first of the samples; without it there is no `relaxed`.
        reference_structures: the crystals of `reference`. With them the novelty of relaxed crystals is
            StructureMatcher's; without, it is by fingerprint. `provenance` says which.
        likelihoods: name → table of `likelihood.likelihood`, for the block `likelihood`.
        seed: of bootstrap and floors.
        provenance: what only the caller knows, such as data set, splits and hull.

    Returns:
        Blocks `raw`, `relaxed` and `likelihood`, and `provenance`.
    """
    real = {"test": from_table(test), "floor": from_table(floor)}
    known = from_table(reference)
    result = {"raw": _raw(from_table(samples), known, real, seed)}
    if crystals is not None:
        result["relaxed"] = _relaxed(crystals, known, reference_structures, real, seed)
    if likelihoods:
        result["likelihood"] = divergence.summary(likelihoods, seed)
    matcher = "StructureMatcher, default parameters"
    result["provenance"] = {
        "samples": len(samples),
        "test": len(test),
        "reference": len(reference),
        "floor": len(floor),
        "seed": seed,
        "novelty_raw": "Wyckoff fingerprint",
        "uniqueness_relaxed": matcher,
        "novelty_relaxed": "Wyckoff fingerprint" if reference_structures is None else matcher,
        "potential": POTENTIAL,
        "stable": f"energy above hull < {STABLE} eV/atom",
        "versions": {library: version(library) for library in LIBRARIES},
    } | (provenance or {})
    return result


def sieve(
    representations: Sequence[WyckoffRepresentation], known: Sequence[WyckoffRepresentation]
) -> tuple[dict, list[WyckoffRepresentation]]:
    """Formal validity, uniqueness and novelty as entries, and the representations that have all three.

    Args:
        representations: generated ones.
        known: training and validation, which are not novel.
    """
    valid = [r for r in representations if r.invalidity() is None]
    unique = [r for r, first in zip(valid, novelty.unique(valid), strict=True) if first]
    novel = novelty.novel(unique, known)
    rates = {
        "formal_validity": rate([True] * len(valid), len(representations)),
        "uniqueness": rate([True] * len(unique), len(valid)),
        "novelty": rate(novel),
    }
    return rates, [r for r, new in zip(unique, novel, strict=True) if new]


def _raw(representations, known, real, seed) -> dict:
    rates, novel = sieve(representations, known)
    return rates | properties(novel, **real, seed=seed)


def _relaxed(crystals, known, known_structures, real, seed) -> dict:
    """As `_raw`, of the crystals as they came out; a row without a crystal counts as not valid, not stable.

    `converged`, `symmetry_kept`, `stable`, `sun`, `ssun` and `hull_coverage` are rates over all rows.
    """
    pairs = [_read(cif) for cif in crystals["cif"]]
    rows = np.array([i for i, pair in enumerate(pairs) if pair is not None], int)
    structures, representations = [pairs[i][0] for i in rows], [pairs[i][1] for i in rows]
    unique = novelty.unique(structures)
    rows = rows[unique]
    found = [r for r, first in zip(representations, unique, strict=True) if first]
    distinct = [s for s, first in zip(structures, unique, strict=True) if first]
    if known_structures is None:
        novel = novelty.novel(found, known)
    else:
        novel = novelty.novel(distinct, known_structures)
    is_new = np.zeros(len(crystals), bool)
    is_new[rows[novel]] = True
    kept = crystals["symmetry_kept"].to_numpy(bool)
    stable = crystals["e_above_hull"].to_numpy(float) < STABLE  # NaN is not
    return {
        "formal_validity": rate([True] * len(structures), len(crystals)),
        "uniqueness": rate(unique),
        "novelty": rate(novel),
        **properties([r for r, new in zip(found, novel, strict=True) if new], **real, seed=seed),
        "converged": rate(crystals["converged"].to_numpy(bool)),
        "symmetry_kept": rate(kept),
        "stable": rate(stable),
        "sun": rate(stable & is_new),
        "ssun": rate(stable & is_new & kept),
        "hull_coverage": rate(crystals["hull_covered"].to_numpy(bool)),
    }


def _read(cif: str | None) -> tuple[Structure, WyckoffRepresentation] | None:
    if not isinstance(cif, str):
        return None
    try:
        structure = read_cif(cif)
        return structure, from_structure(structure)
    except ValueError:
        return None


def properties(
    generated: Sequence[WyckoffRepresentation],
    test: Sequence[WyckoffRepresentation],
    floor: Sequence[WyckoffRepresentation],
    seed: int = 0,
) -> dict:
    """The rows of Table 1 between Novelty and S.U.N.

    Args:
        generated: formally valid, unique, novel.
        test, floor: real crystals, see `evaluate`.
        seed: of bootstrap and floors.
    """
    sets = (generated, test, floor)

    def compare(statistic, count) -> dict:
        values = [[count(r) for r in each] for each in sets]
        size = max(max(each, default=0) for each in values) + 1
        return distance(*(histogram(each, size) for each in values), statistic, seed)

    formulas = [r.formula for r in generated]
    return {
        "charge_neutrality_smact14": rate([charge_neutral(f, "smact14") for f in formulas]),
        "charge_neutrality_icsd24": rate([charge_neutral(f, "icsd24") for f in formulas]),
        "sites_ks": compare(ks, lambda r: len(r.letters)),
        "elements_ks": compare(ks, lambda r: len(set(r.elements))),
        "dof_ks": compare(ks, lambda r: r.degrees_of_freedom),
        "p1": rate([r.space_group == 1 for r in generated]),
        "space_group_chi2": compare(chi2, lambda r: r.space_group),
        "elements_chi2": distance(*map(atomic_fractions, sets), chi2, seed),
    }

"""Table 1 of the paper, of crystals: stability, S.U.N., and what `wyk.metrics.distributions` counts once more.

Definitions: paper, §4 and Appendix B. S.U.N. counts, over all samples, those that are stable, unique and novel. A
crystal far below the hull (`Hull.judge`) is stable by that definition and yet no discovery; so the entries named
`…_plausible` leave such crystals out, and are the ones to quote.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pymatgen.core import Structure

from wyk.common import STABLE, Estimate, rate
from wyk.crystals import WyckoffRepresentation, from_structure
from wyk.metrics import distributions, novelty

RELAXED = ("converged", "symmetry_kept")  # columns that only relaxed crystals have


def judged(
    crystals: pd.DataFrame,
    structures: Sequence[Structure | None],
    found: Sequence[WyckoffRepresentation | None],
    known: Sequence[WyckoffRepresentation],
    known_structures: Sequence[Structure] | None,
) -> pd.DataFrame:
    """Which crystals differ from those before them, and from the known ones.

    Args:
        crystals: n rows with the columns of `Hull.judge`, and those of RELAXED if they were relaxed.
        structures: the crystal of each row; None where there is none.
        found: the representation of each crystal; None where there is no crystal, or it has none.
        known: representations that are not novel: training and validation.
        known_structures: their crystals, or those of them that have a formula of `structures`. With them novelty is
            StructureMatcher's; without, it is by fingerprint.

    Returns:
        The crystals with columns `unique` and `novel` (and unique), False where there is no representation.
    """
    rows = np.array([i for i, each in enumerate(found) if each is not None], int)
    distinct = rows[novelty.unique([structures[i] for i in rows])]
    if known_structures is None:
        novel = novelty.novel([found[i] for i in distinct], known)
    else:
        novel = novelty.novel([structures[i] for i in distinct], known_structures)
    is_unique, is_new = (
        np.isin(np.arange(len(crystals)), rows) for rows in (distinct, distinct[novel])
    )
    return crystals.assign(unique=is_unique, novel=is_new)


def relaxed(
    crystals: pd.DataFrame,
    found: Sequence[WyckoffRepresentation | None],
    test: Sequence[WyckoffRepresentation],
    floor: Sequence[WyckoffRepresentation],
    seed: int = 0,
) -> dict[str, Estimate]:
    """The block `relaxed`: as `metrics.raw`, of crystals, and how stable they are.

    A row without a crystal counts as neither valid nor stable. Rates from `converged` on are over all rows.

    Args:
        crystals, found: of `judged` and as there, or the first rows of both.
        test, floor: see `metrics.raw`.
        seed: of bootstrap and floors.
    """
    valid = np.array([each is not None for each in found], bool)
    unique, new = (crystals[name].to_numpy(bool) for name in ("unique", "novel"))
    stable = crystals["e_above_hull"].to_numpy(float) < STABLE  # NaN is not
    plausible = ~crystals["implausible"].to_numpy(bool)
    novel = [each for each, chosen in zip(found, new, strict=True) if chosen]
    entries = {
        "formal_validity": rate(valid),
        "uniqueness": rate(unique[valid]),
        "novelty": rate(new[unique]),
        **distributions.properties(novel, test, floor, seed),
        **{name: rate(crystals[name].to_numpy(bool)) for name in RELAXED if name in crystals},
        "stable": rate(stable),
        "sun": rate(stable & new),
        "stable_plausible": rate(stable & plausible),
        "sun_plausible": rate(stable & plausible & new),
        "implausible": rate(~plausible),
        "hull_coverage": rate(crystals["hull_covered"].to_numpy(bool)),
    }
    if "symmetry_kept" in crystals:
        kept = crystals["symmetry_kept"].to_numpy(bool)
        entries["ssun"] = rate(stable & new & kept)
        entries["ssun_plausible"] = rate(stable & plausible & new & kept)
    return entries


def representation(structure: Structure | None) -> WyckoffRepresentation | None:
    """The representation of a crystal; None if there is no crystal, or it has none."""
    try:
        return structure and from_structure(structure)
    except ValueError:
        return None

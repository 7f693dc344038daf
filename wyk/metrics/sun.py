"""Table 1 of the paper, of crystals: stability, S.U.N., and what `wyk.metrics.distributions` counts once more.

Definitions: paper, §4 and Appendix B. S.U.N. counts, over all samples, those that are stable, unique and novel. A
crystal far below the hull (`Hull.judge`) is stable by that definition and yet no discovery; so the entries named
`…_plausible` leave such crystals out, and are the ones to quote.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pymatgen.core import Structure

from wyk.common import STABLE, Estimate, rate
from wyk.crystals import WyckoffRepresentation, from_structure
from wyk.metrics import distributions, novelty
from wyk.metrics.distributions import Metric

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


@dataclass(frozen=True)
class Judged:
    """Which of n crystals are stable, plausible, unique and novel, as (n,) booleans.

    Args:
        crystals: of `judged`.
    """

    crystals: pd.DataFrame

    def flag(self, name: str) -> np.ndarray:
        return self.crystals[name].to_numpy(bool)

    @property
    def stable(self) -> np.ndarray:
        return self.crystals["e_above_hull"].to_numpy(float) < STABLE  # NaN is not

    @property
    def plausible(self) -> np.ndarray:
        return ~self.flag("implausible")

    @property
    def sun(self) -> np.ndarray:
        return self.stable & self.flag("novel")

    @property
    def ssun(self) -> np.ndarray:
        return self.sun & self.flag("symmetry_kept")


# Rates over all crystals.
METRICS = (
    Metric(
        "converged", "Converged, % of structures", "↑", True,
        lambda of: rate(of.flag("converged")), ("converged",),
    ),
    Metric(
        "symmetry_kept", None, "↑", True,
        lambda of: rate(of.flag("symmetry_kept")), ("symmetry_kept",),
    ),
    Metric("stable", "Stable, % of structures", "↑", True, lambda of: rate(of.stable)),
    Metric("sun", "S.U.N., % of structures", "↑", True, lambda of: rate(of.sun), ("novel",)),
    Metric("stable_plausible", None, "↑", True, lambda of: rate(of.stable & of.plausible)),
    Metric(
        "sun_plausible", "S.U.N., not below −0.3 eV/atom, %", "↑", True,
        lambda of: rate(of.sun & of.plausible), ("novel",),
    ),
    Metric("implausible", None, "↓", True, lambda of: rate(~of.plausible)),
    Metric(
        "hull_coverage", "Chemical system in the hull, %", "", True,
        lambda of: rate(of.flag("hull_covered")),
    ),
    Metric(
        "ssun", "S.U.N., group kept, % of structures", "↑", True,
        lambda of: rate(of.ssun), ("novel", "symmetry_kept"),
    ),
    Metric(
        "ssun_plausible", "S.U.N., group kept, not below −0.3 eV/atom, %", "↑", True,
        lambda of: rate(of.ssun & of.plausible), ("novel", "symmetry_kept"),
    ),
)  # fmt: skip


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
    novel = [each for each, chosen in zip(found, new, strict=True) if chosen]
    there = [m for m in METRICS if set(m.needs) <= set(crystals)]
    return {
        "formal_validity": rate(valid),
        "uniqueness": rate(unique[valid]),
        "novelty": rate(new[unique]),
        **distributions.properties(distributions.Novel(novel, test, floor, seed)),
        **{m.name: m.count(Judged(crystals)) for m in there},
    }


def representation(structure: Structure | None) -> WyckoffRepresentation | None:
    """The representation of a crystal; None if there is no crystal, or it has none."""
    try:
        return structure and from_structure(structure)
    except ValueError:
        return None

"""Table 1 of the paper, of bare representations: every number with its interval, every distance with its floor.

The definitions are those of the paper, §4 and Appendices B and D. "All metrics below Novelty are computed only
using novel structures": charge neutrality, distances and the share of P1 are taken over the samples that are
formally valid, unique and novel. What needs crystals is in `wyk.metrics.sun`.

An entry is an `Estimate`: a rate has `numerator` and `denominator` too, a distance its `floor`; a
value that cannot be computed (no samples left) is None.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np
import pandas as pd
from pymatgen.core import Composition
from smact import Element, metals
from smact.screening import smact_validity

from wyk.common import ELEMENTS, Estimate, chi2, distance, ks, rate
from wyk.crystals import WyckoffRepresentation, from_table
from wyk.metrics import novelty

COMBINATIONS = 1_000_000  # of oxidation states; smact tries them one by one, 1 µs each


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
    minutes; they count as not neutral, as do those with an element that SMACT has no data of (104 and beyond).

    Args:
        formula: reduced formula.
        oxidation_states: "smact14" (the headline) or "icsd24".
    """
    symbols = [element.symbol for element in Composition(formula).elements]
    try:
        elements = [Element(symbol) for symbol in symbols]
    except (KeyError, NameError):
        return False
    states = [
        getattr(element, f"oxidation_states_{oxidation_states}") or () for element in elements
    ]
    if prod(map(len, states)) > COMBINATIONS and not set(symbols) <= set(metals):
        return False
    return smact_validity(
        formula,
        use_pauling_test=True,
        include_alloys=True,
        oxidation_states_set=oxidation_states,
    )


# --- entries


@dataclass(frozen=True)
class Metric:
    """One entry of `metrics.json`, and how tables show it.

    Args:
        name: of the entry.
        label: of its row in Table 1; None if tables leave it out.
        better: "↑" where more is better, "↓" where less is; "" where it is neither.
        percent: whether tables show a share as per cent.
        count: gives the entry: of `Novel` in METRICS of this module, of `sun.Judged` in those of `wyk.metrics.sun`;
            None for those that `sieve` counts on the way.
        needs: columns of `sun.judged` without which there is no such entry; "novel" is there if training sets are.
    """

    name: str
    label: str | None
    better: str
    percent: bool
    count: Callable[..., Estimate] | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Novel:
    """Crystals that are formally valid, unique and novel, and real ones to compare them with.

    Args:
        generated: the novel ones.
        test, floor: real crystals, see `raw`.
        seed: of bootstrap and floors.
    """

    generated: Sequence[WyckoffRepresentation]
    test: Sequence[WyckoffRepresentation]
    floor: Sequence[WyckoffRepresentation]
    seed: int = 0

    def share(self, holds: Callable[[WyckoffRepresentation], bool]) -> Estimate:
        """How many of the generated ones have a property."""
        return rate([holds(r) for r in self.generated])

    def compare(
        self, statistic: Callable, count: Callable[[WyckoffRepresentation], int]
    ) -> Estimate:
        """How far the distribution of a number is from that of the test set."""
        values = [[count(r) for r in each] for each in (self.generated, self.test, self.floor)]
        size = max(max(each, default=0) for each in values) + 1
        return distance(*(histogram(each, size) for each in values), statistic, self.seed)

    def composition(self, statistic: Callable) -> Estimate:
        """How far the elements are from those of the test set."""
        sets = map(atomic_fractions, (self.generated, self.test, self.floor))
        return distance(*sets, statistic, self.seed)


# The rows of Table 1 between Novelty and S.U.N.
METRICS = (
    Metric(
        "charge_neutrality_smact14", "Charge neutrality (smact14), %", "↑", True,
        lambda novel: novel.share(lambda r: charge_neutral(r.formula, "smact14")),
    ),
    Metric(
        "charge_neutrality_icsd24", None, "↑", True,
        lambda novel: novel.share(lambda r: charge_neutral(r.formula, "icsd24")),
    ),
    Metric(
        "sites_ks", "Num sites KS", "↓", False,
        lambda novel: novel.compare(ks, lambda r: len(r.letters)),
    ),
    Metric(
        "elements_ks", "Num elements KS", "↓", False,
        lambda novel: novel.compare(ks, lambda r: len(set(r.elements))),
    ),
    Metric(
        "dof_ks", "DoF KS", "↓", False,
        lambda novel: novel.compare(ks, lambda r: r.degrees_of_freedom),
    ),
    Metric("p1", "P1, %", "", True, lambda novel: novel.share(lambda r: r.space_group == 1)),
    Metric(
        "space_group_chi2", "Space group χ²", "↓", False,
        lambda novel: novel.compare(chi2, lambda r: r.space_group),
    ),
    Metric("elements_chi2", "Elements χ²", "↓", False, lambda novel: novel.composition(chi2)),
)  # fmt: skip


def raw(
    samples: pd.DataFrame,
    test: pd.DataFrame,
    reference: pd.DataFrame,
    floor: pd.DataFrame,
    seed: int = 0,
    unread: int = 0,
) -> dict[str, Estimate]:
    """The block `raw`: metrics of generated representations.

    Args:
        samples: generated representations.
        test: representations that distances are measured to.
        reference: representations that are not novel: training and validation.
        floor: real representations, not in `test`, whose distance to it is the floor: validation.
        seed: of bootstrap and floors.
        unread: samples beside those, of which no representation could be made; they count as not valid.
    """
    generated, known = from_table(samples), from_table(reference)
    rates, novel = sieve(generated, known, unread)
    return rates | properties(Novel(novel, from_table(test), from_table(floor), seed))


def sieve(
    representations: Sequence[WyckoffRepresentation],
    known: Sequence[WyckoffRepresentation],
    unread: int = 0,
) -> tuple[dict[str, Estimate], list[WyckoffRepresentation]]:
    """Formal validity, uniqueness and novelty, and the representations that have all three.

    Args:
        representations: generated ones.
        known: training and validation, which are not novel.
        unread: see `raw`.
    """
    valid = [r for r in representations if r.invalidity() is None]
    unique = [r for r, first in zip(valid, novelty.unique(valid), strict=True) if first]
    novel = novelty.novel(unique, known)
    rates = {
        "formal_validity": rate([True] * len(valid), len(representations) + unread),
        "uniqueness": rate([True] * len(unique), len(valid)),
        "novelty": rate(novel),
    }
    return rates, [r for r, new in zip(unique, novel, strict=True) if new]


def properties(novel: Novel) -> dict[str, Estimate]:
    """The entries of METRICS."""
    return {metric.name: metric.count(novel) for metric in METRICS}

"""Uniqueness among candidates, novelty against reference crystals (paper, §4 and Appendix B).

Crystals are compared by pymatgen's `StructureMatcher` with default parameters, within groups of equal reduced
formula. The space group does not divide them further: real matches often carry different group labels. Bare
Wyckoff representations, which have no coordinates, are the same when their fingerprints are. That is another
question: of the MP-20 binary & ternary test split against val, 104 crystals match by structure, 62 by
fingerprint (a small distortion changes the group; free coordinates can differ within one), only 8 by both.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from wyk.crystals import WyckoffRepresentation

MATCHER = StructureMatcher()
Crystals = Sequence[Structure] | Sequence[WyckoffRepresentation]


def unique(candidates: Crystals) -> np.ndarray:
    """Which candidates differ from every earlier one that is itself unique.

    Args:
        candidates: n structures, or n formally valid representations; not a mixture.

    Returns:
        (n,) bool; the first of several equal ones is the unique one.
    """
    kept = defaultdict(list)
    result = np.zeros(len(candidates), bool)
    for i, candidate in enumerate(map(_Comparable, candidates)):
        group = kept[candidate.group]
        result[i] = not any(candidate.equals(other) for other in group)
        if result[i]:
            group.append(candidate)
    return result


def novel(candidates: Crystals, references: Iterable) -> np.ndarray:
    """Which candidates equal no reference.

    Args:
        candidates: n structures, or n formally valid representations.
        references: training and validation crystals, of the same kind as the candidates.

    Returns:
        (n,) bool.

    Raises:
        ValueError: if structures are to be compared with representations.
    """
    compared = [_Comparable(candidate) for candidate in candidates]
    known = {candidate.group: [] for candidate in compared}
    for reference in references:
        if len(candidates) and type(reference) is not type(candidates[0]):
            kinds = f"{type(candidates[0]).__name__} with {type(reference).__name__}"
            raise ValueError(f"cannot compare {kinds}: bring both to the same kind")
        other = _Comparable(reference)
        if other.group in known:
            known[other.group].append(other)
    return np.array(
        [not any(each.equals(other) for other in known[each.group]) for each in compared], bool
    )


class _Comparable:
    """A crystal, what equal ones share for certain, and what each comparison with it needs."""

    def __init__(self, crystal: Structure | WyckoffRepresentation):
        self.crystal = crystal
        self.bare = isinstance(crystal, WyckoffRepresentation)
        self.group = crystal.fingerprint() if self.bare else crystal.composition.reduced_formula

    @cached_property
    def reduced(self) -> Structure:
        """The cell that StructureMatcher compares; finding it takes most of its time."""
        return MATCHER._get_reduced_structure(self.crystal)

    def equals(self, other: "_Comparable") -> bool:
        """Whether another crystal of the same group is the same, as `StructureMatcher.fit` says.

        Without supercells it never matches cells of different size, but finds that out last.
        """
        if self.bare:
            return True
        if len(self.reduced) != len(other.reduced):
            return False
        return MATCHER.fit(self.reduced, other.reduced, skip_structure_reduction=True)

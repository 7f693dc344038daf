"""Uniqueness among candidates, novelty against reference crystals (paper, §4 and Appendix B).

Crystals are compared by pymatgen's `StructureMatcher` with default parameters, within groups of equal reduced
formula. The space group does not divide them further: real matches often carry different group labels. Bare
Wyckoff representations, which have no coordinates, are the same when their fingerprints are. That is another
question: of the MP-20 binary & ternary test split against val, 104 crystals match by structure, 62 by
fingerprint (a small distortion changes the group; free coordinates can differ within one), only 8 by both.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from wyk.representation import WyckoffRepresentation

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
    matcher = StructureMatcher()
    for i, candidate in enumerate(candidates):
        group = kept[_group(candidate)]
        result[i] = not any(_same(matcher, candidate, other) for other in group)
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
    wanted = {_group(candidate) for candidate in candidates}
    known = defaultdict(list)
    for reference in references:
        if len(candidates) and type(reference) is not type(candidates[0]):
            kinds = f"{type(candidates[0]).__name__} with {type(reference).__name__}"
            raise ValueError(f"cannot compare {kinds}: bring both to the same kind")
        if (group := _group(reference)) in wanted:
            known[group].append(reference)
    matcher = StructureMatcher()
    return np.array(
        [
            not any(_same(matcher, candidate, other) for other in known[_group(candidate)])
            for candidate in candidates
        ],
        bool,
    )


def _group(crystal: Structure | WyckoffRepresentation) -> str:
    """What equal crystals share for certain."""
    if isinstance(crystal, WyckoffRepresentation):
        return crystal.fingerprint()
    return crystal.composition.reduced_formula


def _same(matcher: StructureMatcher, a, b) -> bool:
    return isinstance(a, WyckoffRepresentation) or matcher.fit(a, b)

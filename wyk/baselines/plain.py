"""Plain alternatives to a model, for Table 1: random positions, and known crystals with an element exchanged."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from wyk.common import ELEMENTS
from wyk.crystals import WyckoffRepresentation, similar_elements, space_group


def random_positions(
    known: Sequence[WyckoffRepresentation], n: int, seed: int = 0
) -> list[WyckoffRepresentation]:
    """What pyXtal can be asked for without having learned anything but frequencies.

    Space group, number of sites and number of elements are those of a known crystal, drawn at random. Elements are
    drawn by the share of known crystals that hold them, positions evenly among those of the group that keep the
    primitive cell as small as the largest known one; the crystal has fewer sites where none does any more.

    Args:
        known: training and validation.
        n: how many.
        seed: the same seed gives the same representations.

    Returns:
        n formally valid representations.
    """
    rng = np.random.default_rng(seed)
    counts = Counter(element for crystal in known for element in set(crystal.elements))
    symbols = sorted(counts)
    share = np.array([counts[symbol] for symbol in symbols]) / counts.total()
    largest = max(r.n_atoms // space_group(r.space_group).lattice_points for r in known)
    result = []
    for template in (known[i] for i in rng.integers(len(known), size=n)):
        letters = _positions(template.space_group, len(template.letters), largest, rng)
        kinds = min(len(set(template.elements)), len(letters))
        chosen = rng.choice(symbols, size=kinds, replace=False, p=share).tolist()
        more = rng.choice(chosen, size=len(letters) - kinds).tolist()
        result.append(WyckoffRepresentation(template.space_group, (*chosen, *more), tuple(letters)))
    return result


def _positions(number: int, sites: int, largest: int, rng: np.random.Generator) -> list[str]:
    """Letters of random positions of a group, with at most so many atoms in the primitive cell."""
    group = space_group(number)
    room, letters = largest * group.lattice_points, []
    while len(letters) < sites:
        free = [
            position
            for position in group.positions
            if position.multiplicity <= room and (position.dof or position.letter not in letters)
        ]
        if not free:
            break
        position = free[rng.integers(len(free))]
        letters.append(position.letter)
        room -= position.multiplicity
    return letters


def substitution(
    known: Sequence[WyckoffRepresentation], n: int, seed: int = 0
) -> list[WyckoffRepresentation]:
    """Known crystals in which one element is exchanged, on all its sites, for a similar one.

    Similar are the nearest on Pettifor's chemical scale that occur in known crystals and not in this one: what
    training takes for augmentation (`tokenization.augment`), used as a generator.

    Arguments and result are those of `random_positions`.

    Raises:
        ValueError: if no known crystal has an element that a similar one could replace.
    """
    rng = np.random.default_rng(seed)
    present = {element for crystal in known for element in crystal.elements}
    symbols = [element for element in ELEMENTS if element in present]
    neighbours = {
        symbol: [symbols[i] for i in row]
        for symbol, row in zip(symbols, similar_elements(symbols).tolist(), strict=True)
    }
    if all(set(neighbours[old]) <= set(c.elements) for c in known for old in c.elements):
        raise ValueError("substitution: no known crystal lacks an element similar to one it has")
    result = []
    while len(result) < n:
        crystal = known[rng.integers(len(known))]
        old = crystal.elements[rng.integers(len(crystal.elements))]
        new = neighbours[old][rng.integers(len(neighbours[old]))]
        if new not in crystal.elements:
            elements = tuple(new if element == old else element for element in crystal.elements)
            result.append(WyckoffRepresentation(crystal.space_group, elements, crystal.letters))
    return result

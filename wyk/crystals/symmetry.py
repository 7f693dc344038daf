"""The space group of a crystal, near the tolerance too, whatever the order of its atoms and the choice of its cell.

spglib takes the translation of an operation from one pair of atoms, so that the error of this pair counts twice: where
atoms are moved by up to 0.045 Å it finds one group in five, and another one in another order of the atoms. Its answer
stands, as in the paper, for a crystal that has the symmetry exactly. For all others moyo and spglib propose groups at
several tolerances, which are then measured on the atoms in ways that depend neither on their order nor on the cell.
"""

import itertools
import math

import numpy as np

from wyk.crystals.symmetry_fit import CLEAR, EXACT, SYMPREC, Cell, Symmetry
from wyk.crystals.symmetry_search import ANGLE_TOLERANCE, by_moyo, by_spglib, ends, reduced

BY_MOYO = (0.2, 0.15, 0.1, 0.07, 0.05, 0.02, 0.01)  # Å; tolerances at which groups are proposed
# Å; atoms moved by up to 0.045 Å are up to 0.09 apart, and the means over them err, too
NOISE = 0.11
EVEN = 0.56  # of atoms moved evenly within a ball it is 0.77
MOST_ORDERS = 8  # of atoms, in which spglib is asked
SEARCHED = 500  # in a cell; about larger ones only spglib is asked, and once
# cosines of the usual cubic cells: simple, body- and face-centred
CUBIC = np.array([[0], [-1 / 3], [1 / 2]])


def symmetry(cell: Cell) -> Symmetry:
    """The symmetry of a crystal given by any of its cells.

    That of spglib at 0.1 Å and 5°, as in the paper, if the crystal has it exactly. Else the highest proposed group that
    leaves no atom further than 0.1 Å from its image whichever atom spglib starts from; and of a crystal that looks like
    a symmetric one with noise, having hardly any symmetry of its own and all atoms moved alike, the highest that does
    so with the best translations.

    Args:
        cell: (3, 3) lattice vectors as rows, Å; (n, 3) fractional coordinates in [0, 1); (n,) atomic numbers.

    Raises:
        ValueError: if none is found.
    """
    found = by_moyo(cell, SYMPREC) if _looks_cubic(cell[0]) else None
    # of cubic groups the two agree, and spglib needs 25 ms where moyo needs 0.4
    if found is None or found.number < 195:
        found = by_spglib(cell, SYMPREC)
    if found is None or not found.exact:
        found = _measured(reduced(cell), found)
    if found is None:
        raise ValueError(f"no symmetry found at {SYMPREC} Å")
    return found


def _measured(cell: Cell, given: Symmetry | None) -> Symmetry | None:
    """The highest group that fits the atoms; `given` if it is the same, or if the cell cannot be searched."""
    if len(cell[2]) > SEARCHED:
        return given
    tolerances = list(itertools.dropwhile(lambda symprec: not ends(cell, symprec), BY_MOYO))
    # moyo misses one symmetry in a thousand, and finds it from another origin
    proposed = [by_moyo(_shifted(cell, i), symprec) for i in (0, 1) for symprec in tolerances[:1]]
    widest = max(filter(None, proposed), key=lambda p: p.order, default=None)
    if given and widest and widest.number == given.number and widest.error < CLEAR:
        return given
    proposed += [by_moyo(_shifted(cell, 2 + i), t) for i, t in enumerate(tolerances[1:])]
    proposed += [by_spglib(cell, symprec) for symprec in (SYMPREC / 2, EXACT)]
    proposed = [p for p in proposed if p and (p.whole or p.symprec <= SYMPREC)]
    widest = widest or next(iter(proposed), None)
    if not any(p.own for p in proposed):  # what looks like noise
        loose = [p for p in proposed if p.symprec >= SYMPREC and _fits_evenly(p)]
        best = max(loose, key=lambda p: p.order, default=None)
        if best and given and given.number == best.number:
            return given
        if best and best.error > SYMPREC:
            return best
    # what spglib would say in any order: a symmetry that the crystal has exactly stands, as it does in `symmetry`
    asked = [by_spglib(each, SYMPREC) for each in _orders(cell, widest)]
    asked = [p for p in asked if p]
    fitting = [p for p in asked if p.exact] or [p for p in asked + proposed if _fits(p)]
    best = max(fitting, key=lambda p: (p.order, p.own, -p.error), default=given)
    return given if given and given.number == best.number else best


def _fits(found: Symmetry) -> bool:
    """Whether spglib would find it at `SYMPREC`, whichever atom it starts from."""
    length, angle, _ = found.strain
    return length < SYMPREC and angle < ANGLE_TOLERANCE and found.error < SYMPREC


def _fits_evenly(found: Symmetry) -> bool:
    """Whether noise alone, on all atoms alike, may have hidden it."""
    length, _, across = found.strain
    even = found.least_error < NOISE and found.evenness > EVEN
    return max(length, across) < SYMPREC and (even or found.error < SYMPREC)


def _shifted(cell: Cell, times: int) -> Cell:
    """The crystal with another origin."""
    fractional = cell[1] + times * np.array([0.137, 0.263, 0.389])
    return cell[0], fractional - np.floor(fractional), cell[2]


def _orders(cell: Cell, widest: Symmetry | None) -> list[Cell]:
    """The crystal with one after another of its rarest atoms first, of those moved alike one, most moved first."""
    lattice, fractional, numbers = cell
    if widest is None:
        return [cell]
    moved = np.round(widest.moved[widest.rarest], 4)
    atoms = widest.rarest[np.unique(-moved, return_index=True)[1]][:MOST_ORDERS]
    orders = [np.r_[i, np.delete(np.arange(len(numbers)), i)] for i in atoms]
    return [(lattice, fractional[order], numbers[order]) for order in orders]


def _looks_cubic(lattice: np.ndarray) -> bool:
    """Whether the cell is a cubic, body- or face-centred cubic lattice's usual one, give or take a percent."""
    metric = (lattice @ lattice.T).tolist()
    lengths = [math.sqrt(metric[i][i]) for i in range(3)]
    mean = sum(lengths) / 3
    cosines = [metric[i][j] / mean**2 for i, j in ((0, 1), (0, 2), (1, 2))]
    usual = min(max(abs(cosine - right) for cosine in cosines) for right in CUBIC)
    return max(lengths) - min(lengths) < 0.01 * mean and usual < 0.02

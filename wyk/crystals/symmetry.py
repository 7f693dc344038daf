"""The space group of a crystal, near the tolerance too, whatever the order of its atoms and the choice of its cell.

spglib takes the translation of an operation from one pair of atoms, so that the error of this pair counts twice: where
atoms are moved by up to 0.045 Å it finds one group in five, and another one in another order of the atoms. Its answer
stands, as in the paper, for a crystal that has the symmetry exactly. For all others moyo and spglib propose groups at
several tolerances, which are then measured on the atoms in ways that depend neither on their order nor on the cell.
"""

import itertools
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

os.environ.setdefault("SPGLIB_WARNING", "OFF")  # its C code writes every retry to stderr

import moyopy
import numpy as np
import spglib
from scipy.spatial import cKDTree

from wyk.crystals.spacegroups import WyckoffPosition, space_group

SYMPREC = 0.1  # Å
ANGLE_TOLERANCE = 5  # degrees
EXACT = 0.01  # Å; what is held to this is the crystal's own symmetry
BY_MOYO = (0.2, 0.15, 0.1, 0.07, 0.05, 0.02, 0.01)  # Å; tolerances at which groups are proposed
NOISE = (
    0.11  # Å; atoms moved by up to 0.045 Å are up to 0.09 apart, and the means over them err, too
)
EVEN = 0.56  # of atoms moved evenly within a ball it is 0.77
CLEAR = SYMPREC / 3  # Å; so much better than needed that no other description changes the answer
CHANCE = 1e-3
MOST_ORDERS = 8  # of atoms, in which spglib is asked
SEARCHED = 500  # in a cell; about larger ones only spglib is asked, and once
FEW = 30_000  # distances that are faster computed all than searched in a tree
NEAREST = np.array(list(itertools.product((-1, 0, 1), repeat=3)))  # lattice points
CUBIC = np.array(
    [[0], [-1 / 3], [1 / 2]]
)  # cosines of the usual cells: simple, body- and face-centred
logging.getLogger("moyo").setLevel(logging.CRITICAL)  # it warns about every supercell

Cell = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Symmetry:
    """The symmetry that a program sees in a cell, and how well the atoms fit it.

    Attributes:
        cell: (3, 3) lattice vectors as rows, Å; (n, 3) fractional coordinates; (n,) atomic numbers.
        number: of the space group.
        letters: Wyckoff letter of each atom.
        orbits: (n,) which crystallographic orbit each atom belongs to.
        rotations: (g, 3, 3) of the operations, in the basis of the cell.
        translations: (g, 3), fractional.
        symprec: tolerance at which the program found it, Å.
    """

    cell: Cell
    number: int
    letters: Sequence[str]
    orbits: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray
    symprec: float

    @cached_property
    def first(self) -> np.ndarray:
        """The first atom of each orbit."""
        return np.unique(self.orbits, return_index=True)[1]

    @cached_property
    def positions(self) -> list[WyckoffPosition]:
        """The Wyckoff position of each orbit."""
        group = space_group(self.number)
        return [group.position(self.letters[i]) for i in self.first]

    @cached_property
    def atoms(self) -> int:
        """Atoms in the conventional cell."""
        return sum(position.multiplicity for position in self.positions)

    @property
    def order(self) -> Fraction:
        """Operations an atom of the crystal: the more, the higher the symmetry."""
        return Fraction(space_group(self.number).positions[-1].multiplicity, self.atoms)

    @property
    def whole(self) -> bool:
        """Whether all operations of the group map the cell's lattice onto itself; those of a supercell may not."""
        general = space_group(self.number).positions[-1].multiplicity
        return len(self.rotations) * self.atoms == general * len(self.orbits)

    @cached_property
    def held(self) -> tuple[int, int]:
        """How many coordinates of the atoms in a primitive cell it holds, and of how many, the origin apart."""
        every = 3 * self.atoms // space_group(self.number).lattice_points - 3
        turns = self.rotations
        # directions in which a polar group leaves the origin free
        polar = (turns[:, 0, 0] + turns[:, 1, 1] + turns[:, 2, 2]).sum() / len(turns)
        return every + round(polar) - sum(position.dof for position in self.positions), every

    @property
    def exact(self) -> bool:
        """Whether the crystal has it exactly, and not by chance."""
        if not self.whole:
            return False
        (lattice, fractional, _), (held, every) = self.cell, self.held
        moved = self._images(self.first)
        if moved.shape[0] * moved.shape[1] * len(fractional) < FEW:
            apart = moved[:, :, None] - fractional
            apart = (apart - np.rint(apart)) @ lattice
            error = np.sqrt(np.einsum("gkni,gkni->gkn", apart, apart).min(2).max())
        else:
            error = _longest(self._errors_of(self.first))
        return error < EXACT and (held == every or chance(error, held) < CHANCE)

    @property
    def own(self) -> bool:
        """Whether the crystal has it much better than to `SYMPREC`, and not by chance."""
        return self.error < CLEAR and chance(self.error, self.held[0]) < CHANCE

    def _images(self, atoms: np.ndarray) -> np.ndarray:
        """(g, k, 3) where each operation brings each of some atoms, fractional."""
        turns = self.rotations.transpose(0, 2, 1)
        return self.cell[1][atoms] @ turns + self.translations[:, None]

    def _errors_of(self, atoms: np.ndarray) -> np.ndarray:
        """(g, k, 3) how far each operation brings each of some atoms from the nearest one of its element, Å."""
        lattice, fractional, numbers = self.cell
        moved = self._images(atoms)
        if moved.shape[0] * moved.shape[1] * len(numbers) < FEW:
            apart = moved[:, :, None] - fractional
            apart = (apart - np.rint(apart)) @ lattice
            squares = np.einsum("gkni,gkni->gkn", apart, apart)
            squares += 1e6 * (numbers[atoms][:, None] != numbers)
            nearest = squares.argmin(2)[:, :, None, None]
            return np.take_along_axis(apart, nearest, 2)[:, :, 0]
        errors = np.empty(moved.shape)
        edges = np.linalg.norm(lattice, axis=1)
        for number in set(numbers[atoms].tolist()):
            there, kind = fractional[numbers == number], numbers[atoms] == number
            tree = cKDTree(there % 1 % 1 * edges, boxsize=edges)  # -1e-17 % 1 is 1
            nearest = tree.query(moved[:, kind] % 1 % 1 * edges)[1]
            apart = moved[:, kind] - there[nearest]
            errors[:, kind] = (apart - np.rint(apart)) @ lattice
        return errors

    @cached_property
    def _errors(self) -> np.ndarray:
        return self._errors_of(np.arange(len(self.orbits)))

    @cached_property
    def _least_errors(self) -> np.ndarray:
        return self._errors - self._errors.mean(1, keepdims=True)

    @cached_property
    def rarest(self) -> np.ndarray:
        """The atoms of the rarest element, or elements, from one of which spglib takes translations."""
        numbers = self.cell[2]
        elements, counts = np.unique(numbers, return_counts=True)
        return np.flatnonzero(np.isin(numbers, elements[counts == counts.min()]))

    @cached_property
    def error(self) -> float:
        """How far an operation brings an atom from its image at most, Å, its translation taken from the worst atom."""
        return max(_longest(self._errors - self._errors[:, [i]]) for i in self.rarest)

    @cached_property
    def least_error(self) -> float:
        """The same with the mean translation, Å."""
        return _longest(self._least_errors)

    @cached_property
    def moved(self) -> np.ndarray:
        """(n,) how far each atom is from its place in the nearest symmetric crystal, Å."""
        lattice = self.cell[0].T
        back = np.linalg.inv(lattice @ self.rotations @ np.linalg.inv(lattice))
        vectors = np.einsum("gij,gnj->ni", back, self._least_errors) / len(back)
        return np.linalg.norm(vectors, axis=1)

    @property
    def evenness(self) -> float:
        """How evenly the atoms are moved from the nearest symmetric crystal: root mean square over maximum."""
        return np.sqrt(np.mean(self.moved**2)) / self.moved.max() if self.moved.any() else 1.0

    @cached_property
    def strain(self) -> tuple[float, float, float]:
        """How much operations change the lattice vectors: lengths, Å; angles, degrees; and across, Å."""
        metric = self.cell[0] @ self.cell[0].T
        lengths, angles = _shape(metric)
        others = _shape(self.rotations.transpose(0, 2, 1) @ metric @ self.rotations)
        turned = np.abs(others[1] - angles)
        across = np.sin(turned) * np.minimum(lengths[:, None], lengths)
        return np.abs(others[0] - lengths).max(), np.degrees(turned.max()), across.max()


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
    found = _by_moyo(cell, SYMPREC) if _looks_cubic(cell[0]) else None
    if (
        found is None or found.number < 195
    ):  # else the two agree, and spglib needs 25 ms where moyo needs 0.4
        found = _by_spglib(cell, SYMPREC)
    if found is None or not found.exact:
        found = _measured(_reduced(cell), found)
    if found is None:
        raise ValueError(f"no symmetry found at {SYMPREC} Å")
    return found


def chance(error: float, held: int) -> float:
    """How likely it is that symmetry of atoms that are right to `SYMPREC` is right to a smaller error, Å, by chance."""
    return (error / SYMPREC) ** held


def _measured(cell: Cell, given: Symmetry | None) -> Symmetry | None:
    """The highest group that fits the atoms; `given` if it is the same, or if the cell cannot be searched."""
    if len(cell[2]) > SEARCHED:
        return given
    tolerances = list(itertools.dropwhile(lambda symprec: not _ends(cell, symprec), BY_MOYO))
    # moyo misses one symmetry in a thousand, and finds it from another origin
    proposed = [_by_moyo(_shifted(cell, i), symprec) for i in (0, 1) for symprec in tolerances[:1]]
    widest = max(filter(None, proposed), key=lambda p: p.order, default=None)
    if given and widest and widest.number == given.number and widest.error < CLEAR:
        return given
    proposed += [_by_moyo(_shifted(cell, 2 + i), t) for i, t in enumerate(tolerances[1:])]
    proposed += [_by_spglib(cell, symprec) for symprec in (SYMPREC / 2, EXACT)]
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
    asked = [_by_spglib(each, SYMPREC) for each in _orders(cell, widest)]
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


def _ends(cell: Cell, symprec: float) -> bool:
    """Whether moyo's search will end.

    It multiplies all maps of the lattice that it finds at its tolerance until no new one appears. Where the tolerance
    is large for the lattice, this never happens: a shear can be among them. So they must be few at 1.5 times that.
    """
    lattices = [cell[0]]
    smaller = spglib.find_primitive(cell, symprec)
    if smaller is not None and len(smaller[2]) < len(cell[2]):
        lattices.append(_shortest(smaller[0]))
    return all(_few_maps(lattice, 1.5 * symprec) for lattice in lattices)


def _few_maps(lattice: np.ndarray, tolerance: float) -> bool:
    """Whether the maps of a lattice onto itself, to a tolerance in lengths and across, generate a finite group."""
    metric = lattice @ lattice.T
    lengths, angles = _shape(metric)
    longer = np.linalg.norm(NEAREST @ lattice, axis=1)[:, None] - lengths
    maps = itertools.product(*(NEAREST[row] for row in (np.abs(longer) < tolerance).T))
    maps = np.array(list(maps), int).reshape(-1, 3, 3)
    maps = maps[np.abs(np.rint(np.linalg.det(maps))) == 1]
    turned = np.abs(_shape(maps @ metric @ maps.transpose(0, 2, 1))[1] - angles)
    across = np.sin(turned) * np.minimum(lengths[:, None], lengths)
    maps = maps[across.max((1, 2)) < tolerance]
    while len(maps) <= 48:  # no finite group of them has more
        products = (maps[:, None] @ maps).reshape(-1, 3, 3)
        names = (products.reshape(-1, 9) + 8) @ 17 ** np.arange(9)  # one number for each
        products = products[np.unique(names, return_index=True)[1]]
        if len(products) == len(maps):
            return True
        maps = products
    return False


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


def _by_moyo(cell: Cell, symprec: float) -> Symmetry | None:
    try:
        found = moyopy.MoyoDataset(moyopy.Cell(*map(np.ndarray.tolist, cell)), symprec=symprec)
    except ValueError:
        return None
    operations = found.operations
    rotations, translations = np.array(operations.rotations), np.array(operations.translations)
    orbits = np.array(found.orbits)
    return Symmetry(cell, found.number, found.wyckoffs, orbits, rotations, translations, symprec)


def _by_spglib(cell: Cell, symprec: float) -> Symmetry | None:
    try:
        found = spglib.get_symmetry_dataset(cell, symprec, ANGLE_TOLERANCE)
    except spglib.SpglibError:
        return None
    if found is None:
        return None
    # `equivalent_atoms` would split orbits in a supercell that breaks the symmetry; these do not
    orbits, letters = found.crystallographic_orbits, found.wyckoffs
    rotations, translations = found.rotations, found.translations
    return Symmetry(cell, found.number, letters, orbits, rotations, translations, symprec)


def _reduced(cell: Cell) -> Cell:
    """The same crystal in a primitive cell with the shortest vectors."""
    lattice, fractional, numbers = spglib.find_primitive(cell, EXACT / 10) or cell
    shortest = _shortest(lattice)
    fractional = fractional @ lattice @ np.linalg.inv(shortest)
    return shortest, fractional - np.floor(fractional), numbers


def _shortest(lattice: np.ndarray) -> np.ndarray:
    """The same lattice by its shortest vectors."""
    shortest = spglib.niggli_reduce(lattice)
    if shortest is None:
        return lattice
    change = np.rint(shortest @ np.linalg.inv(lattice))  # niggli_reduce may turn the lattice
    return change @ lattice if round(abs(np.linalg.det(change))) == 1 else lattice


def _longest(vectors: np.ndarray) -> float:
    return np.sqrt(np.einsum("...i,...i->...", vectors, vectors).max())


def _shape(metric: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(…, 3) lengths of lattice vectors, and (…, 3, 3) the angles between them, radians."""
    lengths = np.sqrt(np.diagonal(metric, axis1=-2, axis2=-1))
    cosines = metric / lengths[..., None] / lengths[..., None, :]
    return lengths, np.arccos(np.clip(cosines, -1, 1))


def _looks_cubic(lattice: np.ndarray) -> bool:
    """Whether the cell is a cubic, body- or face-centred cubic lattice's usual one, give or take a percent."""
    metric = (lattice @ lattice.T).tolist()
    lengths = [math.sqrt(metric[i][i]) for i in range(3)]
    mean = sum(lengths) / 3
    cosines = [metric[i][j] / mean**2 for i, j in ((0, 1), (0, 2), (1, 2))]
    usual = min(max(abs(cosine - right) for cosine in cosines) for right in CUBIC)
    return max(lengths) - min(lengths) < 0.01 * mean and usual < 0.02

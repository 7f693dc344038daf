"""How well the atoms of a crystal have a symmetry that a program sees, whatever their order and the cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from wyk.crystals.spacegroups import WyckoffPosition, space_group

SYMPREC = 0.1  # Å
EXACT = 0.01  # Å; what is held to this is the crystal's own symmetry
CLEAR = SYMPREC / 3  # Å; so much better than needed that no other description changes the answer
CHANCE = 1e-3
FEW = 30_000  # distances that are faster computed all than searched in a tree

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
            error = longest(self._errors_of(self.first))
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
        return max(longest(self._errors - self._errors[:, [i]]) for i in self.rarest)

    @cached_property
    def least_error(self) -> float:
        """The same with the mean translation, Å."""
        return longest(self._least_errors)

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
        lengths, angles = shape(metric)
        others = shape(self.rotations.transpose(0, 2, 1) @ metric @ self.rotations)
        turned = np.abs(others[1] - angles)
        across = np.sin(turned) * np.minimum(lengths[:, None], lengths)
        return np.abs(others[0] - lengths).max(), np.degrees(turned.max()), across.max()


def chance(error: float, held: int) -> float:
    """How likely it is that symmetry of atoms that are right to `SYMPREC` is right to a smaller error, Å, by chance."""
    return (error / SYMPREC) ** held


def longest(vectors: np.ndarray) -> float:
    """The length of the longest of some vectors (…, 3)."""
    return np.sqrt(np.einsum("...i,...i->...", vectors, vectors).max())


def shape(metric: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(…, 3) lengths of lattice vectors, and (…, 3, 3) the angles between them, radians."""
    lengths = np.sqrt(np.diagonal(metric, axis1=-2, axis2=-1))
    cosines = metric / lengths[..., None] / lengths[..., None, :]
    return lengths, np.arccos(np.clip(cosines, -1, 1))

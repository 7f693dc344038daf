"""Crystals as their symmetry leaves them free: a lattice in the basis of its family, one point for each orbit.

The lattice vectors of a conventional cell are the rows of F exp(S): F is a cell of the family's shape, and S = Σ kᵢ Bᵢ
a symmetric strain that all rotations of the group commute with (Jiao et al., DiffCSP++, ICLR 2024, §4.1).
"""

from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import spglib
from pymatgen.core import Structure
from pyxtal.symmetry import Group

from wyk.common import ELEMENTS
from wyk.crystals import ANGLE_TOLERANCE, SYMPREC, WyckoffRepresentation, space_group
from wyk.relaxation import Crystal, with_operations

LAST_GROUPS = (2, 15, 74, 194, 230)  # triclinic, monoclinic, orthorhombic, with one axis, cubic
FREE = (6, 4, 3, 2, 1)  # how many of BASIS each of these families has
# Volume; c against a and b; a against b; the shears of β, α and γ. Orthonormal.
BASIS = np.array(
    [
        np.eye(3) / 3**0.5,
        np.diag([-1, -1, 2]) / 6**0.5,
        np.diag([1, -1, 0]) / 2**0.5,
        np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]]) / 2**0.5,
        np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]]) / 2**0.5,
        np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]) / 2**0.5,
    ]
)
HEXAGONAL = np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, 1]])
# Rows are primitive lattice vectors in the basis of the conventional ones.
PRIMITIVE = {
    "P": np.eye(3),
    "A": np.array([[2, 0, 0], [0, 1, 1], [0, -1, 1]]) / 2,
    "C": np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 2]]) / 2,
    "I": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2,
    "F": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2,
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}
GENERIC = np.array(
    [0.1357, 0.3119, 0.7753]
)  # parameters of a point on its position, and on no other
APART = 1e-4  # of a primitive cell; images of an atom that are closer are one


@dataclass(frozen=True)
class Frame:
    """What a space group fixes of a crystal that has it.

    Attributes:
        number: of the space group.
        crystal: its primitive cell at k = 0, which is that of a conventional cell with edges of 1 Å.
    """

    number: int
    crystal: Crystal

    @property
    def family(self) -> int:
        """Index in LAST_GROUPS."""
        return bisect_left(LAST_GROUPS, self.number)

    @cached_property
    def dof(self) -> np.ndarray:
        """(r,) Free coordinates of each orbit."""
        return np.rint(np.trace(self.projectors, axis1=1, axis2=2)).astype(int)

    @cached_property
    def projectors(self) -> np.ndarray:
        """(r, 3, 3) Onto the directions in which the first atom of each orbit may move, Cartesian."""
        rotations, crystal = self.crystal.cartesian, self.crystal
        return np.array(
            [
                rotations[crystal.images[:, atom] == atom].mean(axis=0)
                for atom in crystal.representatives
            ]
        )

    @cached_property
    def carriers(self) -> np.ndarray:
        """(n, 3, 3) Rotations, from the right, of what the first atom of its orbit does to what each atom does."""
        crystal = self.crystal
        first = crystal.representatives[crystal.orbits]
        operation = (crystal.images[:, first] == np.arange(len(crystal))).argmax(axis=0)
        return crystal.cartesian[operation]

    def spread(self, moves: np.ndarray) -> np.ndarray:
        """(n, 3) What all atoms do when the first of each orbit do moves (r, 3); Cartesian.

        Moves are projected, so that the group is kept; and in groups that let all atoms move alike, they do not.
        """
        kept = np.einsum("ra,rab->rb", moves, self.projectors)
        moves = np.einsum("na,nab->nb", kept[self.crystal.orbits], self.carriers)
        return moves - moves.mean(axis=0)

    def lattice(self, k: np.ndarray) -> np.ndarray:
        """(3, 3) Lattice vectors of the primitive cell, Å, for the coefficients of BASIS: as many as the family has."""
        values, axes = np.linalg.eigh(np.tensordot(k, BASIS[: len(k)], 1))
        return self.crystal.lattice @ (axes * np.exp(values)) @ axes.T

    def at(self, fractional: np.ndarray, k: np.ndarray) -> Crystal:
        """The crystal with atoms (n, 3), in fractions of the primitive cell, and the lattice of k."""
        lattice = self.lattice(k)
        return replace(self.crystal, lattice=lattice, positions=fractional @ lattice)


@cache
def _group(number: int) -> tuple[np.ndarray, dict[str, np.ndarray], int]:
    """Operations (g, 4, 4) of a group; the first point (4, 4) of each position, by letter; its Hall number."""
    group = Group(number)
    operations = np.array([op.affine_matrix for op in group.Wyckoff_positions[0].ops])
    anchors = {wp.letter: wp.ops[0].affine_matrix for wp in group.Wyckoff_positions}
    return operations, anchors, group.hall_number


def _reduction(number: int) -> np.ndarray:
    return PRIMITIVE[space_group(number).symbol[0]]


def _conventional(number: int) -> np.ndarray:
    """(3, 3) F: the cell at k = 0, Å."""
    return HEXAGONAL if 143 <= number <= 194 else np.eye(3)


def _frame(number: int, numbers: np.ndarray, points: np.ndarray) -> Frame:
    """The frame of orbits of a group with atomic numbers (r,) and first points (r, 3), in the conventional cell.

    Raises:
        ValueError: if two orbits have a point in common.
    """
    operations, *_ = _group(number)
    reduction = _reduction(number)
    fractional, atoms = [], []
    for z, point in zip(numbers, points, strict=True):
        images = (operations[:, :3, :3] @ point + operations[:, :3, 3]) @ np.linalg.inv(reduction)
        apart = images[:, None] - images
        same = np.abs(apart - np.rint(apart)).max(axis=-1) < APART
        first = np.flatnonzero(same.argmax(axis=1) == np.arange(len(images)))
        fractional.append(images[first])
        atoms += [z] * len(first)
    _, kept = np.unique(operations[:, :3, :3], axis=0, return_index=True)
    rotations, translations = operations[kept, :3, :3], operations[kept, :3, 3]
    into, back = np.linalg.inv(reduction.T), reduction.T
    return Frame(
        number,
        with_operations(
            reduction @ _conventional(number),
            np.concatenate(fractional),
            np.array(atoms),
            np.rint(into @ rotations @ back),
            translations @ into.T,
        ),
    )


def empty(representation: WyckoffRepresentation) -> tuple[Frame, np.ndarray]:
    """The frame of all crystals with a representation, its atoms anywhere.

    Returns:
        The frame, and (r, 3, 3) the moves of the first atoms with the three parameters of their positions, which run
        from 0 to 1: Cartesian, at k = 0.

    Raises:
        ValueError: if the representation is formally invalid.
    """
    if reason := representation.invalidity():
        raise ValueError(f"formally invalid: {reason}")
    number = representation.space_group
    _, anchors, _ = _group(number)
    anchors = np.array([anchors[letter] for letter in representation.letters])
    numbers = np.array([ELEMENTS.index(symbol) + 1 for symbol in representation.elements])
    rng = np.random.default_rng(0)
    places = (
        GENERIC + rng.random((len(numbers), 3))
    ) % 1  # not the same for two orbits on a position
    points = np.einsum("rab,rb->ra", anchors[:, :3, :3], places) + anchors[:, :3, 3]
    frame = _frame(number, numbers, points)
    return frame, anchors[:, :3, :3].transpose(0, 2, 1) @ _conventional(number)


def coefficients(metric: np.ndarray, free: int) -> np.ndarray:
    """(free,) Coefficients of the first of BASIS in S, where metric (3, 3) is exp(2 S)."""
    values, axes = np.linalg.eigh(metric)
    strain = (axes * np.log(values)) @ axes.T / 2
    return np.tensordot(BASIS[:free], strain, 2)


def of_structure(structure: Structure) -> tuple[Frame, np.ndarray, np.ndarray]:
    """A real crystal in its frame.

    Returns:
        The frame; (n, 3) where its atoms are, in fractions of the primitive cell; (k,) the coefficients of its lattice.

    Raises:
        ValueError: if no symmetry is found, or an inconsistent one.
    """
    cell = structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers
    try:
        found = spglib.get_symmetry_dataset(cell, SYMPREC, ANGLE_TOLERANCE)
        *_, hall = _group(found.number)
        found = spglib.get_symmetry_dataset(cell, SYMPREC, ANGLE_TOLERANCE, hall_number=hall)
    except Exception as error:
        raise ValueError(f"no symmetry found at {SYMPREC} Å: {error}") from error
    number = found.number
    operations, *_ = _group(number)
    points, numbers, taken = [], [], np.empty((0, 3))
    for point, z in zip(found.std_positions, found.std_types, strict=True):
        apart = taken - point
        if not (np.abs(apart - np.rint(apart)).max(axis=-1) < 10 * APART).any():
            images = operations[:, :3, :3] @ point + operations[:, :3, 3]
            taken = np.concatenate([taken, images])
            points.append(point)
            numbers.append(z)
    frame = _frame(number, np.array(numbers), np.array(points))
    shape = np.linalg.inv(_conventional(number))
    metric = shape @ found.std_lattice @ found.std_lattice.T @ shape.T
    k = coefficients(metric, FREE[frame.family])
    fractional = frame.crystal.positions @ np.linalg.inv(frame.crystal.lattice)
    return frame, fractional, k

"""A crystal with its symmetry operations, and the displacements and strains that leave all of them intact."""

from dataclasses import dataclass
from functools import cached_property

import moyopy
import numpy as np

# Å. pyXtal places atoms exactly; a looser search could take a chance likeness for symmetry.
SYMPREC = 1e-3


@dataclass(frozen=True)
class Crystal:
    """A primitive cell and the operations of its space group, as integers.

    Operation g takes atom i, at fractional x, to atom `images[g, i]` in cell `shifts[g, i]`: rotations[g] @ x + t.
    While a crystal moves along its invariants these integers stay, so that nothing need be found again.

    Attributes:
        numbers: (n,) atomic numbers.
        lattice: (3, 3) lattice vectors as rows, Å.
        positions: (n, 3) Cartesian, Å.
        rotations: (g, 3, 3) in the basis of the lattice.
        images: (g, n).
        shifts: (g, n, 3).
    """

    numbers: np.ndarray
    lattice: np.ndarray
    positions: np.ndarray
    rotations: np.ndarray
    images: np.ndarray
    shifts: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def representatives(self) -> np.ndarray:
        """(orbits,) The first atom of each orbit."""
        return np.unique(self.images.min(axis=0))

    @cached_property
    def orbits(self) -> np.ndarray:
        """(n,) Which orbit each atom belongs to."""
        return np.searchsorted(self.representatives, self.images.min(axis=0))

    @cached_property
    def orbit_sizes(self) -> np.ndarray:
        """(orbits,) Atoms of each."""
        return np.bincount(self.orbits)

    @cached_property
    def cartesian(self) -> np.ndarray:
        """(g, 3, 3) The rotations as they act on row vectors in Å: orthogonal, from the right."""
        return np.linalg.inv(self.lattice) @ self.rotations.transpose(0, 2, 1) @ self.lattice


def primitive(
    lattice: np.ndarray, fractional: np.ndarray, numbers: np.ndarray, symprec: float = SYMPREC
) -> Crystal:
    """The primitive cell of a crystal, symmetrised.

    Args:
        lattice: (3, 3) lattice vectors as rows, Å.
        fractional: (n, 3).
        numbers: (n,).
        symprec: Å; how far atoms may be from their symmetric places.

    Raises:
        ValueError: if moyo finds no symmetry, not even the identity, or no consistent one.
    """
    cell = moyopy.Cell(lattice.tolist(), fractional.tolist(), numbers.tolist())
    try:  # a tenth of spglib's time; at so small a tolerance the search always ends
        found = moyopy.MoyoDataset(cell, symprec=symprec)
    except ValueError as error:
        raise ValueError(f"no symmetry found at {symprec} Å: {error}") from error
    cell = found.prim_std_cell
    group = moyopy.operations_from_number(found.number, primitive=True)
    parts = cell.basis, cell.positions, cell.numbers, group.rotations, group.translations
    return with_operations(*map(np.array, parts), symprec)


def with_operations(
    lattice: np.ndarray,
    fractional: np.ndarray,
    numbers: np.ndarray,
    rotations: np.ndarray,
    translations: np.ndarray,
    symprec: float = SYMPREC,
) -> Crystal:
    """A primitive cell with operations that it has, its atoms moved to where these agree they are.

    Args:
        lattice, fractional, numbers, symprec: as in `primitive`.
        rotations, translations: (g, 3, 3) and (g, 3), in the basis of the lattice.

    Raises:
        ValueError: if an operation does not take atoms to atoms.
    """
    rotations = rotations.astype(int)
    moved = fractional @ rotations.transpose(0, 2, 1) + translations[:, None]  # (g, n, 3)
    apart = moved[:, :, None] - fractional  # (g, n, n, 3)
    distance = np.linalg.norm((apart - np.rint(apart)) @ lattice, axis=-1)
    distance[:, numbers[:, None] != numbers] = np.inf
    images = distance.argmin(axis=-1)
    if (np.sort(images, axis=1) != np.arange(len(numbers))).any():
        raise ValueError(f"no consistent symmetry at {symprec} Å")
    shifts = np.rint(moved - fractional[images]).astype(int)
    symmetric = np.zeros_like(fractional)
    np.add.at(symmetric, images, moved - shifts)
    positions = symmetric / len(rotations) @ lattice
    return Crystal(numbers, lattice, positions, rotations, images, shifts)


def without_symmetry(crystal: Crystal) -> Crystal:
    """The same cell with no operation but the identity."""
    n = len(crystal)
    nothing = np.eye(3, dtype=int)[None], np.arange(n)[None], np.zeros((1, n, 3), int)
    return Crystal(crystal.numbers, crystal.lattice, crystal.positions, *nothing)


def displacements(crystal: Crystal) -> np.ndarray:
    """Orthonormal basis of the displacements that every operation leaves as they are, but for uniform ones.

    Returns:
        (m, n, 3), Cartesian.
    """
    rotations, found = crystal.cartesian, []
    for atom in crystal.representatives:
        stabiliser = rotations[crystal.images[:, atom] == atom]
        for direction in _fixed(stabiliser.mean(axis=0)):
            field = np.zeros((len(crystal), 3))
            field[crystal.images[:, atom]] = (
                direction @ rotations
            )  # the same at any g that leads there
            found.append(field / np.linalg.norm(field))
    basis = np.array(found).reshape(-1, len(crystal), 3)
    uniform = basis.sum(axis=1) @ _fixed(rotations.mean(axis=0)).T  # (m, translations)
    complement = (
        np.linalg.svd(uniform)[0][:, uniform.shape[1] :] if uniform.size else np.eye(len(basis))
    )
    return np.einsum("mk,mia->kia", complement, basis)


def strains(crystal: Crystal) -> np.ndarray:
    """Orthonormal basis of the symmetric strains that every rotation leaves as they are.

    Returns:
        (k, 3, 3), Cartesian; 1 ≤ k ≤ 6.
    """
    w = crystal.cartesian
    average = np.einsum("gai,gbj->aibj", w, w) / len(w)  # of wᵀ e w: e_ab -> w_ai e_ab w_bj
    average = (average + average.transpose(2, 1, 0, 3)) / 2  # of e and its transpose
    return _fixed(average.transpose(0, 2, 1, 3).reshape(9, 9)).reshape(-1, 3, 3)


def _fixed(projector: np.ndarray) -> np.ndarray:
    """Orthonormal rows that span what a projector leaves as it is."""
    values, vectors = np.linalg.eigh((projector + projector.T) / 2)
    return vectors[:, values > 0.5].T

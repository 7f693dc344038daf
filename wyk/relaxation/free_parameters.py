"""The free numbers of a crystal: invariant displacements and strains, and how energy changes along them."""

from dataclasses import replace

import numpy as np
from scipy.linalg import expm

from wyk.relaxation.potential import Prediction
from wyk.relaxation.symmetric_crystal import Crystal, displacements, strains


class Coordinates:
    """Coordinates q of all crystals that a crystal can become without losing a symmetry operation.

    With u the displacement and e the strain that q stands for, positions are (start + u) exp(e) and lattice vectors
    start exp(e), as in ASE's FrechetCellFilter. Strains are scaled so that all of q is in Å, of the order of what the
    atoms together move: by √n times the cube root of the volume per atom.
    """

    def __init__(self, crystal: Crystal):
        self.crystal = crystal
        self.displacements = displacements(crystal)  # (m, n, 3)
        self.strains = strains(crystal)  # (k, 3, 3)
        n = len(crystal)
        self.scale = n**0.5 * (abs(np.linalg.det(crystal.lattice)) / n) ** (1 / 3)

    def __len__(self) -> int:
        return len(self.displacements) + len(self.strains)

    def _parts(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moves, stretch = np.split(q, [len(self.displacements)])
        return np.tensordot(moves, self.displacements, 1), np.tensordot(
            stretch / self.scale, self.strains, 1
        )

    def place(self, q: np.ndarray) -> Crystal:
        """The crystal at q."""
        moved, strain = self._parts(q)
        stretched = expm(strain)
        start = self.crystal
        return replace(
            start,
            lattice=start.lattice @ stretched,
            positions=(start.positions + moved) @ stretched,
        )

    def gradient(self, q: np.ndarray, predicted: Prediction) -> np.ndarray:
        """(m + k,) Derivatives of the energy at q, eV/Å."""
        _, strain = self._parts(q)
        values, axes = np.linalg.eigh(strain)
        stretched = axes * np.exp(values) @ axes.T
        by_stretch = np.linalg.solve(stretched, predicted.virial)
        # The derivative of a matrix exponential in its eigenbasis (Daleckii and Krein):
        apart = values[:, None] - values
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = (np.exp(values)[:, None] - np.exp(values)) / apart
        slope = np.where(np.abs(apart) < 1e-9, np.exp(values)[:, None], slope)
        by_strain = axes @ (slope * (axes.T @ by_stretch @ axes)) @ axes.T
        return np.concatenate(
            [
                np.tensordot(self.displacements, predicted.gradient @ stretched, 2),
                np.tensordot(self.strains, by_strain, 2) / self.scale,
            ]
        )

    def forces(self, predicted: Prediction) -> np.ndarray:
        """(n + 3, 3) Forces on atoms, and on the cell, as a new FrechetCellFilter has them, eV/Å."""
        along = np.tensordot(self.displacements, predicted.gradient, 2)
        stretch = np.tensordot(self.strains, predicted.virial, 2)
        atoms = np.tensordot(along, self.displacements, 1)
        return -np.concatenate([atoms, np.tensordot(stretch, self.strains, 1) / len(self.crystal)])

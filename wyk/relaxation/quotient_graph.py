"""CHGNet's graph of a crystal, one node, bond and angle for each orbit of them under the space group.

What the network computes on a bond depends on nothing that a symmetry operation changes, so all bonds of an orbit
carry the same features. One stands for all, with a multiplicity wherever the full graph would add them up. Two bonds
belong together if an operation takes one to the other, never because they are of equal length: a chance likeness of
two lengths or angles is no symmetry, and their gradients differ.
"""

from dataclasses import dataclass, replace

import numpy as np
from pymatgen.optimization.neighbors import find_points_in_spheres

from wyk.relaxation.symmetric_crystal import Crystal

CUTOFF = 6.0  # Å, bonds
ANGLE_CUTOFF = 3.0  # Å, both bonds of an angle
MARGIN = 1.1  # orbits are found this much further out, and serve until the crystal has moved so far


@dataclass(frozen=True)
class Orbits:
    """The orbits of bonds and angles of a crystal, some beyond the cutoffs.

    Orbits are those of directed bonds, from a representative atom to any other; an undirected one has one or two.

    Attributes:
        crystal: as it was when they were found.
        nodes: (n_nodes,) atomic numbers, one for each orbit of atoms.
        sizes: (n_nodes,) atoms in each.
        centre, neighbour: (e,) atoms at the two ends of the bonds that stand for an orbit or occur in an angle.
        cell: (e, 3) lattice vector to the cell of the neighbour.
        ends: (d, 2) nodes of each orbit of directed bonds.
        times: (d,) bonds of the orbit at one atom.
        undirected: (d,) the undirected orbit it is part of.
        first: (u,) for each of those, the bond that stands for it: an index up to e.
        bonds: (u,) bonds of it in a primitive cell.
        angle: (a, 2) bonds that stand for each orbit of ordered angles.
        angle_bonds: (a, 2) undirected orbits of the two.
        angle_node: (a,) node in the middle.
        angle_times: (a,) angles of the orbit at one undirected bond of the first kind.
    """

    crystal: Crystal
    nodes: np.ndarray
    sizes: np.ndarray
    centre: np.ndarray
    neighbour: np.ndarray
    cell: np.ndarray
    ends: np.ndarray
    times: np.ndarray
    undirected: np.ndarray
    first: np.ndarray
    bonds: np.ndarray
    angle: np.ndarray
    angle_bonds: np.ndarray
    angle_node: np.ndarray
    angle_times: np.ndarray

    def vectors(self, moved: Crystal) -> np.ndarray:
        """(e, 3) The bonds in Å, from centre to neighbour, after the crystal has moved along its invariants."""
        ends = moved.positions[self.neighbour] - moved.positions[self.centre]
        return ends + self.cell @ moved.lattice

    def within(self, moved: Crystal) -> "Orbits":
        """Those of bonds and angles that are within the cutoffs, after the crystal has moved."""
        length = np.linalg.norm(self.vectors(moved)[self.first], axis=1)
        near, short = length <= CUTOFF, length < ANGLE_CUTOFF
        new = np.cumsum(near) - 1
        bonds, angles = near[self.undirected], short[self.angle_bonds].all(axis=1)
        return replace(
            self,
            ends=self.ends[bonds],
            times=self.times[bonds],
            undirected=new[self.undirected[bonds]],
            first=self.first[near],
            bonds=self.bonds[near],
            angle=self.angle[angles],
            angle_bonds=new[self.angle_bonds[angles]],
            angle_node=self.angle_node[angles],
            angle_times=self.angle_times[angles],
        )

    def cover(self, moved: Crystal) -> bool:
        """Whether all bonds and angles within the cutoffs are still among these, after the crystal has moved.

        A bond r has become r F + d, no shorter than σ |r| - |d|, with σ the smallest singular value of F.
        """
        strain = np.linalg.solve(self.crystal.lattice, moved.lattice)
        shrunk = np.linalg.svd(strain, compute_uv=False)[-1]
        shifts = moved.positions - self.crystal.positions @ strain
        apart = 2 * np.linalg.norm(shifts - shifts.mean(axis=0), axis=1).max()
        return ANGLE_CUTOFF + apart < shrunk * MARGIN * ANGLE_CUTOFF


def orbits(crystal: Crystal) -> Orbits:
    """Find the orbits of bonds and angles."""
    reach = MARGIN * CUTOFF
    centre, neighbour, cell, length = _bonds(crystal, reach + 1e-4)
    codes = _codes(crystal, centre, neighbour, cell)
    back = _codes(crystal, neighbour, centre, -cell).min(axis=0)
    names = codes.min(axis=0)
    names, first, of_bond, times = np.unique(
        names, return_index=True, return_inverse=True, return_counts=True
    )
    # Bonds just beyond the reach were listed, so that no orbit is torn by rounding:
    near = length[first] <= reach
    _, undirected = np.unique(np.minimum(names, back[first])[near], return_inverse=True)
    kept = first[near]
    new = np.cumsum(near) - 1
    ends = crystal.orbits[np.column_stack([centre[kept], neighbour[kept]])]
    times = times[near]
    undirected_sizes = np.bincount(undirected, times * crystal.orbit_sizes[ends[:, 0]]) / 2
    _, first_directed = np.unique(undirected, return_index=True)

    angle, angle_times = _angles(crystal, centre, codes, length[first][of_bond])
    angle_bonds = undirected[new[of_bond[angle]]]
    angle_node = crystal.orbits[centre[angle[:, 0]]]
    angle_times = (
        angle_times * crystal.orbit_sizes[angle_node] / undirected_sizes[angle_bonds[:, 0]]
    )

    first = kept[first_directed]
    used, index = np.unique(np.concatenate([first, angle.ravel()]), return_inverse=True)
    first, angle = index[: len(first)], index[len(first) :].reshape(-1, 2)
    return Orbits(
        crystal=crystal,
        nodes=crystal.numbers[crystal.representatives],
        sizes=crystal.orbit_sizes,
        centre=centre[used],
        neighbour=neighbour[used],
        cell=cell[used],
        ends=ends,
        times=times,
        undirected=undirected,
        first=first,
        bonds=undirected_sizes,
        angle=angle,
        angle_bonds=angle_bonds,
        angle_node=angle_node,
        angle_times=angle_times,
    )


def bonds(crystal: Crystal, reach: float) -> tuple[np.ndarray, ...]:
    """One bond for each orbit of directed bonds no longer than reach, Å.

    Returns:
        centre (e,), a representative; neighbour (e,); cell (e, 3) of the neighbour; length (e,); and times (e,): bonds
        of the orbit at the centre.
    """
    centre, neighbour, cell, length = _bonds(crystal, reach)
    names = _codes(crystal, centre, neighbour, cell).min(axis=0)
    _, first, times = np.unique(names, return_index=True, return_counts=True)
    return centre[first], neighbour[first], cell[first], length[first], times


def _bonds(crystal: Crystal, reach: float) -> tuple[np.ndarray, ...]:
    """All bonds of the representative atoms: centre, neighbour, cell, length."""
    centre, neighbour, cell, length = find_points_in_spheres(
        np.ascontiguousarray(crystal.positions),
        np.ascontiguousarray(crystal.positions[crystal.representatives]),
        r=reach,
        pbc=np.ones(3, np.int64),
        lattice=np.ascontiguousarray(crystal.lattice),
        tol=1e-8,
    )
    centre = crystal.representatives[centre]
    other = (centre != neighbour) | (length > 1e-8)
    return centre[other], neighbour[other], np.rint(cell[other]).astype(int), length[other]


def _codes(crystal: Crystal, centre, neighbour, cell) -> np.ndarray:
    """(g, bonds) A number for the image of each bond under each operation; equal for equal bonds only."""
    image = np.einsum("gab,eb->gea", crystal.rotations, cell)
    image += crystal.shifts[:, neighbour] - crystal.shifts[:, centre]
    code = crystal.images[:, centre] * len(crystal) + crystal.images[:, neighbour]
    for axis in range(3):
        code = code * 4096 + image[:, :, axis] + 2048
    return code


def _angles(crystal: Crystal, centre, codes, length) -> tuple[np.ndarray, np.ndarray]:
    """Orbits of ordered pairs of short bonds at one atom: (a, 2) bonds that stand for each, (a,) pairs in it."""
    short = np.flatnonzero(length < MARGIN * ANGLE_CUTOFF)
    identity = (crystal.rotations == np.eye(3)).all(axis=(1, 2)).argmax()
    angles, times = [np.empty((0, 2), int)], [np.empty(0, int)]
    for atom in crystal.representatives:
        here = short[centre[short] == atom]
        own = codes[identity, here]
        order = np.argsort(own)
        stabiliser = codes[crystal.images[:, atom] == atom][:, here]
        moved = order[
            np.searchsorted(own, stabiliser, sorter=order)
        ]  # (s, k) permutations of the k bonds
        pairs = (moved[:, :, None] * len(here) + moved[:, None]).min(axis=0)
        pairs = pairs[~np.eye(len(here), dtype=bool)]  # no angle of a bond with itself
        pairs, count = np.unique(pairs, return_counts=True)
        angles.append(
            here[np.column_stack(np.divmod(pairs, len(here)))] if len(here) else angles[0]
        )
        times.append(count)
    return np.concatenate(angles), np.concatenate(times)

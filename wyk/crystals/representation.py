"""A crystal as a space group and a set of occupied Wyckoff positions (paper, §2 and §3.1)."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import gcd

import numpy as np
import spglib
from pymatgen.core import Element, Structure
from scipy.spatial import cKDTree

from wyk.common import ELEMENTS
from wyk.crystals.spacegroups import WyckoffPosition, space_group
from wyk.crystals.symmetry import symmetry
from wyk.crystals.symmetry_fit import SYMPREC

CLOSEST = 0.5  # Å; nearer than this two atoms are one, or an error
LONGEST = 300  # Å; on vaster cells the symmetry search can take all time and memory there is
MOST_ATOMS = 10_000  # in a cell; of more the symmetry search takes minutes


@dataclass(frozen=True)
class WyckoffRepresentation:
    """A space group and the occupied Wyckoff positions; a set, so the order of the sites carries no meaning.

    Attributes:
        space_group: number, 1 to 230.
        elements: symbol of the element on each site.
        letters: Wyckoff letter of each site, parallel to `elements`; a letter the group does not have stands
            for a (site symmetry, enumeration) pair that the group does not have, and `invalidity` says so.

    Raises:
        ValueError: if the two are not equally long.
    """

    space_group: int
    elements: tuple[str, ...]
    letters: tuple[str, ...]

    def __post_init__(self):
        if len(self.elements) != len(self.letters):
            raise ValueError(f"{len(self.elements)} elements on {len(self.letters)} sites")

    @cached_property
    def positions(self) -> tuple[WyckoffPosition, ...]:
        """The Wyckoff position of each site."""
        group = space_group(self.space_group)
        return tuple(group.position(letter) for letter in self.letters)

    @property
    def site_symmetries(self) -> tuple[str, ...]:
        """Site-symmetry symbol of each site."""
        return tuple(position.site_symmetry for position in self.positions)

    @property
    def enumerations(self) -> tuple[int, ...]:
        """Enumeration of each site within its site symmetry."""
        return tuple(position.enumeration for position in self.positions)

    @property
    def multiplicities(self) -> tuple[int, ...]:
        """Atoms of each site in the conventional cell."""
        return tuple(position.multiplicity for position in self.positions)

    @property
    def dof(self) -> tuple[int, ...]:
        """Free coordinates of each site."""
        return tuple(position.dof for position in self.positions)

    @property
    def degrees_of_freedom(self) -> int:
        """Free coordinates of all sites; the lattice's are not counted (paper, Appendix B)."""
        return sum(self.dof)

    @property
    def n_atoms(self) -> int:
        """Atoms in the conventional cell."""
        return sum(self.multiplicities)

    @property
    def composition(self) -> dict[str, int]:
        """Atoms of each element in the conventional cell, in alphabetical order."""
        counts = Counter()
        for element, multiplicity in zip(self.elements, self.multiplicities, strict=True):
            counts[element] += multiplicity
        return dict(sorted(counts.items()))

    @property
    def formula(self) -> str:
        """Reduced formula, elements in alphabetical order."""
        composition = self.composition
        divisor = gcd(*composition.values())
        return "".join(
            f"{element}{count // divisor if count > divisor else ''}"
            for element, count in composition.items()
        )

    def variants(self) -> list["WyckoffRepresentation"]:
        """This crystal under every choice of coset representative of the affine normalizer (paper, §3.3).

        Each distinct one once, its sites sorted by (element, letter).
        """
        return [
            WyckoffRepresentation(self.space_group, *zip(*sites, strict=True))
            for sites in sorted(self._variant_sites())
        ]

    def fingerprint(self) -> str:
        """A name that all normalizer variants, in any order of sites, share, and nothing else does."""
        sites = min(self._variant_sites())
        return f"{self.space_group}: " + ", ".join(" ".join(site) for site in sites)

    def _variant_sites(self) -> set[tuple[tuple[str, str], ...]]:
        group = space_group(self.space_group)
        for letter in self.letters:
            group.position(letter)  # a letter outside the group is an error, not a variant
        occupied = [group.letters.index(letter) for letter in self.letters]
        images = {tuple(variant[i] for i in occupied) for variant in group.variants}
        return {tuple(sorted(zip(self.elements, image, strict=True))) for image in images}

    def invalidity(self) -> str | None:
        """Why the representation is formally invalid (paper, Appendix B), None if it is valid."""
        if not 1 <= self.space_group <= 230:
            return f"there is no space group {self.space_group}"
        if not self.letters:
            return "no occupied Wyckoff position"
        for element in self.elements:
            if element not in ELEMENTS:
                return f"{element!r} is not an element"
        letters = space_group(self.space_group).letters
        for letter in self.letters:
            if len(letter) != 1 or letter not in letters:
                return f"space group {self.space_group} has no Wyckoff position {letter!r}"
        for position, count in Counter(self.positions).items():
            if position.dof == 0 and count > 1:
                label = f"{position.multiplicity}{position.letter}"
                return f"{count} sites on {label}, which is a fixed set of points"
        return None


def from_cell(
    lattice: np.ndarray, fractional: np.ndarray, numbers: np.ndarray
) -> WyckoffRepresentation:
    """The representation of a crystal given by any of its cells.

    Its space group is that of `symmetry`, at 0.1 Å and 5° as in the paper.

    Args:
        lattice: (3, 3) lattice vectors as rows, Å.
        fractional: (n, 3) fractional coordinates.
        numbers: (n,) atomic numbers, 1 to 118.

    Raises:
        ValueError: for an empty, degenerate or non-finite cell, unknown elements, overlapping atoms, or when
            no consistent symmetry is found.
    """
    lattice, fractional = np.asarray(lattice, float), np.asarray(fractional, float)
    numbers = np.asarray(numbers, int)
    check_cell(lattice, fractional, numbers)
    found = symmetry((lattice, fractional - np.floor(fractional), numbers))
    elements = tuple(ELEMENTS[found.cell[2][i] - 1] for i in found.first)
    letters = tuple(found.letters[i] for i in found.first)
    representation = WyckoffRepresentation(found.number, elements, letters)
    if reason := representation.invalidity():
        raise ValueError(f"no consistent symmetry at {SYMPREC} Å: {reason}")
    return representation


def check_cell(lattice: np.ndarray, fractional: np.ndarray, numbers: np.ndarray) -> None:
    """Refuse what is no crystal; arguments as in `from_cell`.

    Raises:
        ValueError: for an empty, degenerate or non-finite cell, unknown elements, or overlapping atoms.
    """
    if len(numbers) == 0:
        raise ValueError("no atoms in the cell")
    if len(numbers) > MOST_ATOMS:
        raise ValueError(f"{len(numbers):,} atoms in the cell; up to {MOST_ATOMS:,} can be read")
    if not (np.isfinite(lattice).all() and np.isfinite(fractional).all()):
        raise ValueError("NaN or infinite numbers in cell or coordinates")
    if (longest := np.linalg.norm(lattice, axis=1).max()) > LONGEST:
        raise ValueError(f"a lattice vector of {longest:.3g} Å; up to {LONGEST} Å can be read")
    if abs(np.linalg.det(lattice)) < 1e-3 * len(numbers):
        raise ValueError(f"the cell has almost no volume ({abs(np.linalg.det(lattice)):.2g} Å³)")
    if numbers.min() < 1 or numbers.max() > len(ELEMENTS):
        raise ValueError("an atom that is no element")
    heights = face_distances(lattice)
    if heights.min() < CLOSEST:  # thin, or a sheared basis: the shortest one tells
        reduced = spglib.delaunay_reduce(lattice, eps=1e-5)
        if reduced is not None:
            fractional = fractional @ lattice @ np.linalg.inv(reduced)
            lattice, heights = reduced, face_distances(reduced)
    if heights.min() < CLOSEST:
        raise ValueError(f"a cell {heights.min():.2f} Å thin: atoms overlap their own images")
    inside = fractional - np.floor(fractional)
    atoms, points = np.arange(len(numbers)), inside
    for axis in range(3):  # copies of what stands close to the lower faces, beyond the upper ones
        near = points[:, axis] < CLOSEST / heights[axis]
        atoms = np.concatenate([atoms, atoms[near]])
        points = np.concatenate([points, points[near] + np.eye(3)[axis]])
    places = points @ lattice
    # the nearest other one of each: of all pairs there could be too many to hold
    apart, nearest = cKDTree(places).query(places, 2, distance_upper_bound=CLOSEST)
    if len(close := np.flatnonzero(np.isfinite(apart[:, 1]))):
        i, j = nearest[close[0]]
        names = [f"{ELEMENTS[numbers[k] - 1]} (atom {k + 1})" for k in sorted(atoms[[i, j]])]
        apart = np.linalg.norm(places[i] - places[j])
        raise ValueError(f"{' and '.join(names)} overlap: {apart:.2f} Å apart")


def face_distances(lattice: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of a cell, Å."""
    normals = np.linalg.norm(np.cross(lattice[[1, 2, 0]], lattice[[2, 0, 1]]), axis=1)
    return abs(np.linalg.det(lattice)) / normals


def from_structure(structure: Structure) -> WyckoffRepresentation:
    """The representation of a pymatgen structure.

    Raises:
        ValueError: as `from_cell`, and for partial occupancy or species that are no elements.
    """
    for i, site in enumerate(structure):
        if not site.is_ordered:
            raise ValueError(
                f"partial occupancy on site {i + 1} ({site.species_string}); ordered structures only"
            )
        if not isinstance(getattr(site.specie, "element", site.specie), Element):
            raise ValueError(f"{site.species_string} on site {i + 1} is no element")
        name = getattr(site.specie, "element", site.specie).name  # its symbol is H for D as well
        if name not in ELEMENTS:
            raise ValueError(f"{name} on site {i + 1}: write isotopes as their element")
    return from_cell(structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)

"""The atoms of one unit cell, as every format's reader hands them on."""

from dataclasses import dataclass
from math import hypot, inf

import numpy as np
import spglib

from wyk.common import ELEMENTS
from wyk.crystals import face_distances

FULL = 0.0015  # an occupancy this close to 1 is 1: 0.999 is one, rounded
SHEARED = 1.0  # Å; a cell thinner than this has a better basis
NUMBERS = {symbol: z for z, symbol in enumerate(ELEMENTS, start=1)}


@dataclass(frozen=True)
class Cell:
    """An ordered crystal: lattice (3, 3) vectors as rows, Å; fractional (n, 3); atomic numbers (n,)."""

    lattice: np.ndarray
    fractional: np.ndarray
    numbers: np.ndarray


def check_site(label: str, element: str, occupancy: float = 1) -> None:
    """Refuse a site that is not one whole atom of an element.

    Raises:
        ValueError: deuterium, an unknown element or partial occupancy.
    """
    if element in ("D", "T"):
        raise ValueError(f"site {label} is {element}, an isotope; write it as H")
    if element not in NUMBERS:
        raise ValueError(f"unknown element {element!r} on site {label}")
    if not abs(occupancy - 1) < FULL:
        raise ValueError(
            f"partial occupancy on site {label} ({occupancy:g}); ordered structures only"
        )


def cell(lattice: object, coordinates: object, symbols: list[str], cartesian: bool = False) -> Cell:
    """A cell from what a file lists.

    Args:
        lattice: 3 × 3 numbers, vectors as rows, Å.
        coordinates: n × 3 numbers, fractional or, if `cartesian`, in Å.
        symbols: n elements.

    Raises:
        ValueError: no lattice, as many coordinates as atoms, or unknown elements.
    """
    vectors = np.array(lattice, float).reshape(3, 3)
    places = np.array(coordinates, float).reshape(-1, 3)
    if len(places) != len(symbols):
        raise ValueError(f"{len(places)} coordinates for {len(symbols)} atoms")
    for i, symbol in enumerate(symbols):
        check_site(f"{symbol}{i}", symbol)
    if cartesian:
        if not np.isfinite(vectors).all() or abs(np.linalg.det(vectors)) < 1e-9:
            raise ValueError("the cell has no volume")
        places = places @ np.linalg.inv(vectors)
    return Cell(vectors, places, np.array([NUMBERS[symbol] for symbol in symbols], int))


def shortest_basis(lattice: np.ndarray) -> np.ndarray | None:
    """Whole numbers (3, 3) that, times the lattice, give a basis of short vectors; None if none is found."""
    reduced = spglib.delaunay_reduce(lattice, eps=1e-5)
    if reduced is None:
        return None
    change = np.rint(reduced @ np.linalg.inv(lattice))
    right = np.allclose(change @ lattice, reduced, atol=1e-3)
    return change if right and abs(np.linalg.det(change)).round() == 1 else None


def is_sheared(lattice: np.ndarray) -> bool:
    """Whether a cell is thin although its volume is not."""
    a, b, c = lattice.tolist()
    volume = abs(
        a[0] * (b[1] * c[2] - b[2] * c[1])
        + a[1] * (b[2] * c[0] - b[0] * c[2])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )
    lengths = sorted((hypot(*a), hypot(*b), hypot(*c)))
    # no face is larger than the product of its edges
    if not 1 < volume < inf or volume > SHEARED * lengths[1] * lengths[2]:
        return False
    return bool(face_distances(lattice).min() < SHEARED)


def unsheared(crystal: Cell) -> Cell:
    """The same crystal, in a basis of short vectors if its own is sheared."""
    change = shortest_basis(crystal.lattice) if is_sheared(crystal.lattice) else None
    if change is None:
        return crystal
    return Cell(
        change @ crystal.lattice, crystal.fractional @ np.linalg.inv(change), crystal.numbers
    )

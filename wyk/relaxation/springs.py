"""What real crystals tell before the potential is asked: distances, volumes, a start without clashes, stiffness.

`python -m wyk.relaxation.measured_springs CRYSTALS...` rebuilds the shipped table.
"""

import gzip
import json
from functools import cache
from importlib.resources import files

import numpy as np
from ase.data import chemical_symbols

from wyk.relaxation.free_parameters import Coordinates
from wyk.relaxation.quotient_graph import Orbits, orbits
from wyk.relaxation.symmetric_crystal import Crystal

TABLE = "springs.json.gz"
# Chosen on draws of val rows for few calls and low energies:
CONTACT = 1.05  # soft spheres touch at this part of the pair's distance
VOLUME = 1.0  # how much the volume counts against contacts
ITERATIONS = 60
STIFFNESS, DECAY = 2.0, 6.0  # eV/Å² at the pair's distance, and the power by which it falls off
FLOOR = 0.3  # eV/Å², added in all directions


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """(119, 119) distances in Å and (119,) volumes in Å³ by atomic number."""
    table = json.loads(gzip.decompress(files("wyk.relaxation").joinpath(TABLE).read_bytes()))
    radii = np.full(119, np.mean(list(table["radii"].values())))
    volumes = np.full(119, np.mean(list(table["volumes"].values())))
    for values, known in ((radii, table["radii"]), (volumes, table["volumes"])):
        for symbol, value in known.items():
            values[chemical_symbols.index(symbol)] = value
    distances = np.maximum(radii[:, None] + radii, 1.0)
    for pair, value in table["distances"].items():
        i, j = map(chemical_symbols.index, pair.split("-"))
        distances[i, j] = distances[j, i] = value
    return distances, volumes


def loosen(crystal: Crystal) -> Crystal:
    """The crystal moved along its invariants until atoms do not clash and its volume is usual.

    Least squares by Levenberg and Marquardt: each bond shorter than CONTACT counts by how much of it is missing, the
    volume by the logarithm of its ratio to the sum of the elements' volumes.
    """
    coordinates, found, n = Coordinates(crystal), orbits(crystal), len(crystal)
    usual = usual_volume(crystal)
    stretch = np.zeros(len(coordinates))
    stretch[len(coordinates.displacements) :] = np.trace(coordinates.strains, axis1=1, axis2=2)
    stretch *= np.sqrt(VOLUME * n) / coordinates.scale
    q, moved, damping, least = np.zeros(len(coordinates)), crystal, 0.01, np.inf
    for _ in range(ITERATIONS):
        if not found.cover(moved):
            found = orbits(moved)
        length, slope = _lengths(coordinates, found, moved)
        contact = CONTACT * usual_distances(found)
        close = length < contact
        weight = np.sqrt(found.bonds[close]) / contact[close]
        too_large = np.sqrt(VOLUME * n) * np.log(abs(np.linalg.det(moved.lattice)) / usual)
        residual = np.append(weight * (contact - length)[close], too_large)
        badness = residual @ residual
        if badness < least:
            best = q, moved
            if least - badness < 1e-4 * n:
                break
            jacobian = np.vstack([-weight[:, None] * slope[close], stretch])
            gradient, hessian = jacobian.T @ residual, jacobian.T @ jacobian
            least, damping = badness, damping / 3
        else:
            damping *= 4
        step = -np.linalg.solve(hessian + damping * np.eye(len(q)), gradient)
        step *= min(1, 0.5 * n**0.5 / max(np.linalg.norm(step), 1e-9))
        q = best[0] + step
        moved = coordinates.place(q)
    return best[1]


def stiffness(coordinates: Coordinates, found: Orbits, moved: Crystal) -> np.ndarray:
    """(m, m) A guess of the second derivatives of the energy, eV/Å²: a spring on each bond."""
    length, slope = _lengths(coordinates, found, moved)
    spring = STIFFNESS * (usual_distances(found) / length) ** DECAY
    return (slope * (spring * found.bonds)[:, None]).T @ slope + FLOOR * np.eye(len(coordinates))


def usual_volume(crystal: Crystal) -> float:
    """Volume of a real cell with these atoms, Å³."""
    return _table()[1][crystal.numbers].sum()


def usual_distances(found: Orbits) -> np.ndarray:
    """(u,) How close the atoms of each orbit of bonds come in real crystals, Å."""
    return closest(found.crystal, found.centre[found.first], found.neighbour[found.first])


def closest(crystal: Crystal, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(e,) How close atoms (e,) and (e,) of a crystal would come in a real one, by their elements, Å."""
    return _table()[0][crystal.numbers[one], crystal.numbers[other]]


def _lengths(
    coordinates: Coordinates, found: Orbits, moved: Crystal
) -> tuple[np.ndarray, np.ndarray]:
    """Length of each orbit of bonds (u,), and its derivatives (u, m) by the coordinates, Å and 1."""
    vectors = found.vectors(moved)[found.first]
    length = np.linalg.norm(vectors, axis=1)
    direction = vectors / length[:, None]
    u = coordinates.displacements
    ends = u[:, found.neighbour[found.first]] - u[:, found.centre[found.first]]
    shifted = np.einsum("mea,ea->em", ends, direction)
    strained = np.einsum(
        "kab,ea,eb->ek", coordinates.strains / coordinates.scale, vectors, direction
    )
    return length, np.hstack([shifted, strained])

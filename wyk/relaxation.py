"""CHGNet energies, and relaxation in Wyckoff parameters (paper, §3.4 and Appendix E)."""

import math
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress
from pymatgen.core import Structure

from wyk import springs
from wyk.coordinates import Coordinates
from wyk.invariants import Crystal, crystal
from wyk.potential import Prediction, predict
from wyk.quotient import Orbits, orbits
from wyk.representation import check_cell

POTENTIAL = "CHGNet 0.3.0"  # trained on MP2020-corrected energies: no correction is added
UNTRAINED = frozenset({"Po", "At", "Rn", "Fr", "Ra"})  # of the first 94, not in its training set
FMAX = 0.1  # eV/Å, ASE's criterion over atoms and cell
MAX_CALLS = 60
IN_FLIGHT = 4
# Å³ per atom; diamond has 5.7, caesium 116. Outside, a cell has collapsed or blown up.
VOLUMES = (3.0, 200.0)
FIRST, LONGEST = 0.25, 0.5  # Å per √atom: trust radii
PAIRS = 30

@dataclass(frozen=True)
class Relaxed:
    structure: Structure | None
    energy_per_atom: float
    calls: int
    converged: bool
    reason: str | None


Ask = tuple[Orbits, np.ndarray, np.ndarray]


def relax(structure: Structure, max_calls: int = MAX_CALLS) -> Relaxed:
    return relax_all([structure], max_calls)[0]


def relax_all(structures: Sequence[Structure], max_calls: int = MAX_CALLS, in_flight: int = IN_FLIGHT) -> list[Relaxed]:
    results: dict[int, Relaxed] = {}
    waiting = iter(enumerate(structures))
    flying: dict[int, tuple[Generator, Ask]] = {}
    while True:
        while len(flying) < in_flight:
            i, structure = next(waiting, (None, None))
            if i is None:
                break
            descent = _descend(structure, max_calls)
            try:
                flying[i] = (descent, next(descent))
            except StopIteration as end:
                results[i] = end.value
            except Exception as error:
                results[i] = Relaxed(None, math.nan, 0, False, str(error) or type(error).__name__)
        if not flying:
            return [results[i] for i in range(len(structures))]
        answers = predict([ask for _, ask in flying.values()])
        for (i, (descent, _)), answer in zip(list(flying.items()), answers, strict=True):
            try:
                flying[i] = (descent, descent.throw(answer) if isinstance(answer, ValueError) else descent.send(answer))
            except StopIteration as end:
                results[i] = end.value
                del flying[i]
            except Exception as error:
                results[i] = Relaxed(None, math.nan, 0, False, str(error) or type(error).__name__)
                del flying[i]


def _descend(structure: Structure, max_calls: int) -> Generator[Ask, Prediction, Relaxed]:
    start = primitive(structure)
    coordinates = Coordinates(start)
    found = orbits(start)
    q = springs.loosen(coordinates, found)
    start = start.at(*coordinates.place(q))
    coordinates = Coordinates(start)
    found = orbits(start)
    q = np.zeros(len(coordinates))
    n = len(start)
    radius = FIRST * n**0.5
    lattice, positions = coordinates.place(q)
    now = yield found, lattice, positions
    calls = 1
    gradient = coordinates.gradient(q, now)
    pairs = []
    while True:
        converged = np.linalg.norm(coordinates.forces(now), axis=1).max() < FMAX
        if converged or calls >= max_calls:
            break
        hessian = springs.stiffness(found, coordinates, lattice, positions)
        for s, y in pairs[-PAIRS:]:
            hessian = _update(hessian, s, y)
        step, gain = _step(gradient, hessian, radius)
        if np.linalg.norm(step) < 1e-6:
            break
        new_lattice, new_positions = coordinates.place(q + step)
        volume = abs(np.linalg.det(new_lattice)) / n
        if not VOLUMES[0] < volume < VOLUMES[1]:
            raise ValueError(f"the cell has {volume:.3g} Å³ per atom, outside {VOLUMES}")
        if not found.cover(new_lattice, new_positions):
            new_found = orbits(start.at(new_lattice, new_positions))
        else:
            new_found = found
        new = yield new_found, new_lattice, new_positions
        calls += 1
        new_gradient = coordinates.gradient(q + step, new)
        pairs.append((step, new_gradient - gradient))
        ratio = (now.energy - new.energy) / max(gain, 1e-9)
        length = np.linalg.norm(step)
        if ratio < 0.25:
            radius = 0.4 * length
        elif ratio > 0.75 and length > 0.8 * radius:
            radius = min(2 * radius, LONGEST * n**0.5)
        if new.energy <= now.energy + 1e-5 * n:
            q, now, gradient, found = q + step, new, new_gradient, new_found
            lattice, positions = new_lattice, new_positions
    relaxed = Structure(lattice, start.numbers, positions, coords_are_cartesian=True, to_unit_cell=True)
    check_cell(relaxed.lattice.matrix, relaxed.frac_coords, start.numbers)
    return Relaxed(relaxed, now.energy / n, calls, bool(converged), None)


def _step(gradient, hessian, radius):
    values, axes = np.linalg.eigh(hessian)
    along = axes.T @ gradient
    values = np.maximum(np.abs(values), 0.05)
    shift = 0.0
    step = -along / values
    if np.linalg.norm(step) > radius:
        low, high = 0.0, np.linalg.norm(along) / radius
        for _ in range(50):
            shift = (low + high) / 2
            step = -along / (values + shift)
            low, high = (shift, high) if np.linalg.norm(step) > radius else (low, shift)
    gain = -(along @ step + step @ (values * step) / 2)
    return axes @ step, gain


def _update(hessian, s, y):
    """BFGS, or SR1"""
    hs = hessian @ s
    sy, shs = s @ y, s @ hs
    if sy > 0.05 * shs:
        return hessian + np.outer(y, y) / sy - np.outer(hs, hs) / shs
    r = y - hs
    rs = r @ s
    # PSB-like
    return hessian + (np.outer(r, s) + np.outer(s, r)) / (s @ s) - rs * np.outer(s, s) / (s @ s) ** 2


def energy_per_atom(structure: Structure) -> float:
    start = primitive(structure)
    (answer,) = predict([(orbits(start), start.lattice, start.positions)])
    if isinstance(answer, ValueError):
        raise answer
    return answer.energy / len(start)


def primitive(structure: Structure) -> Crystal:
    cell = structure.lattice.matrix, structure.frac_coords, np.array(structure.atomic_numbers)
    check_cell(*cell)
    unknown = {e.symbol for e in structure.elements if e.Z > 94 or e.symbol in UNTRAINED}
    if unknown:
        raise ValueError(f"CHGNet does not know {', '.join(sorted(unknown))}")
    return crystal(*cell)

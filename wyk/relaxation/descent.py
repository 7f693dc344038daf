"""CHGNet energies, and relaxation in Wyckoff parameters (paper, §3.4 and Appendix E).

The variables are the free coordinates of the sites and the free lattice parameters, nothing else: a symmetry can be
gained on the way but never lost. Several crystals are relaxed side by side, each by a generator that asks for
energies and is sent them, so that the potential is evaluated for all of them at once.
"""

import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from pymatgen.core import Structure

from wyk.common import ELEMENTS
from wyk.crystals import check_cell
from wyk.relaxation import springs, trust_region
from wyk.relaxation.free_parameters import Coordinates
from wyk.relaxation.potential import Prediction, energy, predict
from wyk.relaxation.quotient_graph import Orbits, orbits
from wyk.relaxation.symmetric_crystal import Crystal, primitive, without_symmetry

POTENTIAL = "CHGNet 0.3.0"  # trained on MP2020-corrected energies: no correction is added
KNOWN = frozenset(ELEMENTS[:94]) - {"Po", "At", "Rn", "Fr", "Ra"}  # what it was trained on
FMAX = 0.1  # eV/Å, ASE's criterion over atoms and cell
MAX_CALLS = 60
IN_FLIGHT = 8  # more gain nothing on a CPU
# Å³ per atom; diamond has 5.7, caesium 116. Outside, a cell has collapsed or blown up.
VOLUMES = (3.0, 200.0)
CLOSEST = 0.35  # of a pair's usual distance in real crystals; the atoms of N₂ are at 0.42
# Steps, in Å per √atom of all coordinates together:
FIRST, LONGEST, SHORTEST = 0.25, 0.5, 1e-4
PAIRS = 30  # how many past steps teach the curvature
NOISE = 1e-5  # eV/atom; energies in single precision
RATTLE = 0.05  # Å

Question = tuple[Orbits, Crystal]
Descent = Generator[Question, Prediction, "Relaxed"]


@dataclass(frozen=True)
class Relaxed:
    """What became of one crystal.

    Attributes:
        structure: relaxed primitive cell; None when there is none to speak of.
        energy_per_atom: eV; NaN without a structure.
        calls: evaluations of the potential; 0 without a structure.
        converged: forces on atoms and cell, as ASE's FrechetCellFilter has them, below FMAX.
        reason: why there is no structure, None when there is one.
        path: eV/atom at each call.
    """

    structure: Structure | None
    energy_per_atom: float
    calls: int
    converged: bool
    reason: str | None
    path: tuple[float, ...] = ()


def energy_per_atom(structure: Structure) -> float:
    """CHGNet energy of a crystal as it stands, in eV/atom.

    Raises:
        ValueError: for elements that CHGNet was not trained on, overlapping atoms, volumes outside VOLUMES, atoms
            without a neighbour within CHGNet's 6 Å, and whatever else `check_cell` refuses.
    """
    crystal = _crystal(structure)
    _check_volume(crystal)
    found = orbits(crystal)
    _check_distances(found)
    return energy(found, crystal) / len(crystal)


def relax(structure: Structure, max_calls: int = MAX_CALLS) -> Relaxed:
    """Relax one crystal: see `relax_all`."""
    return relax_all([structure], max_calls)[0]


def relax_all(
    structures: Iterable[Structure], max_calls: int = MAX_CALLS, in_flight: int = IN_FLIGHT
) -> list[Relaxed]:
    """Relax positions and cells of crystals in CHGNet, keeping their space groups.

    Whatever goes wrong with one ends in its `reason`, never in an exception, nor in another's result. Results do not
    depend on what else is in flight but for rounding in single precision: up to 4e-5 eV/atom on 60 draws.

    Args:
        structures: any cells, such as pyXtal's draws; clashes of atoms and unusual volumes are undone first.
        max_calls: of the potential for each; a crystal not converged by then is returned as it is.
        in_flight: crystals evaluated together, at least 1.
    """
    if in_flight < 1:
        raise ValueError(f"{in_flight} crystals in flight: at least 1 is needed")
    return _fly([_relaxation(structure, max_calls) for structure in structures], in_flight)


def finish(structure: Structure, seed: int, max_calls: int = 5 * MAX_CALLS) -> Relaxed:
    """Relax a final candidate once more, without its symmetry: where that forbids the way down, forces vanish.

    All coordinates of the primitive cell are rattled by RATTLE first. Longer cells are not looked at.

    Args:
        structure: relaxed.
        seed: of the rattle.
        max_calls: of the potential.
    """
    return _fly([_rattled(structure, seed, max_calls)], 1)[0]


def loosened(structure: Structure) -> Structure:
    """The primitive cell that a relaxation starts from: without clashes of atoms, its volume usual."""
    return _structure(springs.loosen(_crystal(structure)))


def _relaxation(structure: Structure, max_calls: int) -> Descent:
    crystal = _crystal(structure)
    return (yield from _descend(springs.loosen(crystal), max_calls))


def _rattled(structure: Structure, seed: int, max_calls: int) -> Descent:
    crystal = without_symmetry(_crystal(structure))
    coordinates = Coordinates(crystal)
    noise = np.random.default_rng(seed).normal(0, RATTLE, len(coordinates))
    return (yield from _descend(coordinates.place(noise), max_calls))


def _crystal(structure: Structure) -> Crystal:
    """The primitive cell, of elements that CHGNet knows."""
    if not structure.is_ordered:
        raise ValueError("partial occupancy; ordered structures only")
    names = {getattr(getattr(e, "element", e), "name", str(e)) for e in structure.elements}
    if unknown := names - KNOWN:
        raise ValueError(f"CHGNet does not know {', '.join(sorted(unknown))}")
    lattice, fractional = structure.lattice.matrix, structure.frac_coords
    numbers = np.array(structure.atomic_numbers)
    if not np.isfinite(fractional).all():
        raise ValueError("NaN or infinite numbers in the coordinates")
    check_cell(lattice, fractional[:1], numbers[:1])  # the cell alone: clashes can be undone
    return primitive(lattice, fractional, numbers)


def _check_volume(crystal: Crystal) -> None:
    """Refuse cells that have collapsed or blown up."""
    volume = abs(np.linalg.det(crystal.lattice)) / len(crystal)
    if not VOLUMES[0] < volume < VOLUMES[1]:
        raise ValueError(f"the cell has {volume:.3g} Å³ per atom, outside {VOLUMES}")


def _fly(descents: Sequence[Descent], in_flight: int) -> list[Relaxed]:
    """Run descents to their ends, so many of them at a time."""
    results: dict[Descent, Relaxed] = {}
    questions: dict[Descent, Question] = {}

    def go_on(descent: Descent, answer: Prediction | ValueError | None) -> None:
        try:
            refused = isinstance(answer, ValueError)
            questions[descent] = descent.throw(answer) if refused else descent.send(answer)
        except StopIteration as end:
            results[descent] = end.value
        except Exception as error:  # of whatever kind: the row keeps its reason, the others go on
            reason = str(error) or type(error).__name__
            results[descent] = Relaxed(None, math.nan, 0, False, reason)

    waiting = iter(descents)
    while len(results) < len(descents):
        for descent in islice(waiting, in_flight - len(questions)):
            go_on(descent, None)
        asked, questions = questions, {}
        for descent, answer in zip(asked, predict(list(asked.values())), strict=True):
            go_on(descent, answer)
    return [results[descent] for descent in descents]


def _descend(crystal: Crystal, max_calls: int) -> Descent:
    """Lower the energy by quasi-Newton steps until the forces are below FMAX."""
    coordinates = Coordinates(crystal)
    unit = len(crystal) ** 0.5
    found, radius, steps = orbits(crystal), FIRST * unit, []
    q = np.zeros(len(coordinates))
    now = yield found, crystal
    slope, path = coordinates.gradient(q, now), [now.energy / len(crystal)]
    while not (converged := _largest(coordinates.forces(now)) < FMAX) and len(path) < max_calls:
        hessian = springs.stiffness(coordinates, found, crystal)
        for past in steps[-PAIRS:]:
            hessian = trust_region.update(hessian, *past)
        step, gain = trust_region.minimise(slope, hessian, radius)
        length = np.linalg.norm(step)
        if length < SHORTEST * unit:
            break  # rounding leaves nothing to gain
        moved = coordinates.place(q + step)
        _check_volume(moved)
        if not found.cover(moved):
            found = orbits(moved)
        new = yield found, moved
        new_slope = coordinates.gradient(q + step, new)
        path.append(new.energy / len(crystal))
        steps.append((step, new_slope - slope))
        if (ratio := (now.energy - new.energy) / gain) < 0.25:
            radius = 0.4 * length
        elif ratio > 0.75 and length > 0.8 * radius:
            radius = min(2 * radius, LONGEST * unit)
        if new.energy < now.energy + NOISE * len(crystal):
            q, now, slope, crystal = q + step, new, new_slope, moved
    _check_distances(orbits(crystal))
    per_atom = now.energy / len(crystal)
    return Relaxed(_structure(crystal), per_atom, len(path), bool(converged), None, tuple(path))


def _structure(crystal: Crystal) -> Structure:
    return Structure(
        crystal.lattice, crystal.numbers, crystal.positions, to_unit_cell=True, coords_are_cartesian=True
    )  # fmt: skip


def _largest(forces: np.ndarray) -> float:
    return np.linalg.norm(forces, axis=1).max()


def _check_distances(found: Orbits) -> None:
    """Refuse atoms that have fallen into each other."""
    crystal = found.crystal
    length = np.linalg.norm(found.vectors(crystal)[found.first], axis=1)
    usual = springs.usual_distances(found)
    if (close := np.flatnonzero(length < CLOSEST * usual)).size:
        bond, apart = found.first[close[0]], length[close[0]]
        ends = crystal.numbers[[found.centre[bond], found.neighbour[bond]]]
        names = " and ".join(ELEMENTS[number - 1] for number in ends)
        raise ValueError(f"{names} overlap: {apart:.2f} Å apart, usually {usual[close[0]]:.2f}")

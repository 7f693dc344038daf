"""Relaxation converges by ASE's own criterion and keeps the group; whatever is wrong ends as a reason."""

import math
import re

import numpy as np
import pandas as pd
import pytest
import spglib
from ase import Atoms
from ase.filters import FrechetCellFilter
from chgnet.model.dynamics import CHGNetCalculator
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from wyk.coordinates.pyxtal_start import draw
from wyk.crystals.representation import WyckoffRepresentation
from wyk.relaxation import descent as relaxation
from wyk.relaxation import springs
from wyk.relaxation.free_parameters import Coordinates
from wyk.relaxation.potential import Prediction
from wyk.relaxation.quotient_graph import orbits
from wyk.stability.hull import REFERENCE, TABLE

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
# Free parameters: a, c, and z of oxygen.
ANATASE = Structure.from_spacegroup(
    "I4_1/amd", Lattice.tetragonal(3.6, 10.0), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.22]]
)
# Ten: a, b, c, β, and x, z of three atoms on a mirror.
MONOCLINIC = draw(WyckoffRepresentation(11, ("Ca", "C", "O"), ("e", "e", "e")), 4)


def group(structure: Structure) -> int:
    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    return spglib.get_symmetry_dataset(cell, symprec=1e-4).number


@pytest.fixture(scope="module")
def relaxed() -> dict[str, relaxation.Relaxed]:
    crystals = {"rock salt": ROCK_SALT, "anatase": ANATASE, "monoclinic": MONOCLINIC}
    return dict(zip(crystals, relaxation.relax_all(crystals.values()), strict=True))


@pytest.mark.parametrize(
    ("name", "structure", "calls"),
    [("rock salt", ROCK_SALT, 4), ("anatase", ANATASE, 10), ("monoclinic", MONOCLINIC, 40)],
)
def test_relaxation_lowers_the_energy_and_keeps_the_group(name, structure, calls, relaxed):
    result = relaxed[name]
    assert result.reason is None
    assert result.converged
    assert 0 < result.calls <= calls
    assert result.energy_per_atom < relaxation.energy_per_atom(structure) - 1e-3
    again = relaxation.energy_per_atom(result.structure)
    assert result.energy_per_atom == pytest.approx(again, abs=1e-4)
    assert group(result.structure) == group(structure)
    assert len(result.structure) == len(structure.get_primitive_structure())


@pytest.mark.parametrize("name", ["rock salt", "anatase", "monoclinic"])
def test_converged_means_what_ase_and_stock_chgnet_mean_by_it(name, relaxed):
    structure = relaxed[name].structure
    atoms = Atoms(
        structure.atomic_numbers, structure.cart_coords, cell=structure.lattice.matrix, pbc=True
    )
    atoms.calc = CHGNetCalculator(use_device="cpu")
    forces = FrechetCellFilter(atoms).get_forces()
    assert np.linalg.norm(forces, axis=1).max() < relaxation.FMAX + 2e-3
    atoms.rattle(0.1, seed=1)
    assert np.linalg.norm(FrechetCellFilter(atoms).get_forces(), axis=1).max() > relaxation.FMAX


def test_the_check_of_the_group_sees_a_broken_one():
    broken = ANATASE.copy()
    broken.perturb(0.01)
    assert group(broken) == 1


def toy(found, crystal) -> Prediction:
    """The energy of springs of 2 Å on some orbits of bonds."""
    vectors = found.vectors(crystal)
    length = np.linalg.norm(vectors, axis=1)[found.first]
    pull = np.zeros_like(vectors)
    pull[found.first] = (found.bonds * (length - 2) / length)[:, None] * vectors[found.first]
    gradient = np.zeros_like(crystal.positions)
    np.add.at(gradient, found.neighbour, pull)
    np.subtract.at(gradient, found.centre, pull)
    return Prediction(found.bonds @ (length - 2) ** 2 / 2, gradient, vectors.T @ pull)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.floats(-0.3, 0.3), min_size=10, max_size=10))
def test_the_gradient_is_that_of_finite_differences(q):
    crystal = relaxation._crystal(MONOCLINIC)
    coordinates = Coordinates(crystal)
    found = orbits(crystal)  # the same springs at every q
    q = np.array(q)
    assert len(coordinates) == len(q)
    slope = coordinates.gradient(q, toy(found, coordinates.place(q)))
    for i, step in enumerate(1e-5 * np.eye(len(q))):
        up, down = (toy(found, coordinates.place(q + s * step)).energy for s in (1, -1))
        assert slope[i] == pytest.approx((up - down) / 2e-5, abs=1e-4, rel=1e-5)


def test_too_few_calls_leave_an_unconverged_crystal():
    result = relaxation.relax(MONOCLINIC, max_calls=1)
    assert (result.calls, result.converged, result.reason) == (1, False, None)
    assert math.isfinite(result.energy_per_atom)
    assert result.structure is not None


def test_many_at_once_are_as_one_by_one_and_a_bad_one_spoils_none(relaxed):
    bad = Structure(Lattice.cubic(3.3), ["Po"], [[0, 0, 0]])
    results = relaxation.relax_all([bad, ROCK_SALT, bad, ANATASE, MONOCLINIC], in_flight=2)
    assert [bool(result.reason) for result in results] == [True, False, True, False, False]
    for result, other in zip([results[i] for i in (1, 3, 4)], relaxed.values(), strict=True):
        assert result.energy_per_atom == pytest.approx(other.energy_per_atom, abs=2e-4)
        assert result.converged == other.converged
    alone = relaxation.relax(MONOCLINIC)
    assert alone.energy_per_atom == pytest.approx(results[4].energy_per_atom, abs=2e-4)


def test_no_crystals_at_all():
    assert relaxation.relax_all([]) == []


def scaled(structure: Structure, factor: float) -> Structure:
    return Structure(structure.lattice.matrix * factor, structure.species, structure.frac_coords)


BAD = [
    (Structure(Lattice.cubic(3.3), ["Po"], [[0, 0, 0]]), "CHGNet does not know Po"),
    (Structure(Lattice.cubic(3.3), ["Am"], [[0, 0, 0]]), "CHGNet does not know Am"),
    (Structure(Lattice.cubic(3.3), ["D"], [[0, 0, 0]]), "CHGNet does not know D"),
    (Structure(Lattice.cubic(3.3), [{"Na": 0.5}], [[0, 0, 0]]), "partial occupancy"),
    (Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [math.nan, 0, 0]]), "NaN"),
    (Structure(np.diag([4, 4, 1e-3]), ["Na"], [[0, 0, 0]]), "thin"),
]


@pytest.mark.parametrize(("structure", "reason"), BAD)
def test_a_hopeless_crystal_is_a_reason_not_an_exception(structure, reason):
    result = relaxation.relax(structure)
    assert result.reason
    assert reason in result.reason
    assert (result.structure, result.calls, result.converged) == (None, 0, False)
    assert math.isnan(result.energy_per_atom)
    with pytest.raises(ValueError, match=reason):
        relaxation.energy_per_atom(structure)


@pytest.mark.parametrize(
    ("structure", "reason"),
    [
        (Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.01]]), "overlap"),
        (scaled(ROCK_SALT, 0.4), "Å³ per atom"),
        (scaled(ROCK_SALT, 3), "Å³ per atom"),
        (Structure.from_spacegroup("Fm-3m", Lattice.cubic(8.7), ["Ar"], [[0, 0, 0]]), "isolated"),
    ],
)
def test_atoms_too_close_and_too_far_have_no_energy_but_are_a_fair_start(structure, reason):
    with pytest.raises(ValueError, match=reason):
        relaxation.energy_per_atom(structure)
    assert relaxation.relax(structure).reason is None


@pytest.mark.parametrize(
    ("force", "reason"),
    [(1e3, "Å³ per atom"), (-1e3, "Å³ per atom"), (math.nan, "finite")],
)
def test_a_potential_that_blows_up_crushes_or_fails_is_a_reason(monkeypatch, force, reason):
    """A potential of nothing but pressure, and one of nothing at all."""

    def pressure(questions):
        for _, crystal in questions:
            volume = abs(np.linalg.det(crystal.lattice))
            virial = -force * volume ** (1 / 3) * np.eye(3)
            energy = -3 * force * volume ** (1 / 3)
            failed = ValueError("energy or forces are not finite")
            answer = Prediction(energy, np.zeros_like(crystal.positions), virial)
            yield answer if math.isfinite(force) else failed

    monkeypatch.setattr(relaxation, "predict", lambda questions: list(pressure(questions)))
    result = relaxation.relax(ROCK_SALT, max_calls=1000)
    assert re.search(reason, result.reason)
    assert result.structure is None


def test_216_atoms_without_any_symmetry_are_relaxed():
    grid = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    places = grid / 6 + np.random.default_rng(0).normal(0, 0.005, grid.shape)
    salt = np.where(grid.sum(axis=1) % 2, "Na", "Cl")
    result = relaxation.relax(Structure(Lattice.cubic(16.8), salt, places), max_calls=1)
    assert (result.reason, result.calls, len(result.structure)) == (None, 1, 216)


def test_the_finish_leaves_a_saddle_point_but_not_a_minimum(relaxed):
    oxygen = [[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    places = [[0, 0, 0], [0.5, 0.5, 0.5], *oxygen]
    cubic = relaxation.relax(Structure(Lattice.cubic(4), ["Ba", "Ti", *"OOO"], places))
    assert group(cubic.structure) == 221
    ferroelectric = relaxation.finish(cubic.structure, seed=1)
    assert ferroelectric.converged
    assert ferroelectric.energy_per_atom < cubic.energy_per_atom - 0.005
    assert group(ferroelectric.structure) == 1
    salt = relaxed["rock salt"]
    again = relaxation.finish(salt.structure, seed=1)
    assert again.energy_per_atom == pytest.approx(salt.energy_per_atom, abs=0.005)


def test_a_draw_is_freed_of_clashes_and_keeps_its_group():
    start = relaxation._crystal(scaled(MONOCLINIC, 0.8))
    loose = springs.loosen(start)

    def tightest(crystal):
        found = orbits(crystal)
        length = np.linalg.norm(found.vectors(crystal)[found.first], axis=1)
        return (length / springs.usual_distances(found)).min()

    assert tightest(start) < 0.7
    assert tightest(loose) > 0.85
    structure = Structure(loose.lattice, loose.numbers, loose.positions, coords_are_cartesian=True)
    assert group(structure) == 11


def test_the_shipped_reference_energies_are_those_of_the_crystals(official):
    table = pd.read_csv(REFERENCE / TABLE)
    table = table[table["source"] == "mp_20_biternary:val"].set_index("material_id")
    crystals = pd.read_csv(official / "mp_20_biternary/val.csv.gz", nrows=2000)[::100]
    for name, cif in zip(crystals["material_id"], crystals["cif"], strict=True):
        energy = relaxation.energy_per_atom(Structure.from_str(cif, fmt="cif"))
        assert energy == pytest.approx(table.loc[name, "energy_per_atom"], abs=1e-3)

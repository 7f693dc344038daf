"""Energies equal CHGNet's own; relaxation keeps the group; whatever is wrong with a crystal ends as a reason."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import spglib
from ase import Atoms
from chgnet.model.dynamics import CHGNetCalculator
from pymatgen.core import Lattice, Structure

from wyk import relaxation
from wyk.stability import REFERENCE, TABLE

SHARED = Path(__file__).parents[1] / ".." / "shared"

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
# Free parameters: a, c, and z of oxygen.
ANATASE = Structure.from_spacegroup(
    "I4_1/amd", Lattice.tetragonal(3.6, 10.0), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.22]]
)


def group(structure: Structure) -> int:
    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    return spglib.get_symmetry_dataset(cell, symprec=1e-4).number


def test_one_backward_pass_equals_chgnets_own():
    atoms = Atoms(
        ANATASE.atomic_numbers, cell=ANATASE.lattice.matrix, scaled_positions=ANATASE.frac_coords, pbc=True
    )  # fmt: skip
    atoms.rattle(0.1, seed=1)
    ours, theirs = atoms.copy(), atoms.copy()
    ours.calc, theirs.calc = relaxation.Potential(), CHGNetCalculator(use_device="cpu")
    assert ours.get_potential_energy() == pytest.approx(theirs.get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(ours.get_forces(), theirs.get_forces(), atol=2e-4)
    full = theirs.calc.get_property("stress", theirs)
    np.testing.assert_allclose(ours.get_stress(voigt=False), full, atol=1e-5)
    assert np.abs(ours.get_forces()).max() > 0.5  # the comparison was not of zeros


@pytest.mark.parametrize("structure", [ROCK_SALT, ANATASE], ids=["rock salt", "anatase"])
def test_relaxation_lowers_the_energy_and_keeps_the_group(structure):
    result = relaxation.relax(structure)
    assert result.reason is None
    assert result.converged
    assert 0 < result.calls < 100
    assert result.energy_per_atom < relaxation.energy_per_atom(structure) - 1e-3
    assert result.energy_per_atom == pytest.approx(
        relaxation.energy_per_atom(result.structure), abs=1e-4
    )
    assert group(result.structure) == group(structure)
    assert len(result.structure) == len(structure.get_primitive_structure())


def test_the_check_of_the_group_sees_a_broken_one():
    broken = ANATASE.copy()
    broken.perturb(0.01)
    assert group(broken) == 1


def test_too_few_steps_leave_an_unconverged_crystal():
    result = relaxation.relax(ANATASE, max_steps=1)
    assert (result.calls, result.converged, result.reason) == (2, False, None)
    assert math.isfinite(result.energy_per_atom)
    assert result.structure is not None


def scaled(structure: Structure, factor: float) -> Structure:
    return Structure(structure.lattice.matrix * factor, structure.species, structure.frac_coords)


@pytest.mark.parametrize(
    ("structure", "reason"),
    [
        (scaled(ROCK_SALT, 0.4), "Å³ per atom"),
        (scaled(ROCK_SALT, 3), "Å³ per atom"),
        (Structure(Lattice.cubic(3.3), ["Po"], [[0, 0, 0]]), "CHGNet does not know Po"),
        (Structure(Lattice.cubic(3.3), ["Am"], [[0, 0, 0]]), "CHGNet does not know Am"),
        (Structure.from_spacegroup("Fm-3m", Lattice.cubic(8.7), ["Ar"], [[0, 0, 0]]), "isolated"),
        (Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [math.nan, 0, 0]]), "NaN"),
        (Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.01]]), "overlap"),
    ],
)
def test_a_hopeless_crystal_is_a_reason_not_an_exception(structure, reason):
    result = relaxation.relax(structure)
    assert result.reason
    assert reason in result.reason
    assert result.structure is None
    assert math.isnan(result.energy_per_atom)
    assert not result.converged


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs ../shared/data")
def test_the_shipped_reference_energies_are_those_of_the_crystals():
    table = pd.read_csv(REFERENCE / TABLE)
    table = table[table["source"] == "mp_20_biternary:val"].set_index("material_id")
    crystals = pd.read_csv(SHARED / "data/mp_20_biternary/val.csv.gz", nrows=2000)[::400]
    for name, cif in zip(crystals["material_id"], crystals["cif"], strict=True):
        energy = relaxation.energy_per_atom(Structure.from_str(cif, fmt="cif"))
        assert energy == pytest.approx(table.loc[name, "energy_per_atom"], abs=1e-3)

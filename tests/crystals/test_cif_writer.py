"""CIF text says the same crystal and group to every program."""

import ase.io
import gemmi
import pytest
import spglib
from conftest import HEUSLER, LOW, RUTILE, SALT
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from wyk.coordinates import pyxtal_start
from wyk.crystals.cif_writer import read_cif, symmetrised_cif
from wyk.crystals.representation import from_structure
from wyk.crystals.symmetry_fit import SYMPREC


@pytest.mark.parametrize("representation", [SALT, HEUSLER, RUTILE, LOW])
def test_a_cif_reads_back_as_the_same_crystal(representation):
    crystal = pyxtal_start.draw(representation, seed=5)
    cif = symmetrised_cif(crystal.get_primitive_structure())
    assert from_structure(read_cif(cif)).fingerprint() == representation.fingerprint()
    orbits = cif.split("_atom_site_occupancy")[1].split()
    assert len(orbits) == 7 * len(representation.letters)  # one line an orbit: not P1


# Å; space group, its number, cell, species and places of well-known crystals
KNOWN = [
    ("P6_3/mmc", 194, Lattice.hexagonal(3.21, 5.21), ["Mg"], [[1 / 3, 2 / 3, 0.25]]),
    ("Fd-3m", 227, Lattice.cubic(5.43), ["Si"], [[0.125] * 3]),
    ("R-3m", 166, Lattice.hexagonal(4.4, 30.5), ["Bi", "Te", "Te"], [[0, 0, 0.4], [0] * 3, [0, 0, 0.21]]),
    ("Pnma", 62, Lattice.orthorhombic(5.44, 7.64, 5.38), ["Ca", "Ti", "O", "O"],
     [[0.04, 0.25, -0.01], [0, 0, 0.5], [0.48, 0.25, 0.07], [0.29, 0.04, 0.71]]),
    ("P3_121", 152, Lattice.hexagonal(4.91, 5.40), ["Si", "O"], [[0.47, 0, 1 / 3], [0.41, 0.27, 0.45]]),
    ("P2_1/c", 14, Lattice.monoclinic(5.15, 5.2, 5.32, 99.2), ["Zr", "O", "O"],
     [[0.275, 0.04, 0.208], [0.07, 0.33, 0.345], [0.45, 0.757, 0.479]]),
    ("P-1", 2, Lattice.from_parameters(5, 6, 7, 80, 95, 103), ["Cu", "O"], [[0] * 3, [0.3, 0.2, 0.4]]),
]  # fmt: skip


@pytest.mark.parametrize(("symbol", "number", "lattice", "species", "places"), KNOWN)
def test_every_program_reads_the_same_group(tmp_path, symbol, number, lattice, species, places):
    crystal = Structure.from_spacegroup(symbol, lattice, species, places)
    path = tmp_path / "crystal.cif"
    path.write_text(symmetrised_cif(crystal.get_primitive_structure()))
    atoms = ase.io.read(path)
    cell = (atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers)
    small = gemmi.read_small_structure(str(path))
    assert {
        "pymatgen": SpacegroupAnalyzer(Structure.from_file(path)).get_space_group_number(),
        "ase": atoms.info["spacegroup"].no,
        "gemmi": small.spacegroup.number,
        "spglib": spglib.get_symmetry_dataset(cell, symprec=1e-3).number,
        "found": from_structure(read_cif(path.read_text())).space_group,
    } == dict.fromkeys(("pymatgen", "ase", "gemmi", "spglib", "found"), number)
    assert len(atoms) == len(small.get_all_unit_cell_sites()) == len(crystal)


NEARLY = Structure(
    [[5.59345, 0, -0.5019], [0, 6.19707, 0], [-4.45112, 0, 6.07227]],
    ["F"] * 4 + ["Mo"] * 4 + ["O"] * 6,
    [
        [0.50127, 0.24539, 0.62665], [0.49873, 0.74539, 0.87335], [0.49873, 0.75461, 0.37335],
        [0.50127, 0.25461, 0.12665], [0.00142, 0.26858, 0.88542], [0.99858, 0.76858, 0.61458],
        [0.99858, 0.73142, 0.11458], [0.00142, 0.23142, 0.38542], [0.00388, 0.40072, 0.14765],
        [0.99612, 0.90072, 0.35235], [0.99612, 0.59928, 0.85235], [0.00388, 0.09928, 0.64765],
        [0, 0, 0], [0, 0.5, 0.5],
    ],
)  # fmt: skip


def test_a_cif_near_a_higher_symmetry_has_each_atom_once():
    """Mo2O3F2 of group 14 as it relaxed: 28 atoms instead of 14 if it is symmetrised at 0.1 Å."""
    naive = read_cif(str(CifWriter(NEARLY, symprec=SYMPREC, angle_tolerance=5)))
    assert naive.density > 1.3 * NEARLY.density  # atoms come out double
    again = read_cif(symmetrised_cif(NEARLY))
    assert again.composition.reduced_formula == NEARLY.composition.reduced_formula
    assert again.density == pytest.approx(NEARLY.density, rel=0.01)


def test_a_crystal_that_no_text_says_is_an_error():
    """Atoms nearer to one another than all tolerances are one atom in every text."""
    crowded = Structure(Lattice.cubic(4), ["Po", "Po"], [[0, 0, 0], [0.0001, 0, 0]])
    with pytest.raises(ValueError, match="no symmetrised CIF"):
        symmetrised_cif(crowded)
    with pytest.raises(ValueError, match=r"\w"):
        read_cif("data_x\nno crystal")

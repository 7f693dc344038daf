"""Groups near the tolerance: the same in any order and cell, and none where a real crystal has less."""

import numpy as np
import pytest
from tolerance import by_moyo, by_spglib, by_us, in_cell, judge, prototypes, shuffled

from wyk.crystals.representation import from_cell
from wyk.crystals.symmetry import symmetry
from wyk.crystals.symmetry_fit import SYMPREC
from wyk.files.cells import represent_record
from wyk.files.readers import Record
from wyk.plumbing.paths import ROOT

CASES = ROOT.parent / "shared" / "cases" / "cif"
FEW = 40


@pytest.fixture(scope="module")
def parents():
    return prototypes()[::6][:FEW]


@pytest.mark.parametrize("most", [0.02, 0.03, 0.045])
def test_moved_atoms_hide_no_symmetry_in_any_order_or_cell(parents, most):
    counts = judge(parents, most, {"wyk": by_us})["wyk"]
    assert counts["found"] >= 0.97 * FEW
    assert (counts["order"], counts["cell"]) == (0, 0)


def test_the_experiment_sees_what_spglib_alone_does(parents):
    """Negative control."""
    counts = judge(parents, 0.045, {"spglib": by_spglib, "moyo": by_moyo})
    assert counts["spglib"]["found"] < 0.5 * FEW
    assert counts["spglib"]["order"] > 0.2 * FEW
    assert counts["spglib"]["cell"] > 0.2 * FEW


@pytest.mark.skipif(not CASES.is_dir(), reason="no shared cases")
@pytest.mark.parametrize(
    ("name", "group", "atoms"),
    [
        ("diamond_cell1", 227, 8),
        ("diamond_cell2", 227, 8),
        ("rutile_order1", 136, 6),
        ("rutile_order2", 136, 6),
    ],
)
def test_files_of_people(name, group, atoms):
    text = (CASES / f"{name}.cif").read_text()
    found = represent_record(Record(name, name, text, "cif"))
    assert (found.space_group, found.n_atoms) == (group, atoms)


def test_an_exact_crystal_keeps_the_letters_of_spglib(parents):
    for lattice, fractional, numbers in parents:
        found = symmetry((lattice, fractional % 1, numbers))
        if found.number < 195:
            assert found.exact
            assert found.cell[2] is numbers


def test_a_distortion_is_no_noise():
    """BaTiO3, its titanium 0.03 Å off the centre: P4mm is the crystal's own, Pm-3m is not."""
    perovskite = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    numbers = np.array([56, 22, 8, 8, 8])
    assert from_cell(4 * np.eye(3), perovskite, numbers).space_group == 221
    polar = perovskite + np.array([[0, 0, 0], [0, 0, 0.06], [0, 0, 0], [0, 0, 0], [0, 0, 0]]) / 4
    rng = np.random.default_rng(0)
    cells = [shuffled((4 * np.eye(3), polar, numbers), rng) for _ in range(10)]
    assert {from_cell(*cell).space_group for cell in cells} == {99}


@pytest.mark.parametrize("stretch", [1, 3, 10, 40])
def test_flat_cells_end(stretch):
    """Moyo alone hangs on some of these, for ever."""
    rng = np.random.default_rng(stretch)
    for _ in range(40):
        edges = rng.uniform(1.4, 3, 3) * [1, 1, stretch]
        lattice = np.diag(edges) + rng.normal(scale=0.03, size=(3, 3))
        cell = lattice, rng.uniform(size=(2, 3)), np.array([6, 7])
        assert symmetry(cell).number


def test_a_large_crystal_in_a_supercell(parents):
    rng = np.random.default_rng(1)
    for cell in parents[:5]:
        larger = in_cell(cell, np.diag([2, 2, 3]).tolist(), rng)
        assert from_cell(*larger).fingerprint() == from_cell(*cell).fingerprint()
        assert symmetry(larger).symprec >= SYMPREC / 10

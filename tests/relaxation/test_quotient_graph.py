"""CHGNet on the quotient graph equals CHGNet; a wrong multiplicity, or angles merged by their value, do not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from chgnet.graph import converter
from chgnet.model import model as chgnet_model
from conftest import OFFICIAL
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from wyk.files import datasets
from wyk.relaxation.descent import _crystal
from wyk.relaxation.free_parameters import Coordinates
from wyk.relaxation.potential import chgnet, energy, predict
from wyk.relaxation.quotient_graph import Orbits, orbits
from wyk.relaxation.symmetric_crystal import primitive, without_symmetry

SYSTEMS = [(1, 2), (3, 15), (16, 74), (75, 142), (143, 167), (168, 194), (195, 230)]
EACH = 72  # crystals of each system: 504 in all
TOLERANCES = np.array([1e-5, 1e-4, 1e-4])  # eV/atom, eV/Å, eV/Å³

ANATASE = _crystal(
    Structure.from_spacegroup(
        "I4_1/amd", Lattice.tetragonal(3.8, 9.7), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.22]]
    )
)


def ours(crystal, found: Orbits | None = None):
    """Energy per atom, forces and stress in eV and Å, made symmetric."""
    (answer,) = predict([(found or orbits(crystal), crystal)])
    coordinates = Coordinates(crystal)
    forces = coordinates.forces(answer)
    stress = -forces[-3:] * len(crystal) / abs(np.linalg.det(crystal.lattice))
    return answer.energy / len(crystal), forces[:-3], stress


def theirs(crystal):
    structure = Structure(
        crystal.lattice, crystal.numbers, crystal.positions, coords_are_cartesian=True
    )
    answer = chgnet().predict_structure(structure, task="efs")
    return answer["e"], answer["f"], answer["s"] / 160.21766208  # from GPa


def apart(one, two) -> np.ndarray:
    """Largest difference in energy, force and stress."""
    return np.array([np.abs(a - b).max() for a, b in zip(one, two, strict=True)])


def crystals_of(first: int, last: int) -> list[Structure]:
    if OFFICIAL is None:
        prototypes = [
            s
            for split in ("train", "val", "test")
            for _, s in datasets.structures(f"aflow:{split}")[0]
        ]
        known = [s for s in prototypes if len(s) <= 40 and max(s.atomic_numbers) <= 83]
        return [s for s in known if first <= s.get_space_group_info()[1] <= last][:EACH]
    table = pd.read_csv(OFFICIAL / "mp_20_biternary/val.csv.gz")
    rows = table[table["spacegroup.number"].between(first, last)]
    return [Structure.from_str(cif, fmt="cif") for cif in rows["cif"].head(EACH)]


@pytest.mark.parametrize(("first", "last"), SYSTEMS)
@pytest.mark.filterwarnings("ignore")
def test_energies_forces_and_stresses_are_those_of_chgnet(first, last, monkeypatch):
    disputed = []
    structures = crystals_of(first, last)
    for structure in structures:
        crystal = _crystal(structure)
        if (apart(ours(crystal), theirs(crystal)) > TOLERANCES).any():
            disputed.append(crystal)
    assert len(structures) >= 10
    # In single precision stock CHGNet itself is off by up to 1e-3 eV/Å here and there; in double it is the judge.
    assert len(disputed) <= 0.1 * len(structures)
    mine = [ours(crystal) for crystal in disputed]
    monkeypatch.setattr(converter, "TORCH_DTYPE", torch.float64)
    monkeypatch.setattr(chgnet_model, "TORCH_DTYPE", torch.float64)
    net = chgnet().double()
    net.composition_model.float()
    try:
        judged = [theirs(crystal) for crystal in disputed]
    finally:
        net.float()
    for one, two in zip(mine, judged, strict=True):
        assert (apart(one, two) <= TOLERANCES).all()


@pytest.mark.parametrize("field", ["times", "angle_times", "sizes"])
def test_the_check_sees_a_wrong_multiplicity(field):
    found = orbits(ANATASE)
    wrong = replace(found, **{field: np.ones_like(getattr(found, field))})
    assert (apart(ours(ANATASE), theirs(ANATASE)) <= TOLERANCES).all()
    assert (apart(ours(ANATASE, wrong), theirs(ANATASE)) > 10 * TOLERANCES).any()


def test_angles_of_equal_value_have_equal_energies_but_other_gradients():
    """The trap: rock salt, of whose symmetry only the tetragonal part is kept, has equal angles in three planes."""
    cubic = primitive(
        4.1 * (1 - np.eye(3)) / 1.5, np.array([[0, 0, 0], [0.5] * 3]), np.array([12, 8])
    )
    axis = np.abs(cubic.cartesian[:, 2, 2]) > 0.5
    crystal = replace(
        cubic, rotations=cubic.rotations[axis], images=cubic.images[axis], shifts=cubic.shifts[axis]
    )
    assert len(Coordinates(crystal)) == 2
    found = orbits(crystal)
    vectors = found.vectors(crystal)
    one, two = (
        vectors[side] / np.linalg.norm(vectors[side], axis=1)[:, None] for side in found.angle.T
    )
    length = np.linalg.norm(vectors[found.first], axis=1).round(6)
    value = np.column_stack(
        [(one * two).sum(axis=1).round(6), found.angle_node, length[found.angle_bonds]]
    )
    _, kept, merged = np.unique(value, axis=0, return_index=True, return_inverse=True)
    assert len(kept) < len(value)
    same_bond = found.angle_bonds[:, 0] == found.angle_bonds[kept[merged], 0]
    into = np.where(same_bond, kept[merged], np.arange(len(value)))
    times = np.bincount(into, found.angle_times, minlength=len(value))
    few = np.flatnonzero(times)
    wrong = replace(
        found,
        angle=found.angle[few],
        angle_bonds=found.angle_bonds[few],
        angle_node=found.angle_node[few],
        angle_times=times[few],
    )
    right = ours(crystal)
    assert (apart(right, theirs(crystal)) <= TOLERANCES).all()
    differences = apart(ours(crystal, wrong), right)
    assert differences[0] < 1e-5
    assert differences[2] > 1e-3


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.floats(-0.4, 0.4), min_size=3, max_size=3))
def test_a_moved_crystal_is_the_same_without_its_symmetry_and_with_orbits_found_before(q):
    moved = Coordinates(ANATASE).place(np.array(q))
    free = without_symmetry(moved)
    assert (apart(ours(moved), ours(free)) <= TOLERANCES).all()
    if orbits(ANATASE).cover(moved):
        assert (apart(ours(moved), ours(moved, orbits(ANATASE))) <= TOLERANCES / 10).all()


def test_orbits_do_not_cover_a_crystal_that_has_shrunk_or_moved_far():
    coordinates, found = Coordinates(ANATASE), orbits(ANATASE)
    assert found.cover(ANATASE)
    for sign in (-1, 1):
        assert not found.cover(coordinates.place(sign * np.array([1.0, 0, 0])))
    shrunk = replace(ANATASE, lattice=0.8 * ANATASE.lattice, positions=0.8 * ANATASE.positions)
    assert not found.cover(shrunk)
    # and rightly: some bonds are missing
    assert (apart(ours(shrunk, found), ours(shrunk)) > TOLERANCES).any()


def test_crystals_evaluated_together_are_as_alone_and_a_bad_one_spoils_none():
    salt = primitive(2.8 * (1 - np.eye(3)), np.array([[0, 0, 0], [0.5] * 3]), np.array([11, 17]))
    lonely = primitive(7.0 * np.eye(3), np.zeros((1, 3)), np.array([18]))
    both = [(orbits(crystal), crystal) for crystal in (salt, lonely, ANATASE)]
    together = predict(both)
    assert "isolated" in str(together[1])
    for i in (0, 2):
        (alone,) = predict([both[i]])
        assert together[i].energy == pytest.approx(alone.energy, abs=1e-5)
        np.testing.assert_allclose(together[i].gradient, alone.gradient, atol=1e-4)
        assert energy(*both[i]) == alone.energy
    with pytest.raises(ValueError, match="isolated"):
        energy(*both[1])

"""Uniqueness and novelty on real crystals (AFLOW prototypes), and on pairs that only look alike."""

import gzip
import json
from importlib import resources

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from wyk.crystals.representation import WyckoffRepresentation, from_structure
from wyk.metrics.novelty import novel, unique


@pytest.fixture(scope="module")
def prototypes() -> list[Structure]:
    packed = resources.files("pymatgen.analysis.prototypes").joinpath("aflow_prototypes.json.gz")
    rows = json.loads(gzip.decompress(packed.read_bytes()))
    structures = [Structure.from_dict(row["snl"]) for row in rows]
    return [s for s in structures if len(s) <= 12][:60]


def disguised(structure: Structure) -> Structure:
    """The same crystal: another cell, another volume, another origin, coordinates a little off."""
    other = structure.copy() * (2, 1, 1)
    other.translate_sites(range(len(other)), [0.1, 0.2, 0.3])
    other.scale_lattice(other.volume * 1.2)
    other.perturb(0.01)
    return other


def test_a_disguised_crystal_is_neither_unique_nor_novel(prototypes):
    np.random.seed(0)  # pymatgen's perturb draws from it
    disguises = [disguised(s) for s in prototypes]
    assert not novel(disguises, prototypes).any()
    first = unique(prototypes)
    both = unique(prototypes + disguises)
    assert (both[: len(prototypes)] == first).all()
    assert not both[len(prototypes) :].any()


def test_another_element_makes_another_crystal(prototypes):
    others = [s.copy() for s in prototypes]
    for other in others:
        other.replace(0, "Og")
    assert novel(others, prototypes).all()


def test_equal_formula_is_not_enough():
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.7), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    caesium = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert unique([salt, caesium, salt]).tolist() == [True, True, False]
    assert novel([salt, caesium], [caesium]).tolist() == [True, False]


def test_the_group_label_does_not_hide_a_match():
    cubic = Structure(Lattice.cubic(4.0), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    stretched = Structure(Lattice.tetragonal(4.0, 4.3), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    labels = [from_structure(s).space_group for s in (cubic, stretched)]
    assert labels == [221, 123]
    assert not novel([stretched], [cubic])[0]
    assert novel([from_structure(stretched)], [from_structure(cubic)])[0]  # fingerprints overstate


def test_representations_are_compared_up_to_variants_and_order():
    one = WyckoffRepresentation(225, ("Tm", "Mg", "Hg"), ("a", "b", "c"))
    swapped = WyckoffRepresentation(225, ("Hg", "Mg", "Tm"), ("c", "a", "b"))
    other = WyckoffRepresentation(225, ("Tm", "Mg", "Hg"), ("a", "c", "b"))
    assert unique([one, swapped, other]).tolist() == [True, False, True]
    assert novel([swapped, other], [one]).tolist() == [False, True]


def test_nothing_to_compare():
    assert unique([]).shape == novel([], []).shape == (0,)


def test_kinds_are_not_mixed():
    one = WyckoffRepresentation(221, ("Cs", "Cl"), ("a", "b"))
    structure = Structure(Lattice.cubic(4.0), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(ValueError, match="cannot compare Structure with WyckoffRepresentation"):
        novel([structure], [one])

"""The tables of all 230 groups and 1,731 positions, against pyXtal and against geometry."""

import time

import numpy as np
import pytest
from monty.serialization import loadfn
from pymatgen.core.operations import SymmOp
from pyxtal.symmetry import Group, rf

from wyk.crystals.spacegroups import SpaceGroup, letter_permutation, space_group

GROUPS = [space_group(number) for number in range(1, 231)]
# orthorhombic groups in which a variant permutes the axes, and with them the site-symmetry symbol
SYMBOL_CHANGES = [16, 17, 20, 21, 22, 23, 24, 25, 35, 42, 44, 47, 48, 49, 50, 59]
SYMBOL_CHANGES += [65, 66, 67, 68, 69, 70, 71, 72, 73, 74]


def test_counts():
    assert sum(len(g.positions) for g in GROUPS) == 1731
    assert len({p.site_symmetry for g in GROUPS for p in g.positions}) == 78
    assert max(p.enumeration for g in GROUPS for p in g.positions) == 7


@pytest.mark.parametrize("number", range(1, 231))
def test_positions_agree_with_pyxtal(number):
    group, theirs = space_group(number), {wp.letter: wp for wp in Group(number)}
    assert set(theirs) == set(group.letters)
    for position in group.positions:
        wp = theirs[position.letter]
        wp.get_site_symmetry()
        assert position.site_symmetry == wp.site_symm
        assert (position.multiplicity, position.dof) == (wp.multiplicity, wp.get_dof())


@pytest.mark.parametrize("number", range(1, 231))
def test_enumeration_names_each_position_once(number):
    group = space_group(number)
    for position in group.positions:
        assert group.letter(position.site_symmetry, position.enumeration) == position.letter
        assert group.position(position.letter) is position
    for symmetry in {p.site_symmetry for p in group.positions}:
        ranks = [p.enumeration for p in group.positions if p.site_symmetry == symmetry]
        assert ranks == list(range(len(ranks)))  # in the order of the letters, from 0


@pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.number)
def test_lattice_points_are_the_pure_translations(group):
    general = Group(group.number)[0].ops
    turnless = [op for op in general if np.allclose(op.rotation_matrix, np.eye(3))]
    assert group.lattice_points == len(turnless)


def test_the_papers_example():
    names = [
        (p.multiplicity, p.letter, p.site_symmetry, p.enumeration) for p in GROUPS[224].positions
    ]
    assert names[:3] == [(4, "a", "m-3m", 0), (4, "b", "m-3m", 1), (8, "c", "-43m", 0)]


def is_group_of_variants(group: SpaceGroup) -> bool:
    """Closed under composition, with the identity, each a permutation that keeps multiplicity and freedom."""
    variants = set(group.variants)
    kinds = {p.letter: (p.multiplicity, p.dof) for p in group.positions}
    for variant in variants:
        if [kinds[letter] for letter in variant] != list(kinds.values()):
            return False
    # composing with a handful of generators is enough to see that a set is closed
    for generator in list(group.variants)[1:12]:
        swap = str.maketrans(group.letters, generator)
        if {variant.translate(swap) for variant in variants} != variants:
            return False
    return group.letters in variants and len(variants) == len(group.variants)


@pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.number)
def test_variants_form_a_group(group):
    assert is_group_of_variants(group)


def test_the_check_sees_a_wrong_variant():
    group = space_group(225)  # a and c can not be swapped: their multiplicities differ
    wrong = SpaceGroup(
        225, group.symbol, group.positions, (group.letters, "cba" + group.letters[3:])
    )
    assert not is_group_of_variants(wrong)
    group = space_group(12)  # a and b can, but not alone
    wrong = SpaceGroup(
        12, group.symbol, group.positions, (*group.variants, "ba" + group.letters[2:])
    )
    assert not is_group_of_variants(wrong)


def test_variants_agree_with_pyxtals_lists():
    """From orthorhombic on the same set; below, pyXtal leaves out the choice of the cell, which we add."""
    published = loadfn(rf("pyxtal", "database/wyckoff_sets.json"))
    more = []
    for group in GROUPS:
        theirs = {row.replace(" ", "") for row in published[str(group.number)]["Transformed WP"]}
        assert theirs <= set(group.variants)
        if theirs != set(group.variants):
            more.append(group.number)
    assert more == [2, 3, 10, 11, 12, 13, 14, 15]
    assert (
        len(space_group(2).variants) == 1344
    )  # affine maps of the eight inversion centres, 8 · 168


def test_groups_where_a_variant_changes_the_symbol():
    changing = [
        group.number
        for group in GROUPS
        if any(
            group.position(letter).site_symmetry != position.site_symmetry
            for variant in group.variants
            for letter, position in zip(variant, group.positions, strict=True)
        )
    ]
    assert changing == SYMBOL_CHANGES
    assert len(changing) == 26


@pytest.mark.parametrize("number", [47, 62, 139, 194, 225, 227])
def test_letter_permutation_by_geometry(number):
    """The permutation of a shift and its inverse undo each other; a map outside the normalizer has none."""
    group = space_group(number)
    positions = sorted(
        Group(number).Wyckoff_positions, key=lambda wp: (wp.letter.isupper(), wp.letter)
    )
    for text in Group(number).get_alternatives()["Coset Representative"]:
        op = SymmOp.from_xyz_str(text)
        there = letter_permutation(positions, op.rotation_matrix, op.translation_vector)
        back = op.inverse
        again = letter_permutation(positions, back.rotation_matrix, back.translation_vector)
        assert there in group.variants
        assert there.translate(str.maketrans(group.letters, again)) == group.letters
    assert letter_permutation(positions, np.eye(3), np.array([0.11, 0.07, 0.03])) is None


def test_bad_numbers_and_letters():
    for number in (0, 231, -1):
        with pytest.raises(ValueError, match="no space group"):
            space_group(number)
    for letter in ("m", "A", "", "ab"):
        with pytest.raises(ValueError, match="225"):
            space_group(225).position(letter)
    with pytest.raises(ValueError, match="225"):
        space_group(225).letter("m-3m", 2)


def test_a_table_that_loads_at_once():
    start = time.perf_counter()
    [wp.get_site_symmetry() for number in range(200, 231) for wp in Group(number)]
    built = time.perf_counter() - start
    space_group.cache_clear()
    start = time.perf_counter()
    [space_group(number) for number in range(1, 231)]
    assert time.perf_counter() - start < built  # all groups faster than pyXtal's last thirty

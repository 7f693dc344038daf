"""Structure → representation → structure, whole: all groups, all positions, real crystals, and the ways to fail."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY
from pymatgen.core import Element, Lattice, Structure
from pyxtal import pyxtal
from pyxtal.lattice import Lattice as PyxtalLattice
from pyxtal.symmetry import Group

from wyk.crystals.representation import ELEMENTS, WyckoffRepresentation, from_cell, from_structure
from wyk.crystals.spacegroups import space_group

TMMGHG2 = Structure.from_spacegroup(
    "Fm-3m",
    Lattice.cubic(7.14),
    ["Tm", "Mg", "Hg"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]],
)
PROTOTYPES = [entry["snl"].structure for entry in AFLOW_PROTOTYPE_LIBRARY]
SEED = 3000  # of draws that leave no two atoms closer than they may be
EDGES = {  # Å and degrees: a cell of each family that has no more symmetry than its family
    "triclinic": (190, 211, 233, 81, 97, 72),
    "monoclinic": (190, 211, 233, 90, 97, 90),
    "orthorhombic": (190, 211, 233, 90, 90, 90),
    "tetragonal": (190, 190, 233, 90, 90, 90),
    "hexagonal": (190, 190, 233, 90, 90, 120),
    "cubic": (190, 190, 190, 90, 90, 90),
}


def every_position(number: int) -> tuple[WyckoffRepresentation, Structure]:
    """A crystal with every Wyckoff position of a group occupied once, each by another element, at a random place.

    Two more general positions leave the crystal no symmetry beyond the group.
    """
    group = space_group(number)
    letters = group.letters + 2 * group.letters[-1]
    family = np.select(
        [number <= 2, number <= 15, number <= 74, number <= 142, number <= 194],
        list(EDGES)[:5],
        "cubic",
    ).item()
    rng = np.random.default_rng(SEED + number)
    on = {wp.letter: wp.ops[0] for wp in Group(number)}  # puts a point on the position
    crystal = pyxtal()
    crystal.build(
        number,
        list(ELEMENTS[: len(letters)]),
        [group.position(letter).multiplicity for letter in letters],
        PyxtalLattice.from_para(*EDGES[family], ltype=family),
        [
            [{f"{group.position(letter).multiplicity}{letter}": on[letter].operate(point)}]
            for letter, point in zip(
                letters, rng.uniform(0.02, 0.48, (len(letters), 3)), strict=True
            )
        ],
    )
    return WyckoffRepresentation(
        number, ELEMENTS[: len(letters)], tuple(letters)
    ), crystal.to_pymatgen()


def same(a: WyckoffRepresentation, b: WyckoffRepresentation) -> bool:
    """Equal up to the normalizer, by the orbit of letters, independent of `fingerprint`."""
    sites = dict(zip(a.elements, a.letters, strict=True))  # one site per element
    image = "".join(sites[e] for e in b.elements)
    group = space_group(a.space_group)
    moved = {"".join(v[group.letters.index(c)] for c in b.letters) for v in group.variants}
    return a.space_group == b.space_group and image in moved


@pytest.mark.parametrize("number", range(1, 231))
def test_every_position_survives_the_round_trip(number):
    representation, structure = every_position(number)
    again = from_structure(structure)
    assert same(representation, again)
    assert again.fingerprint() == representation.fingerprint()


def test_the_round_trip_sees_a_wrong_letter():
    representation, structure = every_position(62)
    again = from_structure(structure)
    letters = list(again.letters)
    c, d = letters.index("c"), letters.index("d")
    letters[c], letters[d] = (
        letters[d],
        letters[c],
    )  # 4c and the general 8d: no normalizer swaps them
    wrong = WyckoffRepresentation(62, again.elements, tuple(letters))
    assert not same(representation, wrong)
    assert wrong.fingerprint() != representation.fingerprint()


def test_golden_tmmghg2():
    found = from_structure(TMMGHG2)
    assert found.space_group == 225
    assert dict(zip(found.elements, found.site_symmetries, strict=True)) == {
        "Mg": "m-3m",
        "Tm": "m-3m",
        "Hg": "-43m",
    }
    published = [
        {("Mg", "m-3m", 0), ("Tm", "m-3m", 1), ("Hg", "-43m", 0)},
        {("Mg", "m-3m", 1), ("Tm", "m-3m", 0), ("Hg", "-43m", 0)},
    ]
    variants = [
        set(zip(v.elements, v.site_symmetries, v.enumerations, strict=True))
        for v in found.variants()
    ]
    assert len(variants) == 2
    assert all(v in variants for v in published)
    assert (found.formula, found.n_atoms, found.degrees_of_freedom) == ("Hg2MgTm", 16, 0)


def test_golden_nd_al2cu_4():
    """Figure 2 of the paper: mp-974729 has two free coordinates."""
    structure = Structure.from_spacegroup(
        "I4/mmm",
        Lattice.tetragonal(8.9013, 5.1991),
        ["Nd", "Al", "Al", "Cu"],
        [[0, 0, 0], [0.2788, 0.5, 0], [0.6511, 0, 0], [0.25, 0.25, 0.25]],
    )
    found = from_structure(structure)
    sites = sorted(zip(found.elements, found.letters, strict=True))
    assert (found.space_group, found.degrees_of_freedom) == (139, 2)
    assert sites == [("Al", "i"), ("Al", "j"), ("Cu", "f"), ("Nd", "a")]


@pytest.mark.parametrize("structure", PROTOTYPES[::3], ids=lambda s: s.composition.reduced_formula)
def test_any_cell_of_a_crystal_has_the_same_fingerprint(structure):
    try:
        expected = from_structure(structure).fingerprint()
    except ValueError as error:
        pytest.skip(f"a prototype that is no crystal of its own: {error}")
    for cell in (structure.get_primitive_structure(), structure * (2, 1, 1)):
        assert from_structure(cell).fingerprint() == expected
    turned = structure.copy()
    turned.translate_sites(range(len(turned)), [0.13, 0.29, 0.41])
    assert from_structure(turned.get_sorted_structure()).fingerprint() == expected
    other = structure.copy()
    other.replace(0, "Og")  # one atom of another element is another crystal
    assert from_structure(other).fingerprint() != expected


def test_shifting_the_origin_of_a_real_crystal():
    """Half the body diagonal is a normalizer translation of Fm-3m."""
    expected = from_structure(TMMGHG2).fingerprint()
    moved = TMMGHG2.copy()
    moved.translate_sites(range(len(moved)), [0.5, 0.5, 0.5])
    assert from_structure(moved).fingerprint() == expected
    wrong = TMMGHG2.copy()  # the same shift of one sublattice alone is another crystal
    wrong.translate_sites(
        [i for i, site in enumerate(wrong) if site.specie.symbol == "Mg"], [0.1, 0, 0]
    )
    assert from_structure(wrong).fingerprint() != expected


@pytest.mark.parametrize("number", [2, 12, 47, 62, 166, 194, 216, 225, 227])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_shift_by_a_normalizer_translation_and_order_of_sites(number, data):
    """Halves of the cell are normalizer translations of these groups' lattices, and any order is the same set."""
    group = space_group(number)
    letters = data.draw(st.lists(st.sampled_from(group.letters), min_size=1, max_size=5))
    elements = data.draw(
        st.lists(st.sampled_from(ELEMENTS[:20]), min_size=len(letters), max_size=len(letters))
    )
    variant = data.draw(st.sampled_from(group.variants))
    order = data.draw(st.permutations(range(len(letters))))
    first = WyckoffRepresentation(number, tuple(elements), tuple(letters))
    moved = [variant[group.letters.index(letters[i])] for i in order]
    other = WyckoffRepresentation(number, tuple(elements[i] for i in order), tuple(moved))
    assert first.fingerprint() == other.fingerprint()
    assert other.fingerprint() in {v.fingerprint() for v in first.variants()}


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 230).flatmap(
        lambda n: st.tuples(
            st.just(n),
            *2 * (st.lists(st.sampled_from(space_group(n).letters), min_size=1, max_size=3),),
        )
    )
)
def test_fingerprints_differ_unless_a_variant_joins_them(case):
    number, a, b = case
    first = WyckoffRepresentation(number, ("H", "C", "O")[: len(a)], tuple(a))
    second = WyckoffRepresentation(number, ("H", "C", "O")[: len(b)], tuple(b))
    joined = len(a) == len(b) and same(first, second)
    assert (first.fingerprint() == second.fingerprint()) == joined


def test_formal_validity():
    def reason(number, letters):
        return WyckoffRepresentation(number, ("O",) * len(letters), tuple(letters)).invalidity()

    assert reason(225, "ab") is None
    assert reason(225, "ee") is None
    assert "4a" in reason(225, "aa")
    assert "no Wyckoff position 'm'" in reason(225, "m")
    assert "no space group 231" in reason(231, "a")
    assert "no occupied" in reason(1, "")
    assert "'Xx'" in WyckoffRepresentation(1, ("Xx",), ("a",)).invalidity()
    with pytest.raises(ValueError, match="2 elements on 1 sites"):
        WyckoffRepresentation(1, ("O", "O"), ("a",))


CUBE = Lattice.cubic(4)


@pytest.mark.parametrize(
    ("structure", "reason"),
    [
        (Structure(CUBE, [{"Fe": 0.5, "Co": 0.5}], [[0, 0, 0]]), "partial occupancy on site 1"),
        (Structure(CUBE, [{"Fe": 0.5}], [[0, 0, 0]]), "partial occupancy on site 1"),
        (Structure(CUBE, [Element("D")], [[0, 0, 0]]), "isotopes"),
        (Structure(CUBE, ["X"], [[0, 0, 0]]), "no element"),
        (Structure(CUBE, ["Fe", "Co"], [[0, 0, 0], [0.05, 0, 0]]), "Fe .* and Co .* overlap"),
        (
            Structure(CUBE, ["Fe", "Co"], [[0.02, 0.5, 0], [0.97, 0.5, 0.98]]),
            "Fe .* and Co .* overlap",
        ),
        (Structure(Lattice.orthorhombic(4, 4, 0.3), ["Fe"], [[0, 0, 0]]), "0.30 Å thin"),
        (Structure(Lattice.orthorhombic(4, 4, 301), ["Fe"], [[0, 0, 0]]), "vector of 301 Å"),
        (Structure(CUBE, ["Fe"], [[np.nan, 0, 0]]), "NaN"),
        (Structure(Lattice([[1, 0, 0], [2, 0, 0], [0, 0, 1]]), ["Fe"], [[0, 0, 0]]), "volume"),
    ],
)
def test_what_is_refused_says_why(structure, reason):
    with pytest.raises(ValueError, match=reason):
        from_structure(structure)


def test_smallest_and_large_cells():
    assert from_structure(Structure(CUBE, ["Po"], [[0.3, 0.1, 0]])).letters == ("a",)
    rng = np.random.default_rng(0)
    places = rng.permutation(np.stack(np.meshgrid(*3 * [np.arange(8)]), -1).reshape(-1, 3))[:500]
    jitter = rng.uniform(-0.02, 0.02, places.shape)
    found = from_cell(30 * np.eye(3), places / 8 + jitter, np.full(500, 6))
    assert (found.space_group, len(found.letters)) == (1, 500)
    with pytest.raises(ValueError, match="no atoms"):
        from_cell(np.eye(3), np.zeros((0, 3)), [])

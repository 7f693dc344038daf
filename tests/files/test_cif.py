"""A CIF that contradicts itself is refused, or read as it is meant; never another crystal in silence."""

import csv
import itertools
import re

import gemmi
import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st

from wyk.crystals.representation import ELEMENTS
from wyk.files.cells import read_cell, represent_record
from wyk.files.cif_elements import elements
from wyk.files.readers import Record
from wyk.files.settings import named
from wyk.plumbing.paths import ROOT

CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
SITE = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")
TABLE = list(gemmi.spacegroup_table())
CASES = ROOT.parent / "shared" / "cases"
TOLERANCE = ("diamond_cell", "rutile_order")  # about the search for symmetry, not about reading


def write(cell: tuple, tags: list[str], sites: list[str], columns: tuple = SITE) -> str:
    lengths = [f"_cell_{name} {value}" for name, value in zip(CELL, cell, strict=True)]
    loop = ["loop_", *(f"_atom_site_{column}" for column in columns), *sites]
    return "\n".join(["data_x", *lengths, *tags, *loop]) + "\n"


def read(text: str):
    return read_cell(Record("", "", text, "cif"))


def found(text: str) -> tuple[int, int]:
    """Space group and atoms of the conventional cell."""
    representation = represent_record(Record("", "", text, "cif"))
    return representation.space_group, representation.n_atoms


def operations(tag: str, texts) -> list[str]:
    return ["loop_", tag, *(f"'{text}'" for text in texts)]


RUTILE_CELL = (4.594, 4.594, 2.959, 90, 90, 90)
RUTILE_SITES = ["Ti1 Ti 0 0 0", "O1 O .305 .305 0"]
RUTILE_OPERATIONS = [op.triplet() for op in gemmi.SpaceGroup("P 42/m n m").operations()]
CUBIC = (5.64, 5.64, 5.64, 90, 90, 90)
SALT_SITES = ["Na1 Na 0 0 0", "Cl1 Cl .5 .5 .5"]
HM = "_symmetry_space_group_name_H-M"


# --- the cases that others have reported


def cases() -> list[tuple[str, str, str]]:
    if not (CASES / "expected.csv").is_file():
        return []
    with (CASES / "expected.csv").open() as file:
        return [(r["file"], r["space_group"], r["atoms"]) for r in csv.DictReader(file)]


@pytest.mark.skipif(not cases(), reason="needs ../shared/cases")
@pytest.mark.parametrize(("file", "group", "atoms"), cases())
def test_a_reported_file_is_read_right_or_refused(file, group, atoms):
    if file.startswith(TOLERANCE):
        pytest.skip("near the tolerance: see test_representation")
    text = (CASES / "cif" / file).read_text()
    if "refuse" in group:
        with pytest.raises(ValueError, match=r"\w"):
            found(text)
        return
    result = found(text)
    if group != "read":
        assert result[0] == int(group)
        assert not atoms or result[1] == int(atoms)


# --- every setting, in every way to write it


def fitting_cell(group: gemmi.SpaceGroup) -> tuple:
    """A cell that the group leaves as it is, and no other axis of its system would."""
    right, third = (90, 90, 90), (90, 90, 120)
    tries = {
        "triclinic": [(10, 12, 14, 80, 95, 103)],
        "monoclinic": [
            (10, 12, 14, *(101 if i == axis else 90 for i in range(3))) for axis in (1, 2, 0)
        ],
        "orthorhombic": [(10, 12, 14, *right)],
        "tetragonal": [(12, 12, 16, *right), (16, 12, 12, *right), (12, 16, 12, *right)],
        "trigonal": [(12, 12, 12, 75, 75, 75), (12, 12, 18, *third)],
        "hexagonal": [(12, 12, 18, *third)],
        "cubic": [(16, 16, 16, *right)],
    }[group.crystal_system_str()]
    tries += [(12, 18, 12, 90, 120, 90), (18, 12, 12, 120, 90, 90)]
    if group.ext == "H" or (group.crystal_system_str() == "trigonal" and group.ext != "R"):
        tries = tries[::-1] if group.qualifier else [(12, 12, 18, *third), *tries]
    return next(c for c in tries if gemmi.UnitCell(*c).is_compatible_with_spacegroup(group))


SITES = (("Fe", 0.13, 0.21, 0.33), ("O", 0.43, 0.29, 0.16))  # far from any symmetry element
ROWS = [f"{element}1 {element} {x} {y} {z}" for element, x, y, z in SITES]


def places(atoms) -> set:
    return {(e, *(np.rint(np.array(x) * 1e4).astype(int) % 10**4).tolist()) for e, x in atoms}


def expected(group: gemmi.SpaceGroup) -> set:
    atoms = itertools.product(SITES, group.operations())
    return places((e, op.apply_to_xyz([x, y, z])) for (e, x, y, z), op in atoms)


def atoms_of(text: str) -> set:
    cell = read(text)
    return places((ELEMENTS[z - 1], x) for z, x in zip(cell.numbers, cell.fractional, strict=True))


def code(group: gemmi.SpaceGroup) -> str:
    return group.ext.strip("\0") + group.qualifier


WAYS = {  # to state a setting without doubt
    "name": lambda g: [f"{HM} '{g.xhm()}'"],
    "name without blanks": lambda g: [f"_space_group_name_H-M_alt '{g.xhm().replace(' ', '')}'"],
    "newer tag": lambda g: [f"_space_group.name_H-M_alt '{g.xhm()}'"],
    "full name": lambda g: [f"_space_group_name_H-M_full '{g.xhm()}'"],
    "reference name": lambda g: [f"_space_group.name_H-M_ref '{g.xhm()}'"],
    "Hall": lambda g: [f"_space_group_name_Hall '{g.hall}'"],
    "operations": lambda g: operations(
        "_space_group_symop_operation_xyz", (o.triplet() for o in g.operations())
    ),
    "newer operations": lambda g: operations(
        "_space_group_symop.operation_xyz", (o.triplet() for o in g.operations())
    ),
    "magnetic operations": lambda g: operations(
        "_space_group_symop_magn_operation.xyz",
        (f"{o.triplet()},{'+-'[i % 2]}1" for i, o in enumerate(g.operations())),
    ),
    "operations and name": lambda g: [
        f"{HM} '{g.hm}'",
        *operations("_symmetry_equiv_pos_as_xyz", (o.triplet() for o in g.operations())),
    ],
    "code": lambda g: [
        f"_space_group_name_H-M_alt '{g.hm}'",
        *([f"_space_group_IT_coordinate_system_code '{code(g)}'"] if code(g) else []),
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_crystal_in_any_setting_is_read_as_it_is(way):
    for group in TABLE:
        text = write(fitting_cell(group), WAYS[way](group), ROWS)
        assert atoms_of(text) == expected(group), group.xhm()


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(TABLE), st.data())
def test_formula_and_multiplicities_are_compared_in_any_setting(group, data):
    """With the right ones the crystal is read; with a wrong Z, formula or multiplicity it is refused."""
    n = len(group.operations())
    way = data.draw(st.sampled_from(["name", "Hall", "operations"]))
    formula, units, multiplicity = "'Fe O'", n, n
    wrong = data.draw(st.sampled_from(["nothing", "Z", "formula", "hydrogen", "multiplicity"]))
    if wrong == "Z":
        units = data.draw(st.integers(1, 400).filter(lambda z: z != n))
    elif wrong == "formula":
        formula = data.draw(st.sampled_from(["'Fe2 O'", "'Co O'", "Fe"]))
    elif wrong == "hydrogen":
        formula = "'H Fe O'"
    elif wrong == "multiplicity":
        # the order of the site symmetry, 1, is what some programs write there
        multiplicity = data.draw(st.integers(2, 400).filter(lambda m: m != n))
    tags = [f"_chemical_formula_sum {formula}", f"_cell_formula_units_Z {units}"]
    rows = [f"{row} {multiplicity}" for row in ROWS]
    columns = (*SITE, "site_symmetry_multiplicity")
    text = write(fitting_cell(group), WAYS[way](group) + tags, rows, columns)
    if wrong == "nothing":
        assert atoms_of(text) == expected(group)
    else:
        with pytest.raises(ValueError, match=r"formula is|multiplicity is given as"):
            read(text)


SETTINGS = [spglib.get_spacegroup_type(hall) for hall in range(1, 531)]


@pytest.mark.parametrize(
    "spelled",
    [
        lambda name: name,
        lambda name: name.replace(" ", ""),
        lambda name: name.replace("_", ""),
        lambda name: name.replace("_", "").replace(" ", ""),
        lambda name: re.sub(r"_(\d)", r"(\1)", name),
        lambda name: name.lower(),
    ],
)
def test_every_name_is_known_in_the_usual_spellings(spelled):
    """Short and full ones of all 530 settings in spglib's tables, as P2_1/c or F 4/m -3 2/m."""
    for setting in SETTINGS:
        for name in (setting.international_short, setting.international_full):
            assert named(spelled(name))[0].number == setting.number, name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("F d -3 m Z", "F d -3 m:2"), ("Fd-3mS", "F d -3 m:1"), ("F d -3 m (origin choice 2)", "F d -3 m:2"),
        ("Fd-3m:o1", "F d -3 m:1"), ("R -3 m H", "R -3 m:H"), ("R-3mr", "R -3 m:R"), ("R32:h", "R 3 2:H"),
        ("F m 3 m", "F m -3 m"), ("F m 3- m", "F m -3 m"), ("Fm3-m", "F m -3 m"),
        ("Fm-3m (225)", "F m -3 m"), ("P 21 21 21 (no. 19)", "P 21 21 21"),
        ("P2(1)2(1)2(1)", "P 21 21 21"), ("C m c e", "C m c a"), ("P 1 21/n 1", "P 1 21/n 1"),
    ],
)  # fmt: skip
def test_suffixes_and_old_names(name, meant):
    assert [setting.name for setting in named(name)] == [meant]


@pytest.mark.parametrize("name", ["P foo", "cubic", "Pnnn3", "R-3m:b1", "x" * 10**5, "(", "2"])
def test_other_names_are_unknown(name):
    assert named(name) == ()


# --- names that can mean several settings


@pytest.mark.parametrize("group", [g for g in TABLE if g.ext in "12"], ids=lambda g: g.xhm())
def test_one_of_two_origins_is_not_guessed(group):
    text = write(fitting_cell(group), [f"{HM} '{group.hm}'"], ROWS)
    with pytest.raises(ValueError, match="it may mean .*:1 with .* or .*:2 with .* say which"):
        read(text)


@pytest.mark.parametrize("group", [g for g in TABLE if g.ext in "12"], ids=lambda g: g.xhm())
def test_a_name_and_operations_of_different_origins_are_refused(group):
    (other,) = [g for g in TABLE if g.hm == group.hm and g.ext != group.ext]
    triplets = [operation.triplet() for operation in group.operations()]
    tags = operations("_symmetry_equiv_pos_as_xyz", triplets)
    cell = fitting_cell(group)
    assert read(write(cell, [f"{HM} '{group.hm}'", *tags], ROWS))
    with pytest.raises(ValueError, match=f"but {other.xhm()} is stated"):
        read(write(cell, [f"{HM} '{other.xhm()}'", *tags], ROWS))


def test_a_name_and_a_hall_symbol_of_different_origins_are_refused():
    tags = [f"{HM} 'F d -3 m:2'", "_space_group_name_Hall 'F 4d 2 3 -1d'"]
    with pytest.raises(ValueError, match="it may mean F d -3 m:2 .* or F d -3 m:1"):
        read(write(CUBIC, tags, ROWS))


@pytest.mark.parametrize("group", [g for g in TABLE if g.ext in "12"], ids=lambda g: g.xhm())
@pytest.mark.parametrize("how", ["Z", "multiplicity"])
def test_z_or_multiplicity_tell_the_origin(group, how):
    """An atom on the origin of one is on another position in the other."""
    both = [g for g in TABLE if g.hm == group.hm]
    cell, site = fitting_cell(group), ["Fe1 Fe 0 0 0"]
    counts = {g.ext: len(read(write(cell, [f"{HM} '{g.xhm()}'"], site)).numbers) for g in both}
    n = counts[group.ext]
    if len(set(counts.values())) == 1:
        pytest.skip("as many atoms with either origin")
    tags, columns = [f"{HM} '{group.hm}'"], SITE
    if how == "Z":
        tags += ["_chemical_formula_sum Fe", f"_cell_formula_units_Z {n}"]
    else:
        site, columns = [f"{site[0]} {n}"], (*SITE, "symmetry_multiplicity")
    order = len(group.operations())
    if how == "multiplicity" and n * counts[{"1": "2", "2": "1"}[group.ext]] == order:
        pytest.skip("it could be the order of the site symmetry with the other origin")
    cell_read = read(write(cell, tags, site, columns))
    right = read(write(cell, [f"{HM} '{group.xhm()}'"], ["Fe1 Fe 0 0 0"]))
    assert np.allclose(cell_read.fractional, right.fractional)


@pytest.mark.parametrize(
    "name", ["P 2", "P 21", "C 2", "P m", "P 2/m", "P 21/m", "P 21/c", "C 2/c", "P2_1/n"]
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_cell_tells_the_axis_of_a_short_monoclinic_name(name, axis):
    cell = (10, 12, 14, *(101 if i == axis else 90 for i in range(3)))
    settings_of_axis = [
        s for s in named(name) if gemmi.SpaceGroup(s.name).monoclinic_unique_axis() == "abc"[axis]
    ]
    text = write(cell, [f"{HM} '{name}'"], ROWS)
    if settings_of_axis:
        assert atoms_of(text) == expected(gemmi.SpaceGroup(settings_of_axis[0].name))
    else:
        with pytest.raises(ValueError, match="cell does not have the symmetry"):
            read(text)


@pytest.mark.parametrize("name", ["R 3", "R -3", "R 3 2", "R 3 m", "R 3 c", "R -3 m", "R -3 c"])
def test_the_cell_tells_the_axes_of_a_rhombohedral_group(name):
    for cell, axes in (((12, 12, 18, 90, 90, 120), "H"), ((12, 12, 12, 75, 75, 75), "R")):
        text = write(cell, [f"{HM} '{name}'"], ROWS)
        assert atoms_of(text) == expected(gemmi.SpaceGroup(f"{name}:{axes}"))


# --- contradictions


@pytest.mark.parametrize(
    ("tags", "cell", "reason"),
    [
        ([f"{HM} 'P 63/m m c'"], (6, 6, 10, 90, 90, 60), "cell does not have the symmetry"),
        ([f"{HM} 'F m -3 m'"], (4, 4, 4, 60, 60, 60), "cell does not have the symmetry"),
        ([f"{HM} 'P 4/m m m'"], (6, 7, 10, 90, 90, 90), "cell does not have the symmetry"),
        ([f"{HM} 'R -3 m:H'"], (6, 6, 6, 75, 75, 75), "cell does not have the symmetry"),
        ([f"{HM} 'P 1 2/m 1'"], (6, 7, 10, 90, 90, 101), "cell does not have the symmetry"),
        (operations("_symmetry_equiv_pos_as_xyz", ["x,y,z", "-y,x,z", "-x,-y,z", "y,-x,z"]),
         (6, 7, 10, 90, 90, 90), "cell does not have the symmetry of the operations"),
        ([f"{HM} 'P 61'", *operations("_symmetry_equiv_pos_as_xyz", ["x-y,x,z", "x,y,z"])],
         (6, 6, 10, 90, 90, 120), "2 operations that are no group"),
        (operations("_symmetry_equiv_pos_as_xyz", ["x,y,z", "2*x,y,z"]), CUBIC, "unusable symmetry"),
        ([f"{HM} 'F m -3 m'", *operations("_symmetry_equiv_pos_as_xyz", ["x,y,z"])], CUBIC,
         "only x,y,z is listed, but space group F m -3 m is stated"),
        ([f"{HM} 'P foo'", *operations("_symmetry_equiv_pos_as_xyz", ["x,y,z"])], CUBIC, "is called 'P foo'"),
        ([f"{HM} 'F m -3 m'", "_symmetry_Int_Tables_number 221"], CUBIC, "is not number 221"),
        ([f"{HM} 'F m -3 m'", "_space_group_name_H-M_alt 'P m -3 m'"], CUBIC, "two space groups"),
        (["_symmetry_Int_Tables_number 225", "_space_group_IT_number 221"], CUBIC, "two numbers"),
        (["_symmetry_Int_Tables_number 231"], CUBIC, "there is no space group 231"),
        *(([f"{tag} '{text}'"], CUBIC, f"'{text}' is no number of a space group")
          for tag in ("_space_group_IT_number", "_symmetry_Int_Tables_number")
          for text in ("#225", "Fm-3m", "225.5", "-225", "no. 225")),
        (["_symmetry_Int_Tables_number 227"], CUBIC, "space group 227 without symbol or operations"),
        ([f"{HM} ?", "_symmetry_Int_Tables_number '62'"], CUBIC, "space group 62 without symbol"),
        (["_space_group_magn.number_BNS 136.499"], CUBIC, "from which it cannot be taken"),
        (["_parent_space_group.name_H-M_alt 'P m -3 m'"], CUBIC, "from which it cannot be taken"),
        (["_space_group_ssg_name 'x'"], CUBIC, "modulated"),
        (["_jana_cell_commen_t_section_1 0.25"], CUBIC, "modulated"),
        (["loop_", "_atom_site_displace_Fourier_atom_site_label", "Na1"], CUBIC, "modulated"),
        (["loop_", "_cell_wave_vector_seq_id", "1"], CUBIC, "modulated"),
        (["loop_", "_atom_site_Fourier_wave_vector_seq_id", "1"], CUBIC, "modulated"),
        (["loop_", "_atom_site_moment.label", "_atom_site_moment.crystalaxis_x", "Na1 2"], CUBIC, "magnetic moments"),
        *(([f"_{tag}"], CUBIC, "from which it cannot be taken") for tag in (
            "space_group_Bravais_type cF", "space_group_centring_type F", "symmetry_cell_setting cubic",
            "sym_space_group_name_H-M 'F m -3 m'", "icsd_space_group 225", "spacegroup_name Fm-3m",
            "space_group_crystal_system cubic", "space_group.Laue_class m-3m")),
        (["loop_", "_space_group.id", "_space_group.name_H-M_alt", "1 'F m -3 m'", "2 'P m -3 m'"], CUBIC, "several"),
        (["loop_", "_space_group.id", "_space_group.IT_number", "1 225", "2 221"], CUBIC, "several values: 225, 221"),
        (["loop_", HM, "'P 1'", "'F m -3 m'"], CUBIC, "several values"),
        ([*operations("_symmetry_equiv_pos_as_xyz", ["x,y,z"]),
          *operations("_space_group_symop_operation_xyz", ["x,y,z", "-x,-y,-z"])], CUBIC, "two lists"),
        (["_cell_modulation_dimension 1"], CUBIC, "modulated"),
        (operations("_space_group_symop_ssg_operation_algebraic", ["x1,x2,x3,x4"]), CUBIC, "modulated"),
        (["_cell.length_a 7"], CUBIC, "_cell.length_a stands there twice, with different values"),
        (["_chemical_formula_sum 'Na4 Cl4'", "_cell_formula_units_Z 4"], CUBIC, "the cell holds Na1 Cl1"),
    ],
)  # fmt: skip
def test_a_contradiction_is_refused(tags, cell, reason):
    with pytest.raises(ValueError, match=reason):
        read(write(cell, tags, SALT_SITES))


@pytest.mark.parametrize(
    "tags",
    [
        ["_space_group_crystal_system triclinic"],
        ["_space_group_Bravais_type aP", "_space_group_centring_type P", "_symmetry_cell_setting triclinic"],
        ["_space_group.Laue_class -1", "_space_group.point_group_H-M 1"],
        ["_sym_space_group_name_H-M 'P 1'", "_icsd_space_group 1", "_space_group_IT_number 1.0"],
        ["loop_", "_space_group.id", HM, "1 'P 1'", "2 'P 1'"],
        ["loop_", "_geom_bond_atom_site_label_1", "_geom_bond_site_symmetry_2", "Na1 3_655"],
        ["loop_", "_atom_site_moment.label", "Na1", f"{HM} 'P 1'"],
        [*operations("_symmetry_equiv_pos_as_xyz", ["x,y,z"]),
         *operations("_space_group_symop_operation_xyz", ["X, Y, Z"])],
    ],
)  # fmt: skip
def test_words_that_say_no_more_than_p1(tags):
    assert len(read(write(CUBIC, tags, SALT_SITES)).numbers) == 2


@pytest.mark.parametrize(
    "setting", [f"{HM} 'F m -3 m'", "_space_group_IT_number 225", "_icsd_space_group Fm-3m"]
)
def test_symmetry_in_another_block(setting):
    text = write(CUBIC, [], SALT_SITES)
    with pytest.raises(ValueError, match="its symmetry stands in another data block"):
        read(f"data_global\n{setting}\n{text}")
    assert len(read(f"data_global\n{HM} 'P 1'\n{text}").numbers) == 2
    said = write(CUBIC, [f"{HM} 'F m -3 m'"], SALT_SITES)
    assert found(f"data_global\n{setting}\n{said}") == (225, 8)
    rutile = write(
        RUTILE_CELL, operations("_symmetry_equiv_pos_as_xyz", RUTILE_OPERATIONS), RUTILE_SITES
    )
    assert found(f"data_global\n{setting}\n{rutile}") == (136, 6)


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("calc_flag", "d dum", "dummy atoms"),
        ("calc_flag", "d calc", None),
        ("disorder_group", "1 2", "2 groups"),
        ("disorder_group", "1 .", None),
        ("disorder_group", "1 1", None),
    ],
)
def test_rows_that_are_no_atoms_or_not_all_at_once(column, values, reason):
    sites = [f"{site} {value}" for site, value in zip(SALT_SITES, values.split(), strict=True)]
    text = write(CUBIC, [f"{HM} 'F m -3 m'"], sites, (*SITE, column))
    if reason is None:
        assert found(text) == (225, 8)
        return
    with pytest.raises(ValueError, match=reason):
        read(text)


@pytest.mark.parametrize("number", ["225.0", "225.", "225(1)", "0", "?"])
def test_a_number_with_and_without_the_name(number):
    tags = [f"_space_group_IT_number {number}"]
    assert found(write(CUBIC, [f"{HM} 'F m -3 m'", *tags], SALT_SITES)) == (225, 8)
    alone = found(write(CUBIC, tags, SALT_SITES))[0]
    assert alone == (225 if number.startswith("225") else 221)


PROOF = ["_chemical_formula_sum 'Na4 Cl4'", "_cell_formula_units_Z 4"]  # as pymatgen writes it


@pytest.mark.parametrize(
    "listed",
    [
        ["x,y,z"],
        ["x,y,z", "-x,y,z"],
        ["x,y,z", "x+1/4,y,z"],
        [op.triplet() for op in gemmi.SpaceGroup("P m -3 m").operations()],
    ],
    ids=["identity", "a mirror", "no group", "no centring"],
)  # fmt: skip
def test_formula_and_z_decide_between_name_and_operations(listed):
    """What language models write: the list of operations is not that of the name."""
    tags = [f"{HM} 'F m -3 m'", *operations("_symmetry_equiv_pos_as_xyz", listed)]
    assert found(write(CUBIC, tags + PROOF, ["Na1 Na 0 0 0", "Cl1 Cl 0 0 .5"])) == (225, 8)
    with pytest.raises(ValueError, match=r"listed|operations"):
        read(write(CUBIC, tags, SALT_SITES))


def test_a_list_of_all_atoms_under_the_name_of_the_group_is_read_as_the_formula_says():
    sites = ["Na1 Na 0 0 0", "Na2 Na .5 .5 0", "Na3 Na .5 0 .5", "Na4 Na 0 .5 .5"]
    sites += ["Cl1 Cl .5 .5 .5", "Cl2 Cl 0 0 .5", "Cl3 Cl 0 .5 0", "Cl4 Cl .5 0 0"]
    tags = [*operations("_symmetry_equiv_pos_as_xyz", ["x,y,z"]), *PROOF]
    assert found(write(CUBIC, [f"{HM} 'P 1'", *tags], sites)) == (225, 8)
    assert found(write(CUBIC, [f"{HM} 'P m -3 m'", *tags], sites)) == (225, 8)


# --- which element


@pytest.mark.parametrize(
    ("symbol", "is_type", "meant"),
    [
        ("Na1", False, "Na"), ("O1", False, "O"), ("H12A", False, "H"), ("Fe", True, "Fe"), ("Fe3+", True, "Fe"),
        ("CL1-", True, "Cl"), ("O2-", True, "O"), ("MG1", False, "Mg"), ("OA1", False, "O"), ("FeA", False, "Fe"),
        ("Cm1", False, "Cm"), ("D1", False, "D"), ("U", False, "U"), ("Na(1)", False, "Na"), ("C_1", False, "C"),
        ("CM1", False, None), ("HO1", False, None), ("NH4", False, None), ("NH4", True, None), ("CO1", False, None),
        ("OH2", False, None), ("Wat", False, None), ("Wat1", True, None), ("Ow1", False, None), ("M1", False, None),
        ("Fe+3", True, "Fe"), ("Fe3", True, "Fe"), ("O-2", True, "O"), ("Fe(3+)", True, "Fe"), ("Fe_pv", True, "Fe"),
        ("Fe2.5+", True, "Fe"), ("Fe+2.67", True, "Fe"),
        ("CL", True, "Cl"), ("NA1+", True, "Na"), ("SI4+", True, "Si"), ("Fe+++", True, "Fe"), ("o2-", True, "O"),
        ("NH4+", True, None), ("CN", True, None), ("CN-", True, None), ("H2O", True, None), ("O-H", True, None),
        ("OH-", True, None), ("Fe/Ni", True, None), ("Fe,Ni", True, None), ("Fe-Ni", True, None), ("NO3-", True, None),
        ("Fe+Ni", True, None), ("Fe0.5Ni0.5", True, None), ("Fe Ni", True, None), ("Fe_Ni", True, None),
        ("Fe/Ni", False, None), ("Fe1Ni1", False, None), ("Fe-Ni", False, None), ("Fe2+", False, "Fe"),
        ("X", True, None), ("1", False, None), ("", False, None), ("é", False, None),
    ],
)  # fmt: skip
def test_the_element_that_a_symbol_or_label_means(symbol, is_type, meant):
    assert elements(symbol, is_type)[0] == meant


@pytest.mark.parametrize(
    ("labels", "formula", "meant"),
    [
        (["CM1", "O1"], "C O", {"C", "O"}),
        (["Cm1", "O1"], "C O", {"C", "O"}),
        (["Cm1", "O1"], "Cm O", {"Cm", "O"}),
        (["CM1", "O1"], "Cm O", {"Cm", "O"}),
        (["HO1", "O1"], "H O", {"H", "O"}),
        (["Ho1", "O1"], "Ho O", {"Ho", "O"}),
        (["Ho1", "O1"], None, {"Ho", "O"}),
        (["CO1", "O1"], "Co O", {"Co", "O"}),
        (["CO1", "CO2"], "Co", {"Co"}),
        (["NA1", "CL1"], "Na Cl", {"Na", "Cl"}),
        (["Ow1", "Na1"], "Na O", {"Na", "O"}),
        (["CM1", "O1"], None, "CM1 may be Cm or C"),
        (["NH4", "Cl"], "H4 Cl N", "the formula is H4 N1 Cl1"),
        (["NH4", "Cl"], None, "NH4 may be Nh or N"),
        (["OH2", "Na1"], "H2 Na O", "the formula is H2 O1 Na1"),
        (["Wat", "Na1"], "H2 Na O", "the formula is H2 O1 Na1"),
        (["Wat", "Na1"], None, "Wat may be W, or no element"),
        (["Li1", "O1"], "H Li O", "the formula is H1 Li1 O1"),
        (["D1", "O1"], "D O", "D1 is D, an isotope"),
    ],
)  # fmt: skip
def test_labels_without_types_are_read_as_the_formula_says(labels, formula, meant):
    tags = [f"_chemical_formula_sum '{formula}'"] if formula else []
    columns = ("label", "fract_x", "fract_y", "fract_z")
    rows = [f"{label} {0.5 * i} {0.5 * i} {0.5 * i}" for i, label in enumerate(labels)]
    text = write(CUBIC, [f"{HM} 'P 1'", *tags], rows, columns)
    if isinstance(meant, set):
        assert {ELEMENTS[z - 1] for z in read(text).numbers} == meant
    else:
        with pytest.raises(ValueError, match=meant):
            read(text)


def test_label_and_type_of_different_elements():
    sites = ["Na1 K 0 0 0", "Cl1 Cl .5 .5 .5"]
    with pytest.raises(ValueError, match="Na1 is K by its type, but Na by its label"):
        read(write(CUBIC, [f"{HM} 'F m -3 m'"], sites))
    with pytest.raises(ValueError, match="the formula is Na1 Cl1"):
        read(write(CUBIC, [f"{HM} 'F m -3 m'", "_chemical_formula_sum 'Na Cl'"], sites))
    said = [f"{HM} 'F m -3 m'", "_chemical_formula_sum 'K Cl'"]
    assert set(read(write(CUBIC, said, sites)).numbers) == {17, 19}
    for label in ("M1", "B1", "Ca1", "1", "CA"):  # carbon may be called Ca
        read(write(CUBIC, [f"{HM} 'F m -3 m'"], [f"{label} C 0 0 0"]))


@pytest.mark.parametrize(
    ("formula", "units"),
    [("?", 4), ("'Cl Na'", 4), ("'Na Cl'", "?"), ("NaCl", 4), ("'Na4 Cl4'", 4), ("'Na4 Cl4'", 1), ("'Na4 Cl4'", "."),
     ("'Na2 Cl2'", 2), ("'Na1.00 Cl1.00'", 4), ("'(Na Cl)x'", 4), ("?", 2)],
)  # fmt: skip
def test_formulas_as_programs_write_them(formula, units):
    tags = [
        f"{HM} 'F m -3 m'",
        f"_chemical_formula_sum {formula}",
        f"_cell_formula_units_Z {units}",
    ]
    assert found(write(CUBIC, tags, SALT_SITES)) == (225, 8)


@pytest.mark.parametrize(
    ("formula", "units"),
    [("'Na Cl'", 3), ("'Na Cl'", 8), ("?", 3), ("'Na8 Cl8'", "?"), ("'Na Cl2'", "?")],
)
def test_formulas_of_another_crystal(formula, units):
    tags = [
        f"{HM} 'F m -3 m'",
        f"_chemical_formula_sum {formula}",
        f"_cell_formula_units_Z {units}",
    ]
    with pytest.raises(ValueError, match="the cell holds Na4 Cl4"):
        read(write(CUBIC, tags, SALT_SITES))


AMMONIUM = [
    "N1 N 0 0 0",
    *(f"H{i} H {x} {x} {x}" for i, x in enumerate((0.2, 0.4, 0.6, 0.8))),
    "Cl1 Cl .5 0 .5",
]


@pytest.mark.parametrize(
    "formula",
    ["(N H4) Cl", "(NH4)Cl", "N1, H4, Cl1", "N_1 H_4 Cl_1", "[N H4]1 Cl", "N (H2)2 Cl", "{N (H2)2} Cl", "(N H4 Cl)n",
     "N H4 Cl 1+", "N H4 Cl +", "N H3 D Cl"],
)  # fmt: skip
@pytest.mark.parametrize("tag", ["sum", "structural", "moiety", "iupac"])
def test_hydrogen_of_a_formula_with_brackets_is_missed(tag, formula):
    tags = [f"{HM} 'P 1'", f"_chemical_formula_{tag} '{formula}'"]
    assert len(read(write(CUBIC, tags, AMMONIUM)).numbers) == 6
    with pytest.raises(ValueError, match="but the formula is H4 N1 Cl1"):
        read(write(CUBIC, tags, AMMONIUM[:1] + AMMONIUM[-1:]))


@pytest.mark.parametrize(
    "formula", ["n h4 cl", "N H4 Cl . H2 O", "Na1-x Cl", "(N H4", "A B", "N0", "N H4 + Cl", "(" * 9999]
)  # fmt: skip
def test_a_sum_formula_that_cannot_be_read_is_refused(formula):
    text = write(CUBIC, [f"{HM} 'P 1'", f"_chemical_formula_sum '{formula}'"], AMMONIUM)
    with pytest.raises(ValueError, match="formula .* cannot be read"):
        read(text)
    assert len(read(text.replace("_sum", "_moiety")).numbers) == 6


def test_hydrogen_of_a_weight_is_missed():
    tags = [f"{HM} 'P 1'", "_cell_formula_units_Z 1", "_chemical_formula_weight 53.49"]
    assert len(read(write(CUBIC, tags, AMMONIUM)).numbers) == 6
    with pytest.raises(ValueError, match="a formula unit weighs 49.46 g/mol, but 53.49 is stated"):
        read(write(CUBIC, tags, AMMONIUM[:1] + AMMONIUM[-1:]))


def test_a_formula_in_another_block_counts():
    crystal = write(CUBIC, [f"{HM} 'P 1'"], AMMONIUM[:1] + AMMONIUM[-1:])
    whole = write(CUBIC, [f"{HM} 'P 1'"], AMMONIUM)
    block = "data_global\n_chemical_formula_sum '{}'\n"
    assert len(read(block.format("N H4 Cl") + whole).numbers) == 6
    with pytest.raises(ValueError, match="but the formula is H4 N1 Cl1"):
        read(block.format("N H4 Cl") + crystal)
    two = block.format("N H4 Cl") + block.format("Na Cl").replace("global", "other")
    assert len(read(two + crystal).numbers) == 2  # nobody knows which is meant


def test_a_weight_tells_of_hydrogen_without_z_too():
    tags = [f"{HM} 'P 1'", "_chemical_formula_weight 53.49"]
    assert len(read(write(CUBIC, tags, AMMONIUM)).numbers) == 6
    with pytest.raises(ValueError, match="a formula unit weighs 49.46 g/mol, but 53.49 is stated"):
        read(write(CUBIC, tags, AMMONIUM[:1] + AMMONIUM[-1:]))
    salt = [f"{HM} 'F m -3 m'", "_chemical_formula_weight 58.44"]  # four units in the cell
    assert found(write(CUBIC, salt, SALT_SITES)) == (225, 8)


@pytest.mark.parametrize(
    ("volume", "right"), [("62.45(3)", True), ("63.9", True), ("?", True), ("69.1", False)]
)
def test_a_cell_of_another_volume_is_refused(volume, right):
    text = write(RUTILE_CELL, [f"{HM} 'P 42/m n m'", f"_cell_volume {volume}"], RUTILE_SITES)
    if right:
        assert found(text) == (136, 6)
        return
    with pytest.raises(ValueError, match="the cell has 62.45 Å³, but 69.1 Å³ are stated"):
        read(text)


@pytest.mark.parametrize("tag", ["wyckoff_symbol", "Wyckoff_label"])
@pytest.mark.parametrize(
    ("titanium", "right"), [("2a", True), ("a", True), ("?", True), ("4c", False)]
)
def test_a_wyckoff_symbol_says_how_many_images_there_are(tag, titanium, right):
    sites = [f"Ti1 Ti 0 0 0 {titanium}", "O1 O .305 .305 0 4f"]
    text = write(RUTILE_CELL, [f"{HM} 'P 42/m n m'"], sites, (*SITE, tag))
    if right:
        assert found(text) == (136, 6)
        return
    with pytest.raises(ValueError, match="a site has 2 images, but its multiplicity is given as 4"):
        read(text)


@pytest.mark.parametrize(
    ("name", "number"),
    [("P 4- 3 m", 215), ("F 4- 3 m", 216), ("P 4- 2 m", 111), ("R 3- m", 166), ("I 4- 3 d", 220)],
)
def test_a_bar_may_stand_behind_its_number(name, number):
    assert {setting.number for setting in named(name)} == {number}


def test_hydrogen_that_is_only_counted():
    text = write(CUBIC, [f"{HM} 'P 1'"], ["O1 O 0 0 0 2"], (*SITE, "attached_hydrogens"))
    with pytest.raises(ValueError, match="hydrogen atoms that have no coordinates"):
        read(text)
    assert len(read(text.replace("0 0 0 2", "0 0 0 0")).numbers) == 1


# --- legal ways to write the same


LISTED = "\n".join(operations("_symmetry_equiv_pos_as_xyz", RUTILE_OPERATIONS))
RUTILE = write(RUTILE_CELL, [f"{HM} 'P 42/m n m'"], RUTILE_SITES)


@pytest.mark.parametrize(
    "text",
    [
        RUTILE,
        RUTILE.replace(".305 .305 0", "'.305' \".305\" '0'"),
        RUTILE.replace(".305", ".305(2)"),
        RUTILE.replace("_length_a 4.594", "_length_a '4.594(1)'"),
        RUTILE.replace(HM, f"_symmetry_Int_Tables_number '136'\n{HM}"),
        RUTILE.replace("_cell_angle_alpha 90\n", ""),
        RUTILE.replace("_alpha 90", "_alpha ?").replace("_gamma 90", "_gamma ."),
        RUTILE.replace("_cell_", "_cell."),
        RUTILE.replace("_atom_site_", "_atom_site."),
        RUTILE.replace("_cell_", "_CELL_").replace("_fract_x", "_Fract_X"),
        RUTILE.replace("loop_", "_journal_year 1\n_journal_year 2\nloop_"),
        RUTILE.replace("loop_", "_cell_length_a 4.594\nloop_"),
        RUTILE + "\n".join(["data_y", "loop_", *(f"_atom_site_{name}" for name in SITE), "? ? ? ? ?\n"]),
        "data_global\n_journal_name x\n" + RUTILE,
        RUTILE + "data_x\n_refine_ls_R_factor 0.1\n",
        RUTILE.replace(f"{HM} 'P 42/m n m'", "_space_group.name_H-M_alt 'P4_2/mnm'"),
        RUTILE.replace(f"{HM} 'P 42/m n m'", f"{HM} ?\n_symmetry_Int_Tables_number 136"),
        RUTILE.replace(f"{HM} 'P 42/m n m'", LISTED.replace("equiv_", "equiv.")),
        RUTILE.replace(f"{HM} 'P 42/m n m'", f"{HM} 'unknown'\n{LISTED}"),
    ],
)  # fmt: skip
def test_other_ways_to_write_rutile(text):
    assert found(text) == (136, 6)


@pytest.mark.parametrize("occupancy", ["1", "1.0", "0.999", "1.001", "'1'", "1.000(3)", "?", "."])
def test_full_occupancy(occupancy):
    rows = [f"{row} {occupancy}" for row in SALT_SITES]
    assert found(write(CUBIC, [f"{HM} 'F m -3 m'"], rows, (*SITE, "occupancy"))) == (225, 8)


@pytest.mark.parametrize("occupancy", ["0.99", "0.5", "0", "1.01", "-1", "x"])
def test_partial_occupancy(occupancy):
    rows = [f"{row} {occupancy}" for row in SALT_SITES]
    with pytest.raises(ValueError, match="partial occupancy on site Na1"):
        read(write(CUBIC, [f"{HM} 'F m -3 m'"], rows, (*SITE, "occupancy")))


def test_one_atom_without_a_loop():
    lines = write(CUBIC, [f"{HM} 'P m -3 m'"], [], ()).removesuffix("loop_\n").splitlines()
    values = zip(SITE, ["Po1", "Po", "0", "0", "0"], strict=True)
    lines += [f"_atom_site_{name} {value}" for name, value in values]
    assert found("\n".join(lines)) == (221, 1)


# --- images


def test_images_are_merged_to_their_mean():
    text = write((5, 6, 7, 90, 90, 90), [f"{HM} 'P m m 2'"], ["Fe1 Fe .02 .25 .1", "O1 O .5 .5 .6"])
    cell = read(text)
    iron = cell.fractional[cell.numbers == 26]
    assert np.allclose(np.abs(iron[:, 0] - np.rint(iron[:, 0])), 0)
    assert len(cell.numbers) == 3
    apart = write((5, 6, 7, 90, 90, 90), [f"{HM} 'P m m 2'"], ["Fe1 Fe .1 .25 .1", "O1 O .5 .5 .6"])
    assert len(read(apart).numbers) == 5


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.sampled_from([g for g in TABLE if g.is_reference_setting()]), st.integers(0, 2**30))
def test_an_atom_near_a_position_is_put_on_it(group, seed):
    """On the first fixed point: wherever within 0.1 Å the file has it, there are as many atoms as on the point."""
    cell, random = fitting_cell(group), np.random.default_rng(seed)
    lattice = np.array(gemmi.UnitCell(*cell).orth.mat.tolist()).T
    shift = random.normal(size=3)
    x = 0.1 * random.uniform() * shift / np.linalg.norm(shift) @ np.linalg.inv(lattice)
    on, near = (
        read(write(cell, [f"{HM} '{group.xhm()}'"], [f"Fe1 Fe {' '.join(f'{v:.6f}' for v in p)}"]))
        for p in (np.zeros(3), x)
    )
    assert len(on.numbers) == len(near.numbers)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(-3, 3)), max_size=5))
def test_a_sheared_basis_is_the_same_crystal(shears):
    """fcc and rutile, in any basis of their lattice."""
    change = np.eye(3)
    for i, j, times in shears:
        if i != j:
            change[i] += times * change[j]
    salt = gemmi.UnitCell(*CUBIC)
    primitive = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2 * salt.a
    lattice = change @ primitive
    if np.linalg.norm(lattice, axis=1).max() > 250:
        return
    lengths = np.linalg.norm(lattice, axis=1)
    angles = [
        np.degrees(np.arccos(lattice[i] @ lattice[j] / lengths[i] / lengths[j]))
        for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    cell = tuple(f"{value:.9f}" for value in (*lengths, *angles))
    assert found(write(cell, [f"{HM} 'P 1'"], ["Al1 Al 0 0 0"])) == (225, 4)
    x, y, z = (np.full(3, 0.5) @ np.linalg.inv(change)).round(6)
    sites = ["Na1 Na 0 0 0", f"Cl1 Cl {x} {y} {z}"]
    assert found(write(cell, [f"{HM} 'P -1'"], sites)) == (225, 8)


def test_a_cell_that_is_thin_in_any_basis_is_refused():
    with pytest.raises(ValueError, match="a cell 0.30 Å thin"):
        represent_record(
            Record("", "", write((9, 9, 0.3, 90, 90, 90), [], ["Al1 Al 0 0 0"]), "cif")
        )


@pytest.mark.parametrize("vast", ["1e308", "-1e308", "1e200", "1e-300", "1e17"])
def test_vast_numbers_are_refused(vast):
    for text in (
        write((vast, 6, 7, 90, 90, 90), [f"{HM} 'P m m 2'"], ROWS),
        write(
            (5, 6, 7, 90, 90, 90), [f"{HM} 'P m m 2'"], [f"Fe1 Fe {vast} 0 0", f"O1 O 0 {vast} .5"]
        ),
    ):
        try:
            represent_record(Record("", "", text, "cif"))
        except ValueError:
            continue

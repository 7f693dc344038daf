"""Bad input: a clear error that names the file or row, the other rows done, nothing half-written."""

import contextlib
import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from wyk.crystals.representation import WyckoffRepresentation, check_cell
from wyk.crystals.tables import read_representations, to_table, write_representations
from wyk.files import datasets, sources
from wyk.files.cells import parse, read_cell, represent_record
from wyk.files.readers import LARGEST, Record
from wyk.plumbing.paths import ROOT

SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
GOOD = str(CifWriter(SALT, symprec=0.01))


def _cif(sites: str, cell: str = "5 6 7 90 90 90", more: str = "") -> str:
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = [f"_cell_{name} {value}" for name, value in zip(names, cell.split(), strict=False)]
    columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
    loop = ["loop_", *(f"_atom_site_{column}" for column in columns), sites]
    return "\n".join(["data_x", *lines, more, *loop]) + "\n"


def _json(**changes) -> str:
    data = json.loads(SALT.to_json())
    data["sites"][0] |= changes
    return json.dumps(data)


BAD_CIFS = {  # what is wrong: (text, reason)
    "empty": ("", "nothing in column `cif`"),
    "blank": ("\n  \n", "empty text"),
    "prose": ("this is no crystal", "not a CIF: .*expected block header"),
    "cut off": (GOOD[:-30], "not a CIF"),
    "half a POSCAR": (SALT.to(fmt="poscar")[:-40], "not a POSCAR, or only a part of one"),
    "no atoms": (_cif("").split("loop_")[0], "no atoms in the CIF"),
    "two crystals": (GOOD + GOOD.replace("data_", "data_2"), "2 crystals in one CIF"),
    "no cell": (_cif("Fe1 Fe 0 0 0 1", cell=""), "no unit cell in the CIF"),
    "cell without length": (_cif("Fe1 Fe 0 0 0 1", cell="5 5"), "no unit cell"),
    "partial": (_cif("Fe1 Fe 0 0 0 0.5"), r"partial occupancy on site Fe1 \(0.5\)"),
    "shared": (_cif("Fe1 Fe 0 0 0 .6\nCo1 Co 0 0 0 .4"), r"partial occupancy on site Fe1 \(0.6\)"),
    "unknown": (_cif("Xx1 Xx 0 0 0 1"), "unknown element 'Xx' on site Xx1"),
    "dummy": (_cif("X0+ X 0 0 0 1"), "unknown element 'X' on site X0+"),
    "deuterium": (_cif("O1 O 0 0 0 1\nD1 D .2 0 0 1"), "site D1 is D, an isotope; write it as H"),
    "overlap": (
        _cif("Fe1 Fe 0 0 0 1\nO1 O .98 0 0 1"),
        "Fe .atom 1. and O .atom 2. overlap: 0.10 Å apart",
    ),
    "twice": (
        _cif("Fe1 Fe 0 0 0 1\nFe2 Fe 1 0 0 1"),
        "Fe .atom 1. and Fe .atom 2. overlap: 0.00 Å apart",
    ),
    "not a number": (_cif("Fe1 Fe 0 nan 0 1"), "no finite coordinates on site Fe1"),
    "unknown x": (_cif("Fe1 Fe ? 0 0 1"), "no finite coordinates on site Fe1"),
    "NaN cell": (
        _cif("Fe1 Fe 0 0 0 1", cell="5 nan 5 90 90 90"),
        "NaN or infinite numbers in cell",
    ),
    "flat cell": (_cif("Fe1 Fe 0 0 0 1", cell="5 5 5 90 90 1e-5"), "almost no volume"),
    "short cell": (_cif("Fe1 Fe 0 0 0 1", cell="5 5 .1 90 90 90"), "a cell 0.10 Å thin"),
    "vast cell": (_cif("Fe1 Fe 0 0 0 1", cell="9e4 5 5 90 90 90"), "lattice vector of 9e.04 Å"),
    "symbol": (
        _cif("Fe1 Fe 0 0 0 1", more="_symmetry_space_group_name_H-M 'P foo'"),
        r"unusable symmetry: no space group is called 'P foo'",
    ),
    "operation": (
        _cif("Fe1 Fe 0 0 0 1", more="loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\nx,y,w"),
        "unusable symmetry: an operation that cannot be read",
    ),
    "many operations": (
        _cif("Fe1 Fe 0 0 0 1", more="loop_\n_symmetry_equiv_pos_as_xyz" + "\nx,y,z" * 193),
        "193 symmetry operations; up to 192 can be read",
    ),
    "many sites": (
        _cif("Fe1 Fe 0 0 0 1\n" * 10_001),
        "10,001 sites; up to 10,000 can be read",
    ),
    "number alone": (
        _cif("Fe1 Fe 0 0 0 1", more="_symmetry_Int_Tables_number 62"),
        "space group 62 without symbol or operations",
    ),
}

BAD_JSON = {
    "half": (SALT.to_json()[:99], "not pymatgen's JSON of a Structure .JSONDecodeError"),
    "list": ("[1, 2]", "not pymatgen's JSON"),
    "deep": ("[" * 100_000, "not pymatgen's JSON"),
    "no sites": ('{"@class": "Structure", "lattice": {"matrix": []}}', "not pymatgen's JSON"),
    "other class": ('{"@class": "Slab"}', "its class is Slab"),
    "half a site": (_json(species=[{"element": "Na", "occu": 0.5}]), r"site Na0 \(0.5\)"),
    "two on a site": (
        _json(species=[{"element": "Na", "occu": 0.5}, {"element": "K", "occu": 0.5}]),
        "2 species on site Na/K0",
    ),
    "isotope": (_json(species=[{"element": "D", "occu": 1}]), "site D0 is D"),
    "infinite": (_json(abc=[0, float("inf"), 0]), "infinite numbers in cell or coordinates"),
    "missing number": (_json(abc=[0, None, 0]), "NaN or infinite numbers in cell or coordinates"),
    "vast number": (_json(abc=[10**400, 0, 0]), "not pymatgen's JSON .*OverflowError"),
    "close": (_json(abc=[0.5, 0.5, 0.5]), r"Na .atom 1. and Cl .* overlap: 0.00 Å"),
}


def _represent_between_good_rows(folder: Path, column: str, good: str, bad: dict) -> pd.DataFrame:
    """The rejected rows of a table in which each bad row stands between good ones."""
    rows = [("good", good)]
    for name, (text, _) in bad.items():
        rows += [(name, text), ("good", good)]
    pd.DataFrame(rows, columns=["material_id", column]).to_csv(folder / "mixed.csv", index=False)
    summary = datasets.represent(folder / "mixed.csv", folder / "out.parquet", 2)
    assert summary == datasets.Summary(len(bad) + 1, len(bad))
    frame = pd.read_parquet(folder / "out.parquet")
    assert set(frame["material_id"]) == {"good"}
    assert set(frame["space_group"]) == {225}
    return pd.read_csv(folder / "out.rejected.csv").set_index("material_id")


@pytest.fixture(scope="module")
def rejected(tmp_path_factory) -> pd.DataFrame:
    return pd.concat(
        [
            _represent_between_good_rows(tmp_path_factory.mktemp("c"), "cif", GOOD, BAD_CIFS),
            _represent_between_good_rows(
                tmp_path_factory.mktemp("j"), "structure", SALT.to_json(), BAD_JSON
            ),
        ]
    )


@pytest.mark.parametrize("name", [*BAD_CIFS, *BAD_JSON])
def test_a_bad_row_is_named_with_its_reason(rejected, name):
    bad = BAD_CIFS if name in BAD_CIFS else BAD_JSON
    row = 2 * list(bad).index(name) + 2
    assert rejected.loc[name, "where"] == f"mixed.csv: row {row} ({name})"
    assert re.search(bad[name][1], rejected.loc[name, "reason"])


@pytest.mark.parametrize("n", [1, 500])
def test_small_and_large_cells_are_read(n):
    side = round(n ** (1 / 3) + 0.5) if n > 1 else 1
    grid = np.stack(np.meshgrid(*[np.arange(side) / side] * 3), -1).reshape(-1, 3)[:n]
    shaken = grid + np.random.default_rng(0).uniform(0, 0.02, grid.shape)
    structure = Structure(Lattice.cubic(3.0 * side), ["Po"] * n, shaken)
    representation = represent_record(Record("", "", str(CifWriter(structure)), "cif"))
    assert representation.n_atoms == n
    assert representation.space_group == (221 if n == 1 else 1)


# --- files


def _files(folder: Path) -> dict[str, Path]:
    table = pd.DataFrame({"cif": [GOOD] * 2000, "n": range(2000)})
    table.to_csv(folder / "whole.csv.gz")
    table.to_parquet(folder / "whole.parquet")
    (folder / "folder").mkdir()
    (folder / "folder/readme.txt").write_text("no crystals")
    contents = {
        "empty.csv": b"",
        "empty.cif": b"",
        "empty.zip": b"",
        "empty.parquet": b"",
        "header.csv": b"material_id,cif\n",
        "other.csv": b"material_id,energy\n1,x\n",
        "half.csv.gz": (folder / "whole.csv.gz").read_bytes()[:-2000],
        "half.parquet": (folder / "whole.parquet").read_bytes()[:-2000],
        "half.zip": b"PK\x03\x04 and no more",
        "crystals.xlsx": b"something",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    pd.DataFrame({"a": [1]}).to_parquet(folder / "other.parquet")
    with zipfile.ZipFile(folder / "nothing.zip", "w"):
        pass
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.csv", "is empty"),
        ("empty.cif", "is empty"),
        ("empty.zip", "is empty"),
        ("empty.parquet", "is empty"),
        ("header.csv", "holds no crystals"),
        ("folder", "holds no crystals"),
        ("nothing.zip", "holds no crystals"),
        ("other.csv", "no column `cif` or `structure` .*columns: material_id, energy"),
        ("other.parquet", "has no column"),
        ("half.csv.gz", r"is damaged or cut off after row \d+"),
        ("half.parquet", "is not a Parquet file, or only a part of one"),
        ("half.zip", "is not a zip, or only a part of one"),
        ("crystals.xlsx", "neither a folder nor .cif, .mcif, .*.parquet, .zip, .tar"),
        ("missing.csv", "no such file or folder"),
    ],
)
def test_a_bad_file_is_named_with_its_reason_and_nothing_is_written(tmp_path, name, reason):
    _files(tmp_path)
    out = tmp_path / "out" / "out.parquet"
    with pytest.raises((ValueError, FileNotFoundError), match=reason) as caught:
        datasets.represent(tmp_path / name, out)
    assert str(tmp_path / name) in str(caught.value)
    assert not list(out.parent.iterdir())


def test_a_single_bad_cif_is_an_error_and_leaves_its_reason(tmp_path):
    (tmp_path / "bad.cif").write_text(BAD_CIFS["partial"][0])
    with pytest.raises(
        ValueError, match=r"bad\.cif: partial occupancy on site Fe1 .*rejected\.csv"
    ):
        datasets.represent(tmp_path / "bad.cif", tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
    assert len(pd.read_csv(tmp_path / "out.rejected.csv")) == 1
    (tmp_path / "bad.cif").write_text(GOOD)
    datasets.represent(tmp_path / "bad.cif", tmp_path / "out.parquet")
    assert not (tmp_path / "out.rejected.csv").exists(), "the old list is not of this run"


def test_names_that_are_no_text_do_not_matter(tmp_path):
    (tmp_path / "in").mkdir()
    for name in (b"a\xff", b"b"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/%s.cif" % name)).write_text(GOOD)
    datasets.represent(tmp_path / "in", tmp_path / "out.parquet")
    assert list(pd.read_parquet(tmp_path / "out.parquet")["material_id"]) == [r"a\xff", "b"]


@pytest.mark.parametrize(("place", "value"), [(6, b"\xff"), (46, b"\xff")])
def test_a_zip_with_a_strange_list_of_members_is_named(tmp_path, place, value):
    """A version from the future, and a name that is not the UTF-8 it should be."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("é.cif", GOOD)
    content = bytearray(path.read_bytes())
    at = content.find(b"PK\x01\x02") + place
    content[at : at + 1] = value
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.zip is not a zip"):
        datasets.represent(path, tmp_path / "out.parquet")


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path):
    """As in a bomb of a CSV.gz: what is longer than a crystal is cut into rows, and rejected."""
    (tmp_path / "a.csv").write_text(
        f'cif,n\n"{GOOD}",1\n' + "x" * (LARGEST + 5) + f'\n"{GOOD}",1\n'
    )
    items = list(sources.records(tmp_path / "a.csv"))
    assert [isinstance(item, Record) for item in items] == [True, False, False, True]


def test_as_many_atoms_on_one_spot_as_can_be_read(tmp_path):
    """50 million pairs that overlap: found without holding them."""
    with pytest.raises(ValueError, match="overlap: 0.00 Å apart"):
        check_cell(np.eye(3) * 100, np.zeros((10_000, 3)), np.ones(10_000, int))
    with pytest.raises(ValueError, match="10,001 atoms in the cell; up to 10,000"):
        check_cell(np.eye(3) * 100, np.zeros((10_001, 3)), np.ones(10_001, int))


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("space_group", 231, "no space group 231"),
        ("elements", None, "`elements` is no list of names"),
        ("elements", ["Na"], "1 elements on 2 sites"),
        ("wyckoff_letters", [None, "a"], "`wyckoff_letters` is no list of names"),
        ("material_id", None, ", no text"),
    ],
)
def test_a_row_that_is_no_representation_spoils_no_other(tmp_path, column, value, reason):
    datasets.represent("aflow:test", tmp_path / "good.parquet")
    good = pd.read_parquet(tmp_path / "good.parquet")
    good = good[good["elements"].map(len) == 2].head(4)
    bad = good.astype({column: object}).reset_index(drop=True)
    bad.at[1, column] = value
    bad.to_parquet(tmp_path / "bad.parquet")
    assert datasets.represent(tmp_path / "bad.parquet", tmp_path / "o.parquet").rejected == 1
    rejected = pd.read_csv(tmp_path / "o.rejected.csv")
    assert rejected["where"][0] == "bad.parquet: row 2"
    assert reason in rejected["reason"][0]
    kept = pd.read_parquet(tmp_path / "o.parquet")["material_id"]
    assert list(kept) == list(good["material_id"].iloc[[0, 2, 3]])
    with pytest.raises(ValueError, match=f"bad.parquet: row 2: .*{reason}"):
        read_representations(tmp_path / "bad.parquet")


def test_what_others_are_compared_with_is_formally_valid(tmp_path):
    rows = [WyckoffRepresentation(225, ("Na", "Cl"), letters) for letters in ("ab", "aa", "az")]
    write_representations(tmp_path / "a.parquet", to_table(rows))
    assert list(datasets.known(tmp_path / "a.parquet")["material_id"]) == ["0"]
    write_representations(tmp_path / "b.parquet", to_table(rows[1:]))
    with pytest.raises(ValueError, match=r"b\.parquet: no formally valid representation"):
        datasets.known(tmp_path / "b.parquet")


def test_rubbish_between_good_cifs_of_a_zip(tmp_path):
    path = tmp_path / "mixed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.cif", GOOD)
        archive.mkdir("sub")
        archive.writestr("notes.txt", "hello")
        archive.writestr(".", "no name")
        archive.writestr("../../b.cif", GOOD)
        archive.writestr("bomb.cif", b"#" * (LARGEST + 1))
        archive.writestr("broken.cif", GOOD)
        archive.writestr("bytes.cif", bytes(range(256)))
        archive.writestr("z.CIF", GOOD)
        offset = archive.getinfo("broken.cif").header_offset
    content = bytearray(path.read_bytes())
    length = struct.unpack_from("<H", content, offset + 26)[0]
    content[offset + 40 + length] ^= 0xFF
    path.write_bytes(content)
    assert datasets.represent(path, tmp_path / "out.parquet") == datasets.Summary(3, 3, left_out=2)
    assert list(pd.read_parquet(tmp_path / "out.parquet")["material_id"]) == ["a", "../../b", "z"]
    rejected = pd.read_csv(tmp_path / "out.rejected.csv").set_index("where")["reason"]
    assert rejected["mixed.zip: row 5 (bomb.cif)"] == "more than 16 MB of text"
    assert rejected["mixed.zip: row 6 (broken.cif)"].startswith("cannot be unpacked")
    assert rejected["mixed.zip: row 7 (bytes.cif)"].startswith("not a CIF")


def test_a_row_with_a_field_too_many_or_an_open_quote_is_rejected(tmp_path):
    (tmp_path / "a.csv").write_text(f'n,cif\n1,"{GOOD}"\n2,"{GOOD}",3\n\n4,"{GOOD}"\n5,"{GOOD}\n6')
    items = list(sources.records(tmp_path / "a.csv"))
    reasons = [getattr(item, "reason", None) for item in items]
    assert reasons[:3] == [None, "3 fields for 2 columns; a quote left open?", None]
    with pytest.raises(ValueError, match="not a CIF"):
        represent_record(items[3])


def test_a_carriage_return_in_a_reason_makes_no_row_of_its_own(tmp_path):
    (tmp_path / "a.cif").write_text(GOOD)
    operation = "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z\r+1/'"
    (tmp_path / "b\rc.cif").write_bytes(_cif("Fe1 Fe 0 0 0 1", more=operation).encode())
    assert datasets.represent(tmp_path, tmp_path / "out.parquet").rejected == 1
    rejected = pd.read_csv(tmp_path / "out.rejected.csv")
    assert rejected["material_id"].tolist() == ["b c"]


def test_a_strange_extra_column_is_left_out(tmp_path):
    frame = pd.DataFrame(
        {"cif": [GOOD] * 4, "spacegroup.number": ["225", "inf", "", "1e300"], "e_above_hull": "?"}
    )
    frame.to_csv(tmp_path / "a.csv")
    extras = [record.extras for record in sources.records(tmp_path / "a.csv")]
    assert extras == [{"spacegroup.number": 225}, {}, {}, {}]


def test_crystals_that_were_not_made_keep_their_reason(tmp_path):
    frame = pd.DataFrame(
        {
            "material_id": ["a", "b", "c"],
            "cif": [GOOD, None, None],
            "reason": [None, "no draw", None],
        }
    )
    frame.to_parquet(tmp_path / "crystals.parquet")
    datasets.represent(tmp_path / "crystals.parquet", tmp_path / "out.parquet")
    reasons = pd.read_csv(tmp_path / "out.rejected.csv")["reason"]
    assert list(reasons) == ["no draw", "nothing in column `cif`"]


# --- the machine


def test_an_unwritable_output_is_found_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "records", lambda source: pytest.fail("the work has begun"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        datasets.represent("aflow", tmp_path / "file" / "out.parquet")
    if os.geteuid():  # to root everything is writable
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(PermissionError, match=r"out\.parquet"):
            datasets.represent("aflow", tmp_path / "locked" / "out.parquet")


@pytest.fixture
def run(tmp_path):
    """Starts `wyk represent` on n crystals in a process group of its own."""

    def start(n: int, **options) -> subprocess.Popen:
        pd.DataFrame({"cif": [GOOD] * n}).to_csv(tmp_path / "many.csv")
        arguments = ["represent", "many.csv", "-o", "out/out.parquet", "--jobs", "2"]
        return subprocess.Popen(
            [sys.executable, "-m", "wyk.cli.main", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    return start


def test_a_full_disk_leaves_nothing_behind(run, tmp_path):
    small = (1000, 1000)  # bytes a file may have, as if the disk were full then
    process = run(99, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, small))
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "out/out.parquet" in error
    assert "Traceback" not in error
    assert not list((tmp_path / "out").iterdir())


def test_ctrl_c_leaves_nothing_behind(run, tmp_path):
    process = run(20_000)
    deadline = time.monotonic() + 30
    while not (tmp_path / "out").is_dir() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1)  # in the middle
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=20)[1]
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert not list((tmp_path / "out").iterdir())


# --- whatever a stranger writes


def _reads_or_refuses(text: str, kind: str = "cif") -> None:
    for read in (parse, represent_record):
        with contextlib.suppress(ValueError):
            read(Record("", "", text, kind))


fuzz = settings(max_examples=300, deadline=10_000, derandomize=True, database=None)


@fuzz
@given(st.text() | st.text("data_loop\n _cell.atom'\";#?0123456789\x00"))
def test_garbage_is_refused(text):
    _reads_or_refuses(text)
    _reads_or_refuses("data_x\n" + text)
    _reads_or_refuses(text, "json")


@fuzz
@given(st.data())
def test_mutated_cifs_are_read_or_refused(data):
    text = data.draw(st.sampled_from([GOOD, str(CifWriter(SALT)), _cif("Fe1 Fe .1 .2 .3 1")]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        values = ["", "-", "0", "9", "nan", "1e9", "?", "'", "\n", ";", "x", "\x00", "é", "loop_\n"]
        text = text[:start] + data.draw(st.sampled_from(values)) + text[end:]
    _reads_or_refuses(text)


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(values, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v))


@fuzz
@given(st.data())
def test_mutated_json_is_read_or_refused(data):
    crystal = json.loads(SALT.to_json())
    site = crystal["sites"][0]
    places = [
        (crystal, "@class"), (crystal, "lattice"), (crystal, "sites"), (crystal["lattice"], "matrix"),
        (crystal["lattice"]["matrix"], 0), (crystal["sites"], 0), (site, "abc"), (site["abc"], 0),
        (site, "species"), (site["species"], 0), (site["species"][0], "element"),
        (site["species"][0], "occu"),
    ]  # fmt: skip
    owner, key = data.draw(st.sampled_from(places))
    owner[key] = data.draw(values)
    _reads_or_refuses(json.dumps(crystal), "json")


def test_the_fuzzed_texts_are_crystals_before_they_are_mutated():
    for text in (GOOD, str(CifWriter(SALT))):
        assert represent_record(Record("", "", text, "cif")).space_group == 225
    assert read_cell(Record("", "", SALT.to_json(), "json")).numbers.size == 8

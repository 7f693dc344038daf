"""What generators write: archives, folders, and crystals in other formats than CIF."""

import bz2
import gzip
import io
import json
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

from wyk.crystals.representation import from_structure
from wyk.crystals.tables import from_table
from wyk.files import datasets
from wyk.files.cells import read_cell
from wyk.files.readers import LARGEST, Record, Rejected, file_records
from wyk.plumbing.paths import ROOT

FILES = ROOT.parent / "shared" / "cases" / "files"
SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
BOTH = (SALT, RUTILE)
PRINTS = [from_structure(crystal).fingerprint() for crystal in BOTH]
CIFS = [str(CifWriter(crystal)) for crystal in BOTH]
NO_CRYSTAL = {"@class": "Molecule", "sites": []}


def extxyz(*crystals: Structure) -> str:
    file = io.StringIO()
    atoms = [AseAtomsAdaptor.get_atoms(crystal) for crystal in crystals]
    ase.io.write(file, atoms, format="extxyz")
    return file.getvalue()


def optimade(crystal: Structure, **changes) -> dict:
    names = [site.specie.symbol for site in crystal]
    return {
        "lattice_vectors": crystal.lattice.matrix.tolist(),
        "cartesian_site_positions": crystal.cart_coords.tolist(),
        "species_at_sites": names,
        "species": [
            {"name": name, "chemical_symbols": [name], "concentration": [1.0]}
            for name in dict.fromkeys(names)
        ],
        "dimension_types": [1, 1, 1],
    } | changes


def jarvis(crystal: Structure) -> dict:
    return {
        "lattice_mat": crystal.lattice.matrix.tolist(),
        "coords": crystal.frac_coords.tolist(),
        "elements": [site.specie.symbol for site in crystal],
        "cartesian": False,
    }


def read(path: Path) -> tuple[list[str], list[str], list[Rejected], list[str]]:
    """Fingerprints and names of the crystals, rejected rows, files left out."""
    left_out = []
    frame, rejected = datasets.read(path, 1, left_out)
    prints = [r.fingerprint() for r in from_table(frame)]
    return prints, list(frame["material_id"]), rejected, [item.name for item in left_out]


# --- single files


DICTS = [crystal.as_dict() for crystal in BOTH]
RESPONSE = {
    "data": [
        {"id": name, "type": "structures", "attributes": optimade(crystal)}
        for name, crystal in zip("ab", BOTH, strict=True)
    ],
    "meta": {"data_returned": 2},
    "links": {"next": None},
}
TEXTS = {  # name → content
    "a.jsonl": "\n".join(map(json.dumps, DICTS)),
    "a.ndjson": "\n\n".join(json.dumps({"structure": d}) for d in DICTS) + "\n",
    "cifs.jsonl": "\n".join(json.dumps({"cif": text, "id": i}) for i, text in enumerate(CIFS)),
    "list.json": json.dumps(DICTS),
    "pretty.json": json.dumps(DICTS, indent=2),
    "lines.json": "\n".join(map(json.dumps, DICTS)),
    "names.json": json.dumps(dict(zip("ab", DICTS, strict=True))),
    "entries.json": json.dumps([{"structure": d, "energy": -1.0, "entry_id": 3} for d in DICTS]),
    "nested.json": json.dumps({"structures": DICTS, "version": 1}),
    "response.json": json.dumps(RESPONSE),
    "optimade.jsonl": "\n".join(json.dumps(optimade(c)) for c in BOTH),
    "jarvis.json": json.dumps([{"jid": f"J-{len(c)}", "atoms": jarvis(c)} for c in BOTH]),
    "pandas.json": pd.DataFrame({"cif": CIFS, "n": [1, 2]}).to_json(),
    "records.json": pd.DataFrame({"cif": CIFS, "n": [1, 2]}).to_json(orient="records"),
    "index.json": pd.DataFrame({"cif": CIFS}, index=["a", "b"]).to_json(orient="index"),
    "columns.json": json.dumps({"structure": DICTS, "n": [1, 2]}),
    "a.extxyz": extxyz(*BOTH),
    "a.xyz": extxyz(*BOTH),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("zipped", [False, True])
def test_files_of_several_crystals(tmp_path, name, zipped):
    path = tmp_path / (name + ".gz" * zipped)
    path.write_bytes(gzip.compress(TEXTS[name].encode()) if zipped else TEXTS[name].encode())
    prints, names, rejected, _ = read(path)
    assert (prints, rejected) == (PRINTS, [])
    assert len(set(names)) == 2


SINGLE = {
    "POSCAR": str(Poscar(RUTILE)), "CONTCAR": str(Poscar(RUTILE)), "POSCAR.vasp": str(Poscar(RUTILE)),
    "POSCAR_3": str(Poscar(RUTILE)), "TiO2.poscar": str(Poscar(RUTILE)), "TiO2_POSCAR": str(Poscar(RUTILE)),
    "x.vasp": str(Poscar(RUTILE)), "a.cif": CIFS[1], "a.CIF": CIFS[1], "a.mcif": CIFS[1],
    "one.json": json.dumps(DICTS[1]), "optimade.json": json.dumps(optimade(RUTILE)),
    "entry.json": json.dumps({"structure": DICTS[1], "energy": 1.0}), "one.xyz": extxyz(RUTILE),
}  # fmt: skip


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("zipped", [False, True])
def test_files_of_one_crystal(tmp_path, name, zipped):
    path = tmp_path / (name + ".gz" * zipped)
    path.write_bytes(gzip.compress(SINGLE[name].encode()) if zipped else SINGLE[name].encode())
    assert read(path)[::2] == ([PRINTS[1]], [])


# --- formats


def atoms(record_format: str, text: str):
    return read_cell(Record("", "", text, record_format))


crystals = st.builds(
    lambda a, angles, symbols, seed: Structure(
        Lattice.from_parameters(*a, *angles),
        symbols,
        np.random.default_rng(seed).uniform(-1, 2, (len(symbols), 3)),
    ),
    st.tuples(*[st.floats(3, 9)] * 3),
    st.tuples(*[st.floats(70, 110)] * 3),
    st.lists(st.sampled_from(["H", "C", "N", "Na", "Cl", "Fe", "Og"]), min_size=1, max_size=8),
    st.integers(0, 2**20),
)


def same(cell, structure: Structure) -> bool:
    moved = cell.fractional - structure.frac_coords
    return (
        np.allclose(cell.lattice, structure.lattice.matrix, atol=1e-5)
        and np.allclose(moved, np.rint(moved), atol=1e-5)
        and cell.numbers.tolist() == list(structure.atomic_numbers)
    )


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(crystals)
def test_what_ase_and_pymatgen_write_is_read_back(crystal):
    assert same(atoms("extxyz", extxyz(crystal)), crystal)
    assert same(atoms("json", crystal.to_json()), crystal)
    assert same(atoms("json", json.dumps(optimade(crystal))), crystal)
    assert same(atoms("json", json.dumps(jarvis(crystal))), crystal)
    assert same(atoms("json", str(crystal.as_dict())), crystal)  # as pandas writes a dict to CSV
    ordered = crystal.get_sorted_structure()
    assert same(atoms("poscar", Poscar(ordered).get_str(significant_figures=12)), ordered)
    assert same(
        atoms("poscar", Poscar(ordered).get_str(direct=False, significant_figures=12)), ordered
    )


POSCAR = """rutile
{scale}
4.594 0 0
0 4.594 0
0 0 2.959
{names}
2 4
{mode}
0 0 0 {a}
0.5 0.5 0.5 {a}
0.305 0.305 0 {b}
0.695 0.695 0 {b}
0.195 0.805 0.5 {b}
0.805 0.195 0.5 {b}
"""


def poscar(scale="1.0", names="Ti O", mode="Direct", a="", b="") -> str:
    return POSCAR.format(scale=scale, names=names, mode=mode, a=a, b=b).replace("\n\n", "\n")


@pytest.mark.parametrize(
    "text",
    [
        poscar(),
        poscar(a="Ti", b="O"),
        poscar(mode="Selective dynamics\nDirect", a="T T F", b="F F F"),
        poscar(names="Ti_pv O"),
        poscar(names="ti o"),
        poscar(names="Ti/1a2b3c O/4d5e6f"),
        poscar(names="").replace("rutile", "Ti O"),
        poscar(names="", a="Ti", b="O"),
        poscar(scale="-62.4492"),
        poscar(scale="1 1 1"),
        poscar() + "\n0 0 0\n0 0 0\n",  # velocities
    ],
)
def test_poscars_as_people_have_them(text):
    cell = atoms("poscar", text)
    assert sorted(cell.numbers) == [8] * 4 + [22] * 2
    assert np.linalg.det(cell.lattice) == pytest.approx(62.449, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (poscar(names=""), "their elements are not said"),
        (poscar(names="Ti"), "their elements are not said"),
        (poscar(names="Ti Xx"), "unknown element 'Xx'"),
        (poscar(a="O", b="Ti"), "not those of the header"),
        (poscar()[:-30], "only a part of one"),
        (poscar().replace("2 4", "2 -4"), "only a part"),
        (poscar().replace("2 4", "2 40000"), "40,002 atoms"),
        (poscar().replace("0.305", "x"), "not a POSCAR"),
        ("", "empty text"),
        ("prose\n" * 9, "not a POSCAR"),
    ],
)
def test_poscars_that_are_none(text, reason):
    with pytest.raises(ValueError, match=reason):
        atoms("poscar", text)


XYZ = extxyz(RUTILE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (XYZ.replace("Lattice", "Cell"), "no Lattice in the second line: a molecule"),
        (XYZ.replace('pbc="T T T"', 'pbc="T T F"'), "not periodic in all directions"),
        *(
            (XYZ.replace('pbc="T T T"', f"pbc={pbc}"), "not periodic in all directions")
            for pbc in (
                '"[true, true, false]"',
                "[T,T,F]",
                "F",
                "TTF",
                "'1 1 0'",
                "{T T none}",
                "'x y'",
            )
        ),
        (XYZ.replace("6\n", "7\n", 1), "6 of 7 atoms"),
        (XYZ.replace("pos:R:3", "pos:R:2"), "not three coordinates"),
        (XYZ.replace("species:S:1:", ""), "not extended XYZ"),
        (XYZ.replace("Ti", "Xx"), "unknown element 'Xx'"),
        (XYZ.replace("4.594", "nan"), "no volume"),
        (XYZ.replace("Properties=species:S:1:pos:R:3", "Properties=x"), "not extended XYZ"),
    ],
)
def test_frames_that_are_no_crystals(text, reason):
    assert same(atoms("extxyz", XYZ), RUTILE)
    with pytest.raises(ValueError, match=reason):
        atoms("extxyz", text)


@pytest.mark.parametrize(
    "pbc", ['"[true, true, true]"', "[T,T,T]", "T", "'1 1 1'", "{True True True}"]
)
def test_periodic_frames_are_crystals(pbc):
    assert same(atoms("extxyz", XYZ.replace('pbc="T T T"', f"pbc={pbc}")), RUTILE)


def test_a_bad_frame_spoils_no_other(tmp_path):
    (tmp_path / "a.xyz").write_text(extxyz(SALT) + XYZ.replace("Ti", "Xx") + "\n" + XYZ)
    prints, names, rejected, _ = read(tmp_path / "a.xyz")
    assert (prints, names) == (PRINTS, ["1", "3"])
    assert [(r.where, r.material_id) for r in rejected] == [("a.xyz: row 2", "2")]
    (tmp_path / "a.xyz").write_text(extxyz(SALT) + "what now\n" + XYZ)
    with pytest.raises(ValueError, match=r"a\.xyz is no extended XYZ from row 2 on: .*what now"):
        read(tmp_path / "a.xyz")


DISORDERED = [{"name": "Ti", "chemical_symbols": ["Ti", "Zr"], "concentration": [0.5, 0.5]}]
ATTACHED = [{"name": "Ti", "chemical_symbols": ["Ti"], "attached": ["H"], "nattached": [3]}]
SLAB = Structure(
    Lattice(RUTILE.lattice.matrix, pbc=(True, True, False)), RUTILE.species, RUTILE.frac_coords
).as_dict()
VACANT = [{"name": "Ti", "chemical_symbols": ["Ti"], "concentration": [0.5]}]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (optimade(RUTILE, species=DISORDERED), "2 elements on site Ti; ordered"),
        (optimade(RUTILE, species=VACANT), r"^partial occupancy on site Ti \(0.5\)"),
        (optimade(RUTILE, species=ATTACHED), "atoms attached to site Ti"),
        (optimade(RUTILE, nperiodic_dimensions=2), "periodic in 2 directions only"),
        (optimade(RUTILE, structure_features=["disorder"]), "disorder"),
        (optimade(RUTILE, structure_features=["implicit_atoms"]), "implicit_atoms"),
        (optimade(RUTILE, structure_features=["site_attachments"]), "site_attachments"),
        (optimade(RUTILE, nsites=7), "6 sites, but nsites is 7"),
        (
            optimade(RUTILE, chemical_formula_reduced="H2O2Ti"),
            "not those of its chemical_formula_red",
        ),
        (optimade(RUTILE, chemical_formula_reduced="x"), "formula 'x' cannot be read"),
        (SLAB, "^periodic in 2 directions only"),
        (optimade(RUTILE, dimension_types=[1, 1, 0]), "periodic in 2 directions only"),
        (optimade(RUTILE, species_at_sites=["Ti"]), "6 coordinates for 1 atoms"),
        (
            optimade(RUTILE, species_at_sites=["vacancy"] * 6, species=[]),
            "unknown element 'vacancy'",
        ),
        (optimade(RUTILE, lattice_vectors=[[None] * 3] * 3), "no volume"),
        (jarvis(RUTILE) | {"elements": ["Ti"]}, "6 coordinates for 1 atoms"),
        (NO_CRYSTAL, "its class is Molecule"),
        ({"structure": NO_CRYSTAL}, "its class is Molecule"),
        (
            {"structure": {"structure": {"structure": {"structure": DICTS[0]}}}},
            "not pymatgen's JSON",
        ),
    ],
)
def test_json_that_is_no_ordered_crystal(data, reason):
    with pytest.raises(ValueError, match=reason):
        atoms("json", json.dumps(data))


def test_what_optimade_says_of_a_whole_crystal():
    said = {
        "nperiodic_dimensions": 3,
        "structure_features": [],
        "nsites": 6,
        "chemical_formula_reduced": "O2Ti",
    }
    assert same(atoms("json", json.dumps(optimade(RUTILE, **said))), RUTILE)


def test_species_may_be_missing_or_text():
    """As in LeMat-Bulk, which has no species or holds them as JSON."""
    for species in (None, json.dumps(optimade(RUTILE)["species"]), []):
        assert same(atoms("json", json.dumps(optimade(RUTILE, species=species))), RUTILE)


@pytest.mark.parametrize(
    "text", ["{'@class': __import__('os').abort()}", "{'a': " + "(" * 10**4, "{'a'" * 10**6]
)
def test_a_python_dict_is_not_run(text):
    with pytest.raises(ValueError, match="not pymatgen's JSON"):
        atoms("json", text)


# --- tables


NAMES = [
    "cif",
    "cif_str",
    "cif_string",
    "material_cif",
    "structure",
    "relaxed_structure",
    "generated_structure",
    "crystal",
]


@pytest.mark.parametrize("column", [*NAMES, "CIF", "Structure"])
@pytest.mark.parametrize("kind", ["cif", "json", "dict", "poscar"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_of_any_usual_name(tmp_path, column, kind, suffix):
    texts = {
        "cif": CIFS,
        "json": [json.dumps(d) for d in DICTS],
        "dict": [
            c.copy(site_properties={"magmom": [0.0] * len(c)}).as_dict() | {"properties": {"x": 1}}
            for c in BOTH
        ],
        "poscar": [str(Poscar(crystal)) for crystal in BOTH],
    }[kind]
    frame = pd.DataFrame({"id": ["a", "b"], column: texts})
    frame.to_csv(tmp_path / "a.csv") if suffix == "csv" else frame.to_parquet(
        tmp_path / "a.parquet"
    )
    assert read(tmp_path / f"a.{suffix}")[:3] == (PRINTS, ["a", "b"], [])


def test_a_parquet_with_bytes_or_with_optimade_columns(tmp_path):
    pd.DataFrame({"structure": [json.dumps(d).encode() for d in DICTS]}).to_parquet(
        tmp_path / "b.parquet"
    )
    assert read(tmp_path / "b.parquet")[0] == PRINTS
    rows = [optimade(c) | {"immutable_id": f"agm{i}", "nsites": len(c)} for i, c in enumerate(BOTH)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "o.parquet")
    assert read(tmp_path / "o.parquet")[:2] == (PRINTS, ["agm0", "agm1"])
    texts = [
        {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows
    ]
    pd.DataFrame(texts).to_csv(tmp_path / "o.csv")
    assert read(tmp_path / "o.csv")[:2] == (PRINTS, ["agm0", "agm1"])


def test_a_table_without_crystals_says_so(tmp_path):
    pd.DataFrame({"energy": [1.0]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(
        ValueError, match="has no column.*`cif` or `structure`.*its columns: energy|has no column"
    ):
        read(tmp_path / "a.parquet")
    for name, content in {"a.json": "{}", "b.json": "[1, 2]", "c.jsonl": '{"a": 1}\n'}.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=f"{name} holds no crystals"):
            read(tmp_path / name)


def test_a_bad_line_spoils_no_other(tmp_path):
    lines = [
        json.dumps(DICTS[0]),
        "{half",
        json.dumps(NO_CRYSTAL),
        "[" * 10**5,
        json.dumps(DICTS[1]),
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    prints, names, rejected, _ = read(tmp_path / "a.jsonl")
    assert (prints, names) == (PRINTS, ["1", "5"])
    assert [r.material_id for r in rejected] == ["2", "3", "4"]
    (tmp_path / "a.json").write_text(json.dumps([DICTS[0], NO_CRYSTAL, 3, DICTS[1]]))
    prints, names, rejected, _ = read(tmp_path / "a.json")
    assert (prints, names) == (PRINTS, ["1", "4"])
    assert len(rejected) == 2
    (tmp_path / "a.json").write_text(json.dumps(DICTS)[:-50])
    with pytest.raises(ValueError, match=r"a\.json is damaged or cut off after row 1"):
        read(tmp_path / "a.json")


# --- archives and folders


CONTENTS = {  # of an archive or folder
    "gen/a.cif": CIFS[0],
    "gen/b.cif.gz": gzip.compress(CIFS[1].encode()),
    "c/POSCAR": str(Poscar(SALT)),
    "d.mcif": CIFS[1],
    "two.xyz": extxyz(*BOTH),
    "s.json": json.dumps(DICTS[0]),
    "t.jsonl.gz": gzip.compress(TEXTS["a.jsonl"].encode()),
    "u.csv": pd.DataFrame({"material_id": ["mine"], "cif_str": CIFS[:1]}).to_csv(),
}
GOOD = 10  # crystals there
BAD = {
    "bad.cif": "prose",
    "bad/CONTCAR": "prose",
    "bad.json": "{",
    "m.xyz": "1\n\nH 0 0 0\n",
    "bad.cif.gz": b"\x1f\x8bx",
}
JUNK = {
    "README.md": "# read me", ".DS_Store": b"\0\0\0\1Bud1", "__MACOSX/gen/._a.cif": b"\0\5",
    "gen/._a.cif": b"\0\5",
    "Thumbs.db": b"\xd0\xcf", "metrics.json": '{"valid": 0.9}', "loss.csv": "epoch,loss\n0,1\n", "model.pt": b"PK",
    ".ipynb_checkpoints/a-checkpoint.cif": CIFS[0], "figure.png": b"\x89PNG", "config.yaml": "a: 1",
    "log.jsonl": '{"loss": 1}\n{"loss": 2}\n', "OUT.rejected.csv": "where,material_id,reason\na,b,c\n",
}  # fmt: skip


def encoded(contents: dict) -> dict[str, bytes]:
    return {n: c if isinstance(c, bytes) else c.encode() for n, c in contents.items()}


def make(path: Path, contents: dict) -> Path:
    """A folder, zip or tar with these files."""
    contents = encoded(contents)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    elif ".tar" in path.name or path.suffix == ".tgz":
        with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
            for name, content in contents.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    else:
        for name, content in contents.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["folder", "a.zip", "a.tar", "a.tar.gz", "a.tgz"])
def test_every_file_is_a_crystal_or_rejected_or_left_out(tmp_path, name, caplog):
    path = make(tmp_path / name, CONTENTS | BAD | JUNK)
    prints, names, rejected, left_out = read(path)
    assert sorted(prints) == sorted(PRINTS[:1] * 6 + PRINTS[1:] * 4)
    assert len(set(names)) == GOOD
    assert {"gen/a", "gen/b", "c/POSCAR", "d", "s", "mine", "two-1", "two-2", "t-2"} < set(names)
    assert {r.material_id for r in rejected} == {"bad", "bad/CONTCAR", "m-1"}
    assert len(rejected) == len(BAD)
    assert set(left_out) == set(JUNK)
    assert f"left out {len(JUNK)} files that are no crystals: " in caplog.text
    summary = datasets.represent(path, tmp_path / "out.parquet", 1)
    assert summary == datasets.Summary(GOOD, len(BAD), len(JUNK))


@pytest.mark.parametrize("name", ["folder", "a.zip", "a.tar.gz"])
def test_nothing_is_left_out_where_nothing_is_to_be(tmp_path, name, caplog):
    prints, _, rejected, left_out = read(make(tmp_path / name, CONTENTS))
    assert (len(prints), rejected, left_out) == (GOOD, [], [])
    assert "left out" not in caplog.text


def test_nothing_but_junk_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"junk\.zip holds no crystals: left out 13 files .*README\.md"
    ):
        read(make(tmp_path / "junk.zip", JUNK))


def test_matters_folder_counts_each_crystal_once(tmp_path):
    """MatterGen writes the same crystals as extxyz and as a zip of CIFs."""
    archive = make(
        tmp_path / "generated_crystals_cif.zip", {f"gen_{i}.cif": c for i, c in enumerate(CIFS)}
    )
    steps = make(
        tmp_path / "generated_trajectories.zip", {"gen_0.extxyz": extxyz(SALT, SALT, SALT)}
    )
    contents = {p.name: p.read_bytes() for p in (archive, steps)}
    folder = make(tmp_path / "both", contents | {"generated_crystals.extxyz": extxyz(*BOTH)})
    prints, _, rejected, left_out = read(folder)
    assert (prints, rejected, left_out) == (PRINTS, [], list(contents))
    pair = make(tmp_path / "pair", contents)
    assert read(pair)[0] == PRINTS
    assert read(pair)[3] == [steps.name]
    alone = make(tmp_path / "alone", {archive.name: contents[archive.name]})
    assert read(alone)[:2] == (PRINTS, [f"generated_crystals_cif/gen_{i}" for i in (0, 1)])


def test_archives_within_archives_are_rejected(tmp_path):
    inner = make(tmp_path / "inner.zip", {"a.cif": CIFS[0]}).read_bytes()
    prints, _, rejected, _ = read(
        make(tmp_path / "a.tar.gz", {"inner.zip": inner, "b.cif": CIFS[0]})
    )
    assert prints == PRINTS[:1]
    assert [r.reason for r in rejected] == ["an archive within an archive; unpack it first"]


def test_what_wyk_itself_wrote_counts_once(tmp_path):
    frame = pd.DataFrame({"material_id": ["a"], "cif": CIFS[:1]})
    make(tmp_path / "out", {"cifs/a.cif": CIFS[0], "index.html": "<p>"})
    frame.to_parquet(tmp_path / "out/crystals.parquet")
    prints, names, _, left_out = read(tmp_path / "out")
    assert (prints, names) == (PRINTS[:1], ["cifs/a"])
    assert left_out == ["crystals.parquet", "index.html"]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_damaged_archive_is_named(tmp_path, name):
    path = make(tmp_path / name, CONTENTS)
    content = path.read_bytes()
    for damaged in (
        content[: len(content) // 2],
        b"x" * 2000,
        content[:100],
        gzip.compress(b"no tar"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name} (is|has)"):
            read(path)


def test_members_of_a_tar_that_are_no_files(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.CHRTYPE,
            tarfile.FIFOTYPE,
            tarfile.DIRTYPE,
        ):
            info = tarfile.TarInfo(f"{kind.decode()}.cif")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for name in ("../../up.cif", "/root.cif", "é" * 80 + ".cif", "x/" * 100 + "long.cif"):
            info = tarfile.TarInfo(name)
            info.size = len(CIFS[0])
            archive.addfile(info, io.BytesIO(CIFS[0].encode()))
    prints, names, rejected, left_out = read(path)
    assert prints == PRINTS[:1] * 4
    assert names == ["../../up", "/root", "é" * 80, "x/" * 100 + "long"]
    assert (rejected, len(left_out)) == ([], 4)
    assert {p.name for p in tmp_path.iterdir()} == {"a.tar"}


def bomb(kind: int, size: int) -> bytes:
    """A tar.gz of one member that claims and has so many bytes, all blank."""
    info = tarfile.TarInfo("bomb.cif")
    info.type, info.size = bytes([kind]), size
    return gzip.compress(info.tobuf()) + gzip.compress(b" " * size)


@pytest.mark.parametrize("kind", [b"0", b"x", b"g", b"L", b"K", b"S"])
def test_a_bomb_does_not_fill_the_memory(tmp_path, kind):
    size = 4 * LARGEST
    (tmp_path / "a.tar.gz").write_bytes(bomb(kind[0], size))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"a\.tar\.gz|more than 16 MB"):
        datasets.represent(tmp_path / "a.tar.gz", tmp_path / "out.parquet", 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * LARGEST


@pytest.mark.parametrize(
    "name", ["a.cif.gz", "a.json.gz", "a.jsonl.gz", "a.xyz.gz", "POSCAR.gz", "a.csv.gz"]
)
@pytest.mark.parametrize("start", [b"", b"[", b'{"a": "', b"9999999999\n", b"cif\n"])
def test_a_bomb_of_gzip_does_not_fill_the_memory(tmp_path, name, start):
    (tmp_path / name).write_bytes(gzip.compress(start) + gzip.compress(b"0" * (3 * LARGEST)))
    tracemalloc.start()
    try:
        items = sum(isinstance(item, Record) for item in file_records(tmp_path / name))
    except ValueError:
        items = 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert items == 0 or name.endswith(".csv.gz")
    assert peak < 9 * LARGEST  # a field of four, twice


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.xyz", "a.csv", "a.tar.gz"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    n, path = 3000, tmp_path / name
    if name == "a.tar.gz":
        make(path, {f"{i}.cif": CIFS[0] for i in range(n)})
    else:
        texts = {
            "a.jsonl": "\n".join([json.dumps(DICTS[0])] * n),
            "a.json": json.dumps([DICTS[0]] * n),
            "a.xyz": extxyz(SALT) * n,
            "a.csv": pd.DataFrame({"cif": CIFS[:1] * n}).to_csv(),
        }
        path.write_text(texts[name])
    list(zip(range(5), file_records(path), strict=False))  # imports, caches
    tracemalloc.start()
    assert sum(1 for _ in file_records(path)) == n
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6  # of 3 to 7 MB


def test_an_unknown_compression_is_named(tmp_path):
    (tmp_path / "a.cif.bz2").write_bytes(bz2.compress(CIFS[0].encode()))
    with pytest.raises(ValueError, match=r"a\.cif\.bz2: neither a folder nor \.cif"):
        read(tmp_path / "a.cif.bz2")


# --- the files that others have


EXPECTED = {  # of ../shared/cases/files: groups of the crystals, files left out
    "POSCAR": ([225], 0), "c.mcif": ([136], 0), "col_cif_str.csv": ([225], 0), "col_relaxed_structure.csv": ([225], 0),
    "dicts.parquet": ([225, 136], 0), "gen.tar.gz": ([225, 136], 0), "mac.zip": ([225, 136], 3),
    "mattergen": ([225, 136], 1), "mixedfolder": ([225, 225, 136, 136, 136, 136], 0), "og.csv": ([191, 225], 0),
    "one.cif.gz": ([225], 0), "s.extxyz": ([225], 0), "s.json": ([225], 0), "with_readme.zip": ([225, 136], 2),
}  # fmt: skip


@pytest.mark.skipif(not FILES.is_dir(), reason="needs ../shared/cases")
@pytest.mark.parametrize("name", EXPECTED)
def test_files_that_people_have(name):
    left_out = []
    frame, rejected = datasets.read(FILES / name, 1, left_out)
    groups, others = EXPECTED[name]
    assert (frame["space_group"].tolist(), rejected, len(left_out)) == (groups, [], others)

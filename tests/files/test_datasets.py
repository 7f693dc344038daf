"""Named data sets, every kind of input, parallel representation."""

import hashlib
import itertools
import json
import os
import time
import tracemalloc
import zipfile

import pandas as pd
import pytest
from pymatgen.core import Structure
from pymatgen.io.cif import CifParser, CifWriter

from wyk.crystals.tables import from_table
from wyk.files import datasets, origins, sources
from wyk.files.cells import parse, read_cell, represent_record
from wyk.files.readers import Record, Rejected
from wyk.plumbing import workers


@pytest.fixture(scope="module")
def prototypes() -> list[tuple[str, Structure]]:
    crystals, rejected = datasets.structures("aflow")
    assert not rejected
    return crystals


# --- named data sets


def test_aflow_splits_are_disjoint_complete_and_fixed():
    splits = [[r.material_id for r in sources.records(f"aflow:{s}")] for s in origins.SPLITS]
    assert [len(split) for split in splits] == [173, 57, 58]
    together = [name for split in splits for name in split]
    assert len(set(together)) == 288
    assert together == [r.material_id for r in sources.records("aflow")]
    order = hashlib.sha256("".join(name[:9] for name in together).encode()).hexdigest()
    assert order[:16] == "22db25d56d1a50f4"


def test_biternary_7k_divides_the_official_val_split(official, monkeypatch):
    monkeypatch.setattr(sources, "DATA", official)
    train, val, test = (list(sources.records(f"biternary_7k:{s}")) for s in origins.SPLITS)
    assert (len(train), len(val), len(test)) == (6426, 714, 7118)
    published = list(sources.records("mp_20_biternary:val"))
    assert val == published[::10]
    assert {r.material_id for r in train} == {r.material_id for r in published} - {
        r.material_id for r in val
    }


def test_space_groups_are_those_of_the_data_set(official, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "DATA", official)
    out = tmp_path / "test.parquet"
    assert datasets.represent("mp_20_biternary:test", out, 2) == datasets.Summary(7118, 0)
    frame = pd.read_parquet(out)
    assert (frame["space_group"] == frame["spacegroup.number"]).mean() >= 0.998
    assert (frame["e_above_hull"] >= 0).all()


def test_tmmghg2_has_both_published_enumerations(official, monkeypatch):
    monkeypatch.setattr(sources, "DATA", official)
    record = next(sources.records("mp_20_biternary:val"))
    assert record.where == "mp_20_biternary/val.csv.gz: row 1 (mp-865981)"
    variants = represent_record(record).variants()
    sites = [set(zip(v.elements, v.site_symmetries, strict=True)) for v in variants]
    assert sites == [{("Mg", "m-3m"), ("Tm", "m-3m"), ("Hg", "-43m")}] * 2
    assert {dict(zip(v.elements, v.enumerations, strict=True))["Tm"] for v in variants} == {0, 1}


def test_mpts_52_calls_its_energy_differently(official, monkeypatch):
    monkeypatch.setattr(sources, "DATA", official)
    first = next(sources.records("mpts_52:test"))
    assert first.extras == {"e_above_hull": 0.0}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("aflow:valid", "aflow has no split 'valid'; its splits are train, val, test"),
        ("mp_20:", "mp_20 has no split ''"),
        ("mp20", "mp20: no such file or folder, nor a data set .*mp_20"),
        ("carbon_24", "carbon_24/train.csv is not there: run `make data`, or `make data FROM="),
    ],
)
def test_a_name_without_data_says_what_to_do(monkeypatch, tmp_path, source, message):
    monkeypatch.setattr(sources, "DATA", tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        list(sources.records(source))


# --- one crystal in every kind of file


def test_every_kind_of_input_gives_the_same_representations(prototypes, tmp_path):
    chosen = prototypes[:4]
    cifs = [str(CifWriter(structure, symprec=0.01)) for _, structure in chosen]
    names = [f"{i}-{name}" for i, (name, _) in enumerate(chosen)]
    table = pd.DataFrame({"material_id": names, "cif": cifs, "e_above_hull": [0.0, 0.1, None, 1]})
    texts = pd.DataFrame({"structure": [s.to_json() for _, s in chosen], "material_id": names})
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for i, (name, text) in enumerate(zip(names, cifs, strict=True)):
        (folder / ("sub" if i == 3 else ".") / f"{name}.cif").write_text(text)
    with zipfile.ZipFile(tmp_path / "crystals.zip", "w") as archive:
        for name, text in zip(names, cifs, strict=True):
            archive.writestr(f"{name}.cif", text)
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "b.csv.gz", index=False)
    texts.to_csv(tmp_path / "structures.csv")
    table.to_parquet(tmp_path / "crystals.parquet")
    datasets.represent(tmp_path / "a.csv", tmp_path / "ours.parquet")

    def fingerprints(source):
        frame = datasets.load(source)
        return [r.fingerprint() for r in from_table(frame)], list(frame["material_id"])

    expected = fingerprints(tmp_path / "a.csv")
    assert expected[1] == names
    for name in ("b.csv.gz", "structures.csv", "crystals.parquet", "crystals.zip", "ours.parquet"):
        assert fingerprints(tmp_path / name) == expected, name
    assert fingerprints(folder) == (expected[0], [*names[:3], f"sub/{names[3]}"])
    assert fingerprints(folder / f"{names[0]}.cif") == ([expected[0][0]], [names[0]])
    energies = datasets.load(tmp_path / "a.csv")["e_above_hull"]
    assert energies.isna().tolist() == [False, False, True, False]


@pytest.mark.parametrize("symprec", [None, 0.01])
@pytest.mark.parametrize("digits", [8, 4])  # 0.3333 is a special position, rounded
def test_gemmi_reads_as_many_atoms_as_pymatgen(prototypes, symprec, digits):
    for name, structure in prototypes[::2] if digits == 8 else prototypes:
        text = str(CifWriter(structure, symprec=symprec, significant_figures=digits))
        theirs = CifParser.from_str(text, site_tolerance=1e-3).parse_structures(primitive=False)[0]
        ours = parse(Record(name, name, text, "cif"))
        assert ours.composition == theirs.composition, name
        assert ours.volume == pytest.approx(theirs.volume, rel=1e-3)


def test_symmetry_is_applied_from_operations_or_symbol_and_never_left_out():
    text = CIF.format("_symmetry_space_group_name_H-M 'P m m m'")
    assert len(read_cell(Record("", "", text, "cif")).numbers) == 8
    operations = "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n1/3-x,-y,-z"  # in no table
    assert len(read_cell(Record("", "", CIF.format(operations), "cif")).numbers) == 2


CIF = """data_x
_cell_length_a 5
_cell_length_b 6
_cell_length_c 7
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
{}
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Fe1 0.1 0.2 0.3
"""


def test_reading_a_long_table_needs_little_memory(tmp_path):
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write("cif\n")
        for _ in range(20_000):
            file.write('"' + "x" * 1000 + '"\n')
    tracemalloc.start()
    assert sum(1 for _ in sources.records(path)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6  # of 20 MB


def test_our_parquet_is_copied_as_it_is(tmp_path):
    datasets.represent("aflow:val", tmp_path / "a.parquet")
    assert datasets.represent(tmp_path / "a.parquet", tmp_path / "b.parquet").n == 57
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_nothing_named_in_pymatgen_json_is_imported(prototypes):
    name, structure = prototypes[0]
    data = json.loads(structure.to_json())
    data["sites"][0]["properties"] = {"p": {"@module": "antigravity", "@class": "x"}}
    record = Record(name, name, json.dumps(data), "json")
    assert parse(record).composition == structure.composition
    data["@class"] = "Molecule"
    with pytest.raises(ValueError, match="its class is Molecule"):
        parse(Record(name, name, json.dumps(data), "json"))


def test_rejected_rows_are_listed_by_structures(tmp_path):
    path = tmp_path / "two.csv"
    pd.DataFrame({"cif": [CIF.format(""), "nonsense"]}).to_csv(path)
    crystals, rejected = datasets.structures(path)
    assert [name for name, _ in crystals] == ["1"]
    assert [type(r) for r in rejected] == [Rejected]
    assert rejected[0].where == "two.csv: row 2"


# --- in parallel


def test_the_number_of_jobs_changes_nothing(tmp_path):
    for jobs in (1, 2):
        datasets.represent("aflow:test", tmp_path / f"{jobs}.parquet", jobs)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def _misbehave(item: int) -> int:
    if item == 40:
        os._exit(9)  # as a crash in C code, or the kernel when memory is out
    if item == 50:
        time.sleep(60)
    if item == 60:
        raise KeyError("what")
    return item * item


def test_an_item_that_hangs_dies_or_raises_spoils_no_other():
    results = dict(workers.in_order(_misbehave, range(100), 2, time_limit=1))
    assert list(results) == list(range(100))
    failed = {i: r.reason for i, r in results.items() if isinstance(r, workers.Failed)}
    assert failed == {40: "its process died", 50: "took more than 1 s", 60: "KeyError: 'what'"}
    assert all(results[i] == i * i for i in range(100) if i not in failed)


def test_items_are_taken_from_the_source_as_they_are_needed():
    taken = itertools.count()
    results = workers.in_order(abs, (next(taken) for _ in range(10_000)), 1, time_limit=9)
    next(results)
    results.close()
    assert next(taken) <= 4 * workers.CHUNK

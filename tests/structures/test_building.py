"""A killed run ends with the table of an undisturbed one; CIFs say the same group to every program."""

import random
import resource
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
from conftest import HEUSLER, INVALID, PEROVSKITE, RUTILE, SALT
from imports import needed
from pymatgen.core import Structure

from wyk.coordinates import pyxtal_start
from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.tables import to_table, write_representations
from wyk.stability.hull import Hull, judged
from wyk.structures import building as structures

UNKNOWN = WyckoffRepresentation(221, ("Po",), ("a",))
VAST = WyckoffRepresentation(1, ("O",) * 200, ("a",) * 200)
CROWDED = WyckoffRepresentation(221, ("Cs",) * 6, ("n",) * 6)  # pyXtal finds no place for it


ROWS = [SALT, INVALID, HEUSLER, UNKNOWN, RUTILE, PEROVSKITE]
SETTINGS = {"draws": (2,), "seed": 7, "time_limit": 120}
JUDGE = partial(judged, hull=Hull.load())


@pytest.fixture(scope="module")
def representations(tmp_path_factory):
    path = tmp_path_factory.mktemp("in") / "samples.parquet"
    write_representations(path, to_table(ROWS, [f"row/{i}" for i in range(len(ROWS))]))
    return path


@pytest.fixture(scope="module")
def built(representations, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, structures.build(representations, folder, judge=JUDGE, **SETTINGS)


def test_the_table_has_every_row(built):
    folder, table = built
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "crystals.parquet"), table)
    made = table["reason"].isna()
    assert made.tolist() == [True, False, True, False, True, True]
    assert table["reason"][1] == "formally invalid: 2 sites on 4a, which is a fixed set of points"
    assert table["reason"][3] == "CHGNet does not know Po"
    assert table["cif"].notna().tolist() == made.tolist()
    assert table["symmetry_kept"].tolist() == made.tolist()
    assert sorted(p.name for p in folder.iterdir()) == ["cifs", "crystals.parquet"]
    names = [f"row%2F{i}.cif" for i in range(6) if made[i]]
    assert sorted(p.name for p in (folder / "cifs").iterdir()) == names


def test_the_lowest_draw_counts_and_all_are_recorded(built):
    for i, row in built[1].iterrows():
        assert row["draws"] == len(row["energies"]) == len(row["calls"]) == (1 if i == 1 else 2)
        if pd.isna(row["reason"]):
            assert row["energy_per_atom"] == min(row["energies"])
            assert min(row["calls"]) > 0
            assert list(row["draw_reasons"]) == [None, None]
        else:
            assert pd.isna([row["energy_per_atom"], *row["energies"]]).all()
            assert set(row["draw_reasons"]) == {row["reason"]}


def test_a_draw_that_fails_leaves_the_others(monkeypatch):
    """One of three starts is blown up beyond what CHGNet can relax."""
    rightly = pyxtal_start.draw

    def draw(representation, seed):
        crystal = rightly(representation, seed)
        return crystal.scale_lattice(crystal.volume * 1000) if seed[-1] == 1 else crystal

    monkeypatch.setattr(pyxtal_start, "draw", draw)
    row = structures.crystallise(SALT, 3, [0, 0])
    assert [energy is None for energy in row["energies"]] == [False, True, False]
    assert "isolated atom" in row["draw_reasons"][1]
    assert "reason" not in row


def test_energies_above_hull_are_those_of_the_shipped_hull(built):
    row = built[1].iloc[0]
    crystal = Structure.from_str(row["cif"], fmt="cif")
    expected = Hull.load().e_above_hull(crystal.composition, row["energy_per_atom"])
    assert row["e_above_hull"] == expected
    assert abs(expected) < 0.01
    assert row["hull_covered"]
    assert not built[1]["implausible"].any()
    assert not built[1]["hull_covered"][1]
    assert np.isnan(built[1]["e_above_hull"][3])


def test_a_finish_is_kept_only_if_it_gains():
    row = structures.crystallise(SALT, 1, [0, 0], finish=True)
    assert abs(row["finish_gain"]) < structures.GAIN  # rock salt is no saddle point
    assert row["space_group_found"] == 225


def start(representations, folder, **options) -> subprocess.Popen:
    code = (
        "import sys; from wyk import structures; "
        f"structures.build(sys.argv[1], sys.argv[2], **{SETTINGS!r})"
    )
    command = [sys.executable, "-c", code, representations, folder]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


def test_a_run_killed_five_times_ends_with_the_same_table(representations, built, tmp_path):
    moments = random.Random(0)
    done = tmp_path / structures.DONE
    for kill in range(5):
        process = start(representations, tmp_path)
        deadline = time.monotonic() + 300
        while not (done.exists() and done.read_bytes().count(b"\n") >= kill):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.wait()
        with done.open("ab") as file:
            file.write(b'{"key": "abc", "cif": "data')  # what a kill leaves at times
    assert done.read_bytes().count(b"\n") >= 4
    resumed = structures.build(representations, tmp_path, jobs=2, judge=JUDGE, **SETTINGS)
    pd.testing.assert_frame_equal(resumed, built[1])
    undisturbed = (built[0] / "crystals.parquet").read_bytes()
    assert (tmp_path / "crystals.parquet").read_bytes() == undisturbed


def test_a_full_disk_is_an_error_and_loses_nothing(representations, built, tmp_path):
    small = (11_000, 11_000)  # bytes a file may have, as if the disk were full then
    process = start(
        representations, tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, small)
    )  # fmt: skip
    error = process.communicate(timeout=400)[1]
    assert process.returncode == 1
    assert f"File too large; run again to go on: '{tmp_path / structures.DONE}'" in error
    assert not (tmp_path / "crystals.parquet").exists()
    assert (tmp_path / structures.DONE).read_bytes().count(b"\n") >= 1
    pd.testing.assert_frame_equal(
        structures.build(representations, tmp_path, judge=JUDGE, **SETTINGS), built[1]
    )


def test_two_runs_in_one_folder_are_refused(representations, tmp_path):
    with structures._journal(tmp_path / structures.DONE):
        with pytest.raises(OSError, match=r"another run is writing there"):
            structures.build(representations, tmp_path, **SETTINGS)


def test_what_was_done_with_other_settings_is_not_taken_over(tmp_path):
    tasks = [
        structures._tasks([SALT], (2,), False, "pyxtal", None, *each)
        for each in ((0, 60), (1, 60), (0, 61))
    ]
    assert len({key for each in tasks for key in each}) == 3
    path = tmp_path / structures.DONE
    with path.open("wb") as file:
        structures._append(file, {"key": "of another seed", "reason": "old"})
        structures._append(file, {"key": "damaged", "reason": "old"})
    path.write_bytes(
        path.read_bytes().replace(b"damaged", b"dama\xffed") + b'12345678 {"key": "torn'
    )
    with structures._journal(path) as (file, done):
        assert done == {"of another seed": {"reason": "old"}}
        structures._append(file, {"key": "new"})
    assert path.read_bytes().splitlines()[2].endswith(b' {"key": "new"}')


def test_the_code_that_makes_a_crystal_is_known():
    """All rooms that it runs through, but those that only run it, and no other."""
    rooms = {module.split(".")[0] for module in needed("structures.building")}
    assert set(structures.ROOMS) == rooms


def test_what_takes_too_long_is_a_reason(tmp_path):
    rows = [VAST, CROWDED, INVALID]
    write_representations(tmp_path / "hopeless.parquet", to_table(rows))
    table = structures.build(
        tmp_path / "hopeless.parquet", tmp_path, jobs=2, draws=(1,), time_limit=4
    )
    assert set(table["reason"][:2]) <= {"took longer than 4 s", "pyXtal took longer than 10 s"}
    assert table["reason"][2].startswith("formally invalid")


def test_a_name_of_any_length_names_a_file(tmp_path):
    names = ["x" * 300, "x" * 299 + "y", "../é" * 40, ".."]
    structures._write_cifs(tmp_path, pd.DataFrame({"material_id": names, "cif": "data_x"}))
    assert len(list(tmp_path.iterdir())) == 4


def test_only_the_cifs_of_an_earlier_run_go(tmp_path):
    table = pd.DataFrame({"material_id": ["a", "b"], "cif": "data_x"})
    structures._write_cifs(tmp_path, table)
    (tmp_path / "mine.cif").write_text("data_mine")
    structures._write_cifs(tmp_path, table.tail(1), ["a", "b"])
    assert {path.name for path in tmp_path.iterdir()} == {"b.cif", "mine.cif"}


def test_names_must_be_unique(tmp_path):
    write_representations(tmp_path / "twice.parquet", to_table([SALT, RUTILE], ["a", "a"]))
    with pytest.raises(ValueError, match="material_id a stands on several rows"):
        structures.build(tmp_path / "twice.parquet", tmp_path / "out")


def test_nothing_to_make_is_said(tmp_path):
    write_representations(tmp_path / "none.parquet", to_table([]))
    with pytest.raises(ValueError, match=r"none\.parquet: no representation"):
        structures.build(tmp_path / "none.parquet", tmp_path / "out")

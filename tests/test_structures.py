"""Draws have the representation that was asked for; a killed run ends with the table of an undisturbed one."""

import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Structure

from wyk import structures
from wyk.representation import (
    WyckoffRepresentation,
    from_structure,
    to_table,
    write_representations,
)
from wyk.stability import Hull

SALT = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b"))
HEUSLER = WyckoffRepresentation(225, ("Tm", "Mg", "Hg"), ("a", "b", "c"))
RUTILE = WyckoffRepresentation(136, ("Ti", "O"), ("a", "f"))
PEROVSKITE = WyckoffRepresentation(221, ("Sr", "Ti", "O"), ("a", "b", "c"))
LOW = WyckoffRepresentation(2, ("Li", "S", "S", "O"), ("a", "i", "i", "i"))
INVALID = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "a"))
UNKNOWN = WyckoffRepresentation(221, ("Po",), ("a",))


@pytest.mark.parametrize("representation", [SALT, HEUSLER, RUTILE, PEROVSKITE, LOW])
def test_a_draw_has_the_representation(representation):
    crystal = structures.draw(representation, seed=[0, 1])
    assert from_structure(crystal).fingerprint() == representation.fingerprint()
    assert len(crystal) == representation.n_atoms


def test_a_seed_is_a_crystal():
    one, again, other = (structures.draw(LOW, seed) for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(one.frac_coords, again.frac_coords)
    np.testing.assert_array_equal(one.lattice.matrix, again.lattice.matrix)
    assert not np.allclose(one.frac_coords, other.frac_coords)


def test_a_draw_stops_in_time():
    before = signal.getsignal(signal.SIGALRM)
    large = WyckoffRepresentation(227, ("O",) * 4, ("i",) * 4)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"longer than 0\.05 s"):
        structures.draw(large, seed=0, timeout=0.05)
    assert time.monotonic() - start < 5
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_an_invalid_representation_is_not_drawn():
    with pytest.raises(ValueError, match="2 sites on 4a"):
        structures.draw(INVALID, seed=0)


@pytest.mark.parametrize("representation", [SALT, HEUSLER, RUTILE, LOW])
def test_a_cif_reads_back_as_the_same_crystal(representation):
    crystal = structures.draw(representation, seed=5)
    cif = structures.symmetrised_cif(crystal.get_primitive_structure())
    assert from_structure(structures.read_cif(cif)).fingerprint() == representation.fingerprint()
    orbits = cif.split("_atom_site_occupancy")[1].split()
    assert len(orbits) == 7 * len(representation.letters)  # one line an orbit: not P1


@pytest.fixture(scope="module")
def representations(tmp_path_factory):
    path = tmp_path_factory.mktemp("in") / "samples.parquet"
    rows = [SALT, INVALID, HEUSLER, UNKNOWN, RUTILE, PEROVSKITE]
    write_representations(path, to_table(rows, [f"row/{i}" for i in range(len(rows))]))
    return path


SETTINGS = {"draws": 2, "seed": 7, "time_limit": 120}


@pytest.fixture(scope="module")
def built(representations, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, structures.build(representations, folder, **SETTINGS)


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
    names = [f"row_{i}.cif" for i in range(6) if made[i]]
    assert sorted(p.name for p in (folder / "cifs").iterdir()) == names


def test_the_lowest_draw_counts(built):
    for _, row in built[1].iterrows():
        assert row["draws"] == len(row["energies"]) == 2
        if pd.isna(row["reason"]):
            assert row["energy_per_atom"] == min(row["energies"])
        else:
            assert pd.isna([row["energy_per_atom"], *row["energies"]]).all()


def test_energies_above_hull_are_those_of_the_shipped_hull(built):
    row = built[1].iloc[0]
    crystal = Structure.from_str(row["cif"], fmt="cif")
    expected = Hull.load().e_above_hull(crystal.composition, row["energy_per_atom"])
    assert row["e_above_hull"] == expected
    assert abs(expected) < 0.01
    assert row["hull_covered"]
    assert not built[1]["hull_covered"][1]
    assert np.isnan(built[1]["e_above_hull"][3])


def test_a_killed_run_ends_with_the_same_table(representations, built, tmp_path):
    code = (
        "import sys; from wyk import structures; "
        f"structures.build(sys.argv[1], sys.argv[2], **{SETTINGS!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code, representations, tmp_path])
    attempts = tmp_path / structures.ATTEMPTS
    deadline = time.monotonic() + 60
    while not (attempts.exists() and attempts.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (tmp_path / "crystals.parquet").exists()
    with attempts.open("ab") as file:
        file.write(b'{"key": "abc", "cif": "data')  # what a kill leaves at times
    assert 3 <= attempts.read_bytes().count(b"\n") < 12
    resumed = structures.build(representations, tmp_path, **SETTINGS)
    pd.testing.assert_frame_equal(resumed, built[1])
    undisturbed = (built[0] / "crystals.parquet").read_bytes()
    assert (tmp_path / "crystals.parquet").read_bytes() == undisturbed


def test_what_was_done_with_other_settings_is_not_taken_over(tmp_path):
    path = tmp_path / structures.ATTEMPTS
    path.write_text('{"key": "of another seed", "reason": "old"}\n{"key": "torn')
    assert structures._read_attempts(path) == {"of another seed": {"reason": "old"}}
    assert path.read_bytes().endswith(b"}\n")
    rows = structures._run_attempts(path, [INVALID], draws=1, jobs=1, seed=0, time_limit=60)
    assert rows == [[{"reason": "formally invalid: 2 sites on 4a, which is a fixed set of points"}]]


def test_names_must_be_unique(tmp_path):
    write_representations(tmp_path / "twice.parquet", to_table([SALT, RUTILE], ["a", "a"]))
    with pytest.raises(ValueError, match="material_id a stands on several rows"):
        structures.build(tmp_path / "twice.parquet", tmp_path / "out")

"""Draws of pyXtal, of the diffusion and of both: what becomes of them, and how near real crystals they are."""

import numpy as np
import pandas as pd
import pytest
from conftest import RUTILE, SALT
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from wyk.cli.main import app
from wyk.coordinates import starts
from wyk.crystals.representation import WyckoffRepresentation, from_structure
from wyk.crystals.tables import to_table, write_representations
from wyk.relaxation.descent import loosened
from wyk.structures import building as structures
from wyk.studies import matching

BLENDE = WyckoffRepresentation(216, ("Zn", "S"), ("a", "c"))
UNKNOWN = WyckoffRepresentation(221, ("Ra",), ("a",))
SEEDS = [[1, k] for k in range(4)]


def test_mixed_draws_take_turns(diffused):
    drawn = {start: starts.draw(RUTILE, SEEDS, start, diffused) for start in starts.STARTS}
    expected = [("diffusion", "pyxtal")[k % 2] for k in range(4)]
    for k, start in enumerate(expected):
        lengths = drawn["mixed"][k].lattice.abc
        assert lengths == pytest.approx(drawn[start][k].lattice.abc, abs=1e-4)
        assert lengths != pytest.approx(drawn[expected[k - 1]][k].lattice.abc, abs=1e-4)
    for crystals in drawn.values():
        found = {from_structure(loosened(crystal)).fingerprint() for crystal in crystals}
        assert found == {RUTILE.fingerprint()}


def test_where_one_start_fails_the_other_draws(diffused):
    made, found = starts.draw(UNKNOWN, SEEDS[:2], "mixed", diffused)
    assert "has not learned Ra" in str(made)
    assert isinstance(found, Structure)


def test_every_start_leads_to_the_same_simple_crystals(diffused, tmp_path):
    write_representations(tmp_path / "r.parquet", to_table([SALT, BLENDE, UNKNOWN]))
    energies = {}
    for start in starts.STARTS:
        model = None if start == "pyxtal" else diffused
        table = structures.build(
            tmp_path / "r.parquet", tmp_path / start, draws=(2,), start=start, diffusion=model
        )
        energies[start] = table["energy_per_atom"]
        assert table["symmetry_kept"].tolist() == [True, True, False]
        assert "Ra" in table["reason"][2]
    for found in energies.values():  # one free number each: all starts end in the same place
        assert found[:2].tolist() == pytest.approx(energies["pyxtal"][:2].tolist(), abs=0.01)


@pytest.mark.parametrize("arguments", [["--start", "mixed"], ["--diffusion", "x"]])
def test_the_diffusion_and_its_model_come_together(tmp_path, arguments):
    result = CliRunner().invoke(app, ["structures", "r.parquet", "-o", str(tmp_path), *arguments])
    assert result.exit_code == 2
    assert "--diffusion" in result.output


@pytest.fixture(scope="module")
def table(diffused, tmp_path_factory) -> pd.DataFrame:
    """Rock salt, zinc blende, and an element that neither CHGNet nor the diffusion knows."""
    folder = tmp_path_factory.mktemp("crystals")
    for group, species, sites, a in (
        ("Fm-3m", ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]], 5.7),
        ("F-43m", ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]], 5.4),
        ("Pm-3m", ["Ra"], [[0, 0, 0]], 4.0),
    ):
        crystal = Structure.from_spacegroup(group, Lattice.cubic(a), species, sites)
        crystal.to(folder / f"{species[0]}.cif")
    return matching.match(folder, n=3, draws=2, model=diffused, seed=1, jobs=2)


def test_crystals_without_free_coordinates_match_from_either_start(table):
    known = table[~table["material_id"].str.startswith("Ra")]
    assert known["start"].tolist() == ["pyxtal", "diffusion"] * 2
    for name in ("loose", "loosened"):
        assert np.isfinite(np.array(known[name].tolist(), float)).all()
    assert np.array(known["kept"].tolist(), float).all()
    assert np.array(known["calls"].tolist(), float).min() > 0


def test_what_neither_knows_is_in_the_denominator(table):
    row = table[table["material_id"].str.startswith("Ra")].iloc[1]
    assert "has not learned Ra" in row["reason"]
    summary = matching.summary(table).set_index(["start", "free_numbers", "draws"])
    for start in matching.STARTS:
        assert summary.loc[(start, "all", 1), "n"] == 3
        assert summary.loc[(start, "all", 2), "found"] == pytest.approx(2 / 3)
    assert summary.loc[("diffusion", "all", 1), "kept"] == 1  # of what was relaxed


def test_the_summary_counts_what_it_says():
    nan = np.nan
    rows = {
        "start": ["pyxtal"] * 2,
        "free_numbers": [2, 5],
        "real": [-3.0, -3.0],
        "loose": [[nan, 0.2], [nan, nan]],
        "default": [[nan, nan], [nan, nan]],
        "loosened": [[0.1, 0.1], [nan, 0.3]],
        "energies": [[-2.0, -2.99], [-2.0, nan]],
        "calls": [[4, 6], [10, nan]],
        "kept": [[1, 0], [1, nan]],
    }
    summary = matching.summary(pd.DataFrame(rows)).set_index(["free_numbers", "draws"])
    both = summary.loc[("all", 2)]
    assert (both["loose"], both["loosened"], both["found"]) == (0.5, 1.0, 0.5)
    assert both["kept"] == pytest.approx(2 / 3)
    assert both["loose_rms"] == 0.2
    assert np.isnan(both["default_rms"])
    assert both["calls"] == pytest.approx(20 / 3)
    assert summary.loc[("all", 1), "loosened"] == 0.5
    assert summary.loc[("4 to 6", 2), "found"] == 0

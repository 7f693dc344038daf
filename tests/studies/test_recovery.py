"""Random draws of known crystals: what counts as found, and simple crystals that must be."""

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from wyk.studies import recovery, summaries


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Rock salt and fluorite, of which nothing but the cell edge is free, and radium, which CHGNet does not know."""
    folder = tmp_path_factory.mktemp("crystals")
    for name, species, sites, a in (
        ("salt", ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]], 5.7),
        ("fluorite", ["Ca", "F"], [[0, 0, 0], [0.25, 0.25, 0.25]], 5.5),
        ("radium", ["Ra"], [[0, 0, 0]], 7.0),
    ):
        crystal = Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), species, sites)
        crystal.to(folder / f"{name}.cif")
    return recovery.recover(folder, n=3, draws=2, seed=1, jobs=2)


def test_simple_crystals_are_found_by_the_first_draw(table):
    rows = table.set_index(table["material_id"].str.removesuffix(".cif"))
    known = rows.loc[["salt", "fluorite"]]
    assert known["free_numbers"].tolist() == [1, 1]
    assert known["reason"].isna().all()
    assert recovery.found(known).all()
    energies = np.array(known["energies"].tolist())
    assert np.abs(energies - known["real"].to_numpy()[:, None]).max() < 0.01
    assert min(min(calls) for calls in known["calls"]) > 0


def test_what_cannot_be_relaxed_stays_in_the_table_and_is_not_found(table):
    (row,) = table[table["material_id"].str.startswith("radium")].to_dict("records")
    assert "does not know Ra" in row["reason"]
    assert recovery.found(pd.DataFrame([row])).tolist() == [[False, False]]


def test_the_same_seed_gives_the_same_table_with_any_number_of_processes(table, tmp_path):
    crystal = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0] * 3, [0.5] * 3]
    )
    crystal.to(tmp_path / "one.cif")
    one, other = (recovery.recover(tmp_path, 1, 2, seed, jobs) for seed, jobs in ((5, 1), (5, 2)))
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize(
    ("energies", "expected"),
    [
        ([-3.0, -2.95], [True, True]),
        ([-2.9, -2.93], [False, True]),
        ([-2.9, -2.9], [False, False]),
        ([None, -3.2], [False, True]),  # lower than the real crystal is found, too
        ([np.nan, np.nan], [False, False]),
    ],
)
def test_what_counts_as_found(energies, expected):
    table = pd.DataFrame({"real": [-3.0], "energies": [energies]})
    assert recovery.found(table).tolist() == [expected]


def test_the_curve_counts_what_was_found():
    table = pd.DataFrame(
        {
            "real": [-3.0, -3.0, -3.0],
            "energies": [[-3.0, -3.0], [-2.0, -3.0], [-2.0, -2.0]],
            "free_numbers": [1, 5, 20],
            "calls": [[3, 5], [10, 10], [0, 20]],
        }
    )
    curve = summaries.recovery(table).set_index(["free_numbers", "draws"])
    assert curve.loc[("all", 1), "found"] == pytest.approx(1 / 3)
    assert curve.loc[("all", 2), "found"] == pytest.approx(2 / 3)
    assert curve.loc[("4 to 6", 2), ["found", "n"]].tolist() == [1.0, 1]
    assert curve.loc[("13 and more", 2), "found"] == 0
    assert curve.loc["all", "calls"].tolist() == [8.0, 8.0]
    assert "7 to 12" not in curve.index  # there is none


def test_nothing_to_recover(tmp_path):
    (tmp_path / "x.cif").write_text("data_x\n")
    with pytest.raises(ValueError, match="no crystal"):
        recovery.recover(tmp_path, 1, 1)

"""Counts and means that stand for rows which may not be published."""

import pandas as pd
import pytest
from conftest import HEUSLER, LOW, RUTILE, SALT

from wyk.studies import summaries


def test_parameters_are_counted_per_description():
    table = summaries.parameters([SALT, SALT, RUTILE])
    assert table.groupby("description")["crystals"].sum().to_dict() == {
        "point_cloud": 3,
        "continuous": 3,
        "discrete": 3,
    }
    rows = table.set_index(["description", "parameters"])["crystals"]
    assert rows["continuous", 1] == 2  # rock salt: the edge of its cell
    assert rows["continuous", 3] == 1  # rutile: two edges and one coordinate
    assert rows["point_cloud", 12] == 2


def test_properties_are_shares_of_each_set():
    table = summaries.properties({"a": [SALT, HEUSLER], "b": [LOW]})
    shares = table.groupby(["quantity", "set"])["share"].sum()
    assert shares.to_dict() == pytest.approx(
        {(quantity, name): 1 for quantity in summaries.PROPERTIES for name in "ab"}
    )
    rows = table.set_index(["quantity", "set", "value"])["crystals"]
    assert rows["elements", "a", 2] == rows["elements", "a", 3] == 1
    assert rows["sites", "b", 4] == 1
    assert rows["dof", "b", 9] == 1


@pytest.mark.xdist_group("pipeline")
def test_no_table_names_a_crystal(pipeline):
    """What stands in git are counts: no material_id, no composition, no energy of a single real crystal."""
    folder = pipeline.root / "figures/quick"
    names = ("parameters", "space_groups", "variants", "properties", "likelihoods")
    for name in (*names, "permutation_kl", "recovery"):
        columns = set(pd.read_csv(folder / f"{name}.csv").columns)
        assert columns & {"crystals", "share", "n", "test"}, name
        assert not columns & {"material_id", "elements", "real", "energies", "cif"}, name


def test_an_experiment_that_did_not_run_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("wyk.plumbing.paths.RUNS", tmp_path)
    with pytest.raises(FileNotFoundError, match="represent"):
        summaries.write("quick")

"""Tables of representations: written and read back, and what is no table of them."""

import numpy as np
import pandas as pd
import pytest
from conftest import HEUSLER, LOW
from hypothesis import given, settings
from hypothesis import strategies as st

from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.spacegroups import space_group
from wyk.crystals.tables import (
    COLUMNS,
    from_table,
    read_representations,
    read_rows,
    row_fault,
    to_table,
    write_representations,
    write_samples,
)


def test_tables_on_disk(tmp_path):
    representations = [HEUSLER, LOW]
    path = tmp_path / "some.parquet"
    write_representations(path, to_table(representations, ["a", "b"], e_above_hull=[0.0, 0.1]))
    frame = read_representations(path)
    assert from_table(frame) == representations
    assert frame["e_above_hull"].tolist() == [0.0, 0.1]
    assert [list(row) for row in frame["multiplicities"]] == [
        list(r.multiplicities) for r in representations
    ]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"some.parquet is not a Parquet file"):
        read_representations(path)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(ValueError, match="no column material_id"):
        read_representations(path)


sites = st.lists(
    st.tuples(st.sampled_from(["H", "Fe", "Og"]), st.sampled_from("abzAé")), max_size=5
)
crystals = st.builds(
    lambda number, sites: WyckoffRepresentation(
        number, tuple(element for element, _ in sites), tuple(letter for _, letter in sites)
    ),
    st.integers(1, 230),
    sites,
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(crystals, max_size=4))
def test_any_representations_come_back_from_their_table(representations):
    """Those that are formally invalid, too: their unknown letters stand there with multiplicity 0."""
    table = to_table(representations)
    assert from_table(table) == representations
    assert tuple(table) == COLUMNS
    for r, multiplicities in zip(representations, table["multiplicities"], strict=True):
        known = [letter in space_group(r.space_group).letters for letter in r.letters]
        assert [n > 0 for n in multiplicities] == known


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"material_id": 7}, "material_id is 7, no text"),
        ({"space_group": 231}, "no space group 231"),
        ({"space_group": "225"}, "no space group '225'"),
        ({"space_group": 225.5}, "no space group 225.5"),
        ({"space_group": float("nan")}, "no space group nan"),
        ({"space_group": 225.0}, None),
        ({"elements": None}, "`elements` is no list"),
        ({"letters": np.array(["a", None])}, "`wyckoff_letters` is no list"),
        ({"letters": np.array(["a"])}, "2 elements on 1 sites"),
        ({"letters": np.array(["a", "z"])}, None),
    ],
)
def test_a_row_that_cannot_be_one_says_why(change, fault):
    fields = {"material_id": "x", "space_group": 225, "elements": np.array(["Na", "Cl"])}
    found = row_fault(**fields | {"letters": np.array(["a", "b"])} | change)
    assert found is None if fault is None else fault in found


def test_samples_that_are_invalid_stand_in_a_table_beside_the_others(tmp_path):
    """A second run without any takes the list of the first away."""
    bad = WyckoffRepresentation(225, ("Na", "Cl"), ("a", "a"))
    out, beside = tmp_path / "out.parquet", tmp_path / "out.rejected.csv"
    write_samples(out, to_table([HEUSLER]), to_table([bad], ["5"], reason=[bad.invalidity()]))
    assert from_table(read_rows(out)) == [HEUSLER]
    row = pd.read_csv(beside, dtype=str).iloc[0].to_dict()
    assert (row["material_id"], row["elements"], row["wyckoff_letters"]) == ("5", "Na Cl", "a a")
    assert "4a" in row["reason"]
    write_samples(out, to_table([HEUSLER]))
    assert [path.name for path in tmp_path.iterdir()] == [out.name]

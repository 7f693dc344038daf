"""Values are the same wherever a file is cut while it is read."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wyk.files import json_stream
from wyk.files.json_stream import DamagedError, json_items

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=5), st.integers(1, 7))
def test_a_list_is_what_json_says(values, first):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "FIRST", first)
        found = [value for _, value in json_items(io.StringIO(json.dumps(values)))]
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


@pytest.mark.parametrize("text", ["[-3.14, 2e5, 3E-2, -0.0, 10]", "[1]"])
def test_numbers_are_whole(text, monkeypatch):
    monkeypatch.setattr(json_stream, "FIRST", 1)
    assert [value for _, value in json_items(io.StringIO(text))] == json.loads(text)


@pytest.mark.parametrize("text", ["[1-2]", "[1.5.2]", "[3"])
def test_what_is_no_number_is_damaged(text, monkeypatch):
    monkeypatch.setattr(json_stream, "FIRST", 1)
    with pytest.raises(DamagedError):
        list(json_items(io.StringIO(text)))

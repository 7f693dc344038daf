"""Executed notebooks as pages: the same for the same outputs, however papermill names its cells."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from wyk.plots import reports


def executed(folder, name: str, text: str):
    """A notebook with one output; its cells have random names and clock times, as papermill leaves them."""
    cell = new_code_cell("1 + 1", execution_count=1, metadata={"papermill": {"start_time": name}})
    cell.outputs = [new_output("execute_result", {"text/plain": text}, execution_count=1)]
    path = folder / name / "story.ipynb"
    path.parent.mkdir()
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Two and two"), cell]), path)
    return path


def test_the_same_outputs_give_the_same_page(tmp_path):
    one, two = (executed(tmp_path, name, "2") for name in ("one", "two"))
    assert one.read_bytes() != two.read_bytes()
    assert reports.page(one) == reports.page(two)
    assert reports.page(one) != reports.page(executed(tmp_path, "three", "3"))


def test_the_command_writes_the_page(tmp_path, monkeypatch):
    path = executed(tmp_path, "one", "2")
    out = tmp_path / "pages/story.html"
    monkeypatch.setattr("sys.argv", ["reports", str(path), str(out)])
    reports.main()
    text = out.read_text(encoding="utf-8")
    assert "<title>story</title>" in text
    assert "Two and two" in text


def test_a_notebook_that_is_none(tmp_path):
    path = tmp_path / "broken.ipynb"
    path.write_text("{")
    with pytest.raises(nbformat.reader.NotJSONError):
        reports.page(path)

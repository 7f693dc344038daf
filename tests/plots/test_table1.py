"""Table 1: every cell from a metrics file, the paper's as published, in all three forms."""

import copy
import json

import pandas as pd
import pytest

from wyk.plots import table1
from wyk.plumbing.paths import FIGURES

FOLDER = FIGURES / "quick"


@pytest.fixture(scope="module")
def metrics() -> dict:
    names = {file for _, file, _ in (*table1.OURS, *table1.OTHERS)}
    return {name: json.loads((FOLDER / f"{name}.json").read_text("utf-8")) for name in names}


@pytest.fixture(scope="module")
def cells(metrics):
    return table1.table(metrics)


def cell(cells, column, row):
    return cells[(cells["column"] == column) & (cells["row"] == row)].iloc[0]


def test_cells_are_those_of_the_metrics(cells, metrics):
    for part, name, file, block in (
        ("models", "samples", "metrics", "raw"),
        ("models", "relaxed", "metrics", "relaxed"),
        ("references", "random positions, relaxed", "metrics_random", "relaxed"),
        ("references", "test set", "metrics_test", "raw"),
    ):
        for row in ("formal_validity", "sites_ks", "elements_chi2"):
            entry = metrics[file][block][row]
            factor = 100 if row == "formal_validity" else 1
            found = cell(cells, name, row)
            assert found["part"] == part
            assert found["value"] == pytest.approx(factor * entry["value"])
            assert found["high"] == pytest.approx(factor * entry["interval"][1])
            assert found["n"] == entry["n"]


def test_every_measured_cell_has_interval_and_n(cells):
    measured = cells[~cells["column"].str.contains("paper|real")]
    counted = measured["row"].isin([table1.STRUCTURES, table1.NOVEL])
    assert measured.loc[~counted, ["low", "high", "n"]].notna().all().all()
    floors = cells[cells["column"].str.startswith("real")]
    assert len(floors) == 5
    assert floors["n"].notna().all()


def test_the_papers_numbers_are_as_printed(cells):
    assert cell(cells, "WyckoffTransformer (paper)", "sun")["value"] == 38.7
    assert cell(cells, "WyCryst (paper)", "elements_ks")["value"] == 0.002
    assert cell(cells, "DiffCSP, MP-20 (paper)", "space_group_chi2")["value"] == 7.95


def test_the_stored_files_are_of_these_metrics(metrics, cells):
    """Also what a change of a metric without a new table would be seen by."""
    below = table1.note(metrics)
    assert all(word in below for word in ("CHGNet", "hull", "aflow:train", "0.08"))
    for kind, text in (("md", table1.markdown(cells)), ("tex", table1.latex(cells))):
        stored = (FOLDER / f"table1.{kind}").read_text("utf-8")
        assert stored.startswith(text)
        assert below in stored
    stored = pd.read_csv(FOLDER / "table1.csv", dtype={"n": "Int64"})
    pd.testing.assert_frame_equal(stored, cells, check_dtype=False)


def test_another_number_is_another_table(metrics, cells):
    changed = copy.deepcopy(metrics)
    changed["metrics_random"]["raw"]["sites_ks"]["value"] += 0.1
    assert table1.markdown(table1.table(changed)) != table1.markdown(cells)


def test_what_was_not_computed_has_no_column_and_no_number(metrics):
    changed = copy.deepcopy(metrics)
    del changed["metrics"]["relaxed"]
    changed["metrics"]["raw"]["p1"]["value"] = None
    cells = table1.table(changed)
    assert "relaxed" not in set(cells["column"])
    assert "first relaxed" not in set(cells["column"])  # too few crystals in `quick`
    assert table1.shown(cells, "models").loc["P1, %", "samples"] == "–"


def test_a_distance_of_nothing_is_zero(metrics):
    changed = copy.deepcopy(metrics)
    changed["metrics_test"]["raw"]["space_group_chi2"]["value"] = 5e-32
    text = table1.shown(table1.table(changed), "references")["test set"]["Space group χ² ↓"]
    assert text.startswith("0 (")


def test_the_headline_is_a_handful_of_plain_numbers(metrics):
    chosen = table1.headline(metrics["metrics"])
    assert len(chosen) == 13
    assert all(isinstance(value, float) for value in chosen.values())
    assert chosen["likelihood.test_nll"] == metrics["metrics"]["likelihood"]["test"]["nll"]["value"]
    assert json.loads((FOLDER / "headline.json").read_text("utf-8")) == chosen


def test_latex_escapes_what_it_must(cells):
    text = table1.latex(cells)
    assert r"\toprule" in text
    assert r"$\chi^2$" in text
    assert not set("χ²−–↑↓%") & set(text.replace(r"\%", ""))

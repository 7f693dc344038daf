"""The README says what the pipeline measured."""

import json

import pytest

from wyk.paths import FIGURES
from wyk.report import EXPERIMENT, README, table, with_results


@pytest.fixture(scope="module")
def metrics():
    return json.loads((FIGURES / EXPERIMENT / "metrics.json").read_text(encoding="utf-8"))


def test_the_readme_holds_the_measured_numbers(metrics):
    readme = README.read_text(encoding="utf-8")
    assert with_results(readme, metrics) == readme, "run: python -m wyk.report"


def test_the_check_sees_another_number(metrics):
    readme = README.read_text(encoding="utf-8")
    metrics["raw"]["sites_ks"]["value"] += 0.1
    assert with_results(readme, metrics) != readme


def test_what_was_not_computed_has_no_row(metrics):
    rows = table(metrics).count("\n")
    assert table({"raw": metrics["raw"]}).count("\n") < rows
    with pytest.raises(ValueError, match="no lines"):
        with_results("# wyk", metrics)

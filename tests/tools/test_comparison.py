"""`wyk compare`: each source judged as alone, side by side in table and figures."""

import json

import pandas as pd
import pytest
from conftest import HEUSLER, PEROVSKITE, RUTILE, SALT
from PIL import Image
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from wyk.cli import main as cli
from wyk.crystals.tables import to_table, write_representations
from wyk.metrics import evaluation

REAL = ["--reference", "aflow:test", "--training", "aflow:train", "--training", "aflow:val"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Bare representations, and crystals of another program."""
    folder = tmp_path_factory.mktemp("sources")
    write_representations(folder / "bare.parquet", to_table([SALT, HEUSLER, RUTILE, PEROVSKITE]))
    (folder / "theirs").mkdir()
    for name, pair, a in (("salt", ["Na", "Cl"], 5.7), ("oxide", ["Mg", "O"], 4.25)):
        places = [[0, 0, 0], [0.5, 0.5, 0.5]]
        crystal = Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), pair, places)
        crystal.to(folder / f"theirs/{name}.cif")
    return folder


@pytest.fixture(scope="module")
def compared(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared")
    given = [str(sources / "bare.parquet"), f"others={sources / 'theirs'}"]
    result = CliRunner().invoke(cli.app, ["compare", *given, *REAL, "-o", str(out)])
    assert result.exit_code == 0, result.output
    return out, result.output


def test_every_source_has_its_columns(compared):
    out, text = compared
    table = pd.read_csv(out / "table.csv")
    assert list(table["column"].unique()) == ["bare", "others", "others, crystals"]
    for name in table["column"].unique():
        assert name in text
        assert name in (out / "table.md").read_text(encoding="utf-8")


def test_the_numbers_are_those_of_each_alone(compared, sources, tmp_path):
    out, _ = compared
    alone = evaluation.evaluate(
        str(sources / "theirs"), "aflow:test", tmp_path / "m.json", ["aflow:train", "aflow:val"]
    )
    assert json.loads((out / "others.json").read_text(encoding="utf-8")) == alone
    table = pd.read_csv(out / "table.csv").set_index(["column", "row"])["value"]
    assert table["others, crystals", "stable"] == 100 * alone["relaxed"]["stable"]["value"]
    assert table["others", "sites_ks"] == pytest.approx(alone["raw"]["sites_ks"]["value"])


def test_the_figures_are_drawn(compared):
    out, _ = compared
    for name in ("properties", "stability"):
        with Image.open(out / f"{name}.png") as picture:
            assert len(picture.convert("L").getcolors()) > 5


@pytest.mark.parametrize("given", [["a.zip", "b/a.zip"], ["x=a", "x=b"], list("abcde")])
def test_names_that_cannot_be_told_apart(given, tmp_path):
    result = CliRunner().invoke(cli.app, ["compare", *given, *REAL, "-o", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "all different" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", "..", "../elsewhere", "/elsewhere"])
def test_a_name_never_leads_out_of_the_folder(name, tmp_path):
    given = ["compare", f"{name}=x.zip", *REAL, "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.app, given)
    assert result.exit_code == 2
    assert "cannot name a file" in result.output

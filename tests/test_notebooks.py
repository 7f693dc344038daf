"""Notebooks: stored bare, and run from top to bottom; the figures they draw."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image
from pymatgen.core import Lattice, Structure

from wyk.crystals.parameters import parameter_counts
from wyk.crystals.representation import WyckoffRepresentation, from_structure
from wyk.plots import base as plots
from wyk.plumbing.paths import NOTEBOOKS, ROOT

pytestmark = pytest.mark.xdist_group("pipeline")

STORED = sorted(NOTEBOOKS.glob("*.ipynb"))
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def drawn(path) -> set[str]:
    """The figures that its stage draws, as dvc.yaml says."""
    outs = [
        out
        for each in STAGES[path.stem]["do"]["outs"]
        for out in ([each] if isinstance(each, str) else each)
    ]
    return {Path(out).stem for out in outs if out.endswith(".svg")}


def cells(path, kind=None):
    return [c for c in json.loads(path.read_text())["cells"] if kind in (None, c["cell_type"])]


def source(cell) -> str:
    return "".join(cell["source"])


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_bare(path):
    for cell in cells(path, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_tells_a_story(path):
    first, *rest = cells(path)
    assert first["cell_type"] == "markdown"
    assert source(first).startswith("# ")
    assert "**The paper**" in source(first)
    tagged = [c for c in rest if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assert 'experiment = "quick"' in source(tagged[0])


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_holds_no_logic_and_no_paths(path):
    for cell in cells(path, "code"):
        assert not re.search(r"^\s*(def|class|while|for|if|try)\b", source(cell), re.M)
        assert not re.search(r"""["'](/|~|[A-Z]:\\)""", source(cell))
    saved = {
        name
        for cell in cells(path, "code")
        for name in re.findall(
            r'plots\.save\(figure, experiment, "(\w+)", NOTEBOOK\)', source(cell)
        )
    }
    assert saved == drawn(path)
    assert any(f'NOTEBOOK = "notebooks/{path.name}"' in source(c) for c in cells(path, "code"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_runs_in_the_pipeline(pipeline, path):
    """Papermill ran it there, on the ``quick`` experiment; a cell that fails stops the stage."""
    report = pipeline.root / "runs/quick/notebooks" / path.name
    executed = json.loads(report.read_text())
    assert executed["metadata"]["papermill"]["exception"] is None
    assert executed["metadata"]["papermill"]["duration"] < 120
    assert all(c["execution_count"] for c in executed["cells"] if c["cell_type"] == "code")
    told = json.dumps([c.get("outputs") for c in executed["cells"]])
    assert not re.search(r"Warning|Error", re.sub(r"<script>.*?</script>", "", told))
    for name in drawn(path):
        folder = pipeline.root / "figures/quick"
        assert len(pd.read_csv(folder / f"{name}.csv"))  # what the figure shows
        assert f"notebooks/{path.name}" in (folder / f"{name}.svg").read_text(encoding="utf-8")
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.info["Source"] == f"notebooks/{path.name}"
            assert picture.width == pytest.approx(3.4 * 200, abs=1)
            assert len(picture.convert("L").getcolors()) > 5  # something is drawn


def test_parameters_are_counted_as_in_the_paper():
    """Figure 2: 13 atoms, two free coordinates, two free cell edges, four sites."""
    crystal = WyckoffRepresentation(139, ("Nd", "Al", "Al", "Cu"), ("a", "j", "i", "f"))
    counts = parameter_counts([crystal])
    assert counts.to_dict("records") == [{"point_cloud": 45, "continuous": 4, "discrete": 5}]


@pytest.mark.parametrize(
    ("group", "lattice", "free"),
    [
        ("P1", Lattice.from_parameters(4, 5, 6, 80, 85, 95), 6),
        ("P2_1", Lattice.monoclinic(4, 5, 6, 100), 4),
        ("Pna2_1", Lattice.orthorhombic(4, 5, 6), 3),
        ("P4_1", Lattice.tetragonal(5, 6), 2),
        ("P3_1", Lattice.hexagonal(5, 6), 2),
        ("R3", Lattice.hexagonal(5, 6), 2),
        ("P6_1", Lattice.hexagonal(5, 6), 2),
        ("F23", Lattice.cubic(9), 1),
        ("A-centred: Cmc2_1", Lattice.orthorhombic(4, 7, 6), 3),
    ],
)
def test_a_point_cloud_counts_the_primitive_cell(group, lattice, free):
    symbol = group.split(": ")[-1]
    sites = [[0.11, 0.23, 0.31], [0.37, 0.05, 0.66]]
    structure = Structure.from_spacegroup(symbol, lattice, ["Na", "Cl"], sites)
    crystal = from_structure(structure)
    (counts,) = parameter_counts([crystal]).to_dict("records")
    assert counts["point_cloud"] == 3 * len(structure.get_primitive_structure()) + 6
    assert counts["continuous"] == crystal.degrees_of_freedom + free


def test_the_same_figure_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("wyk.plumbing.paths.FIGURES", tmp_path)
    crystal = WyckoffRepresentation(225, ("Tm", "Mg", "Hg"), ("a", "b", "c"))
    for name in ("one", "two"):
        plots.save(plots.tokens(crystal.variants()), "quick", name, "notebooks/x.ipynb")
    for kind in ("png", "svg"):
        one, two = ((tmp_path / f"quick/{name}.{kind}").read_bytes() for name in ("one", "two"))
        assert one == two

"""`wyk generate`: from a model to a folder of crystals and a page that stands by itself."""

import re
from pathlib import Path

import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from wyk.cli import main as cli
from wyk.plots import of_crystals, viewer
from wyk.stability import hull as stability
from wyk.tools import generation


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("generated")
    asked = ["--space-group", "221,225", "--elements", "Li,O,Mg", "--atoms", "1-5"]
    command = [
        "generate",
        "-n",
        "4",
        "--model",
        str(folder),
        "-o",
        str(out),
        "--draws",
        "1",
        *asked,
    ]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0, result.output
    return out, result.output


def test_crystals_are_those_asked_for(made):
    out, _ = made
    crystals = pd.read_parquet(out / "crystals.parquet")
    assert set(crystals["space_group"]) <= {221, 225}
    assert len(crystals) == 4
    for row in crystals.dropna(subset="cif").itertuples():
        crystal = Structure.from_file(out / f"cifs/{row.material_id}.cif")
        assert {e.symbol for e in crystal.composition.elements} <= {"Li", "O", "Mg"}
        assert len(crystal.get_primitive_structure()) <= 5


def test_the_page_needs_nothing_but_the_cifs(made):
    out, _ = made
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("<article>") == 4
    assert page.count("<script>") == 1
    assert viewer.script() in page
    assert not re.search(r"https?://|src=(?!\"data:)", page.replace(viewer.script(), ""))
    links = re.findall(r'href="([^"]+)"', page)
    assert links
    assert all((out / link).is_file() for link in links)
    assert page.count("data:image/png;base64,") == page.count("data-crystals=") == len(links)


def test_the_terminal_shows_the_most_stable_first(made):
    _, text = made
    above = [float(x) for x in re.findall(r"\s([+-]\d\.\d{3})\s+(?:knows|lacks)", text)]
    assert above == sorted(above)
    assert "open" in text.splitlines()[-1]


def test_what_did_not_become_a_crystal_says_why():
    row = {
        "material_id": "a<b>", "space_group": 225, "cif": None, "e_above_hull": float("nan"),
        "energy_per_atom": float("nan"), "hull_covered": False, "implausible": False,
        "reason": "<script>no</script>",
    }  # fmt: skip
    crystals = of_crystals.named(generation.compared(pd.DataFrame([row]), ["aflow:train"]))
    page = generation.page(crystals)
    assert "No crystal of space group 225" in page
    assert "<script>no" not in page
    assert of_crystals.listing(crystals)["CIF"].item() == "<script>no</script>"


@pytest.mark.parametrize(
    ("training", "seen"),
    [
        (["aflow"], ["in the training data", "in this batch", "no"]),
        ([], ["not in this batch", "in this batch", "not in this batch"]),
        (["nowhere.csv"], ["not in this batch", "in this batch", "not in this batch"]),
    ],
)
def test_what_was_seen_before(training, seen):
    salt, other = (
        Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), pair, [[0, 0, 0], [0.5, 0.5, 0.5]])
        for a, pair in ((5.7, ["Na", "Cl"]), (4.2, ["Xe", "He"]))
    )
    crystals = pd.DataFrame({"cif": [s.to(fmt="cif") for s in (salt, salt, other)]})
    made = of_crystals.named(generation.compared(crystals, training))
    rows = {"material_id": "a", "space_group": 225, "space_group_found": 225, "hull_covered": True}
    listed = of_crystals.listing(made.assign(**rows, e_above_hull=0.0, energy_per_atom=-1.0))
    assert listed["seen before"].tolist() == seen


def test_it_goes_on_until_so_many_are_stable(folder, tmp_path):
    """The table ends with the last stable crystal that was wanted, however many processes there are."""
    asked = {"elements": ["Na", "Cl", "K", "F"], "n_elements": (2, 2), "sites": (1, 2)}
    made = generation.generate(
        folder, tmp_path / "a", 40, until_stable=2, draws=[1], jobs=2, **asked
    )
    found = made.sort_values("material_id", key=lambda names: names.astype(int))
    judged = stability.stable(found).tolist()
    assert sum(judged) == 2
    assert judged[-1]
    assert len(found) < 40
    again = generation.generate(
        folder, tmp_path / "b", 40, until_stable=2, draws=[1], jobs=1, **asked
    )
    assert again["material_id"].tolist() == made["material_id"].tolist()


def test_the_same_crystal_is_stable_once():
    salt, other = (
        {"cif": Structure.from_spacegroup(*cell).to(fmt="cif"), "converged": True}
        for cell in (
            ("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
            ("Pm-3m", Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        )
    )
    enough = generation.different_stable(2)
    said = []
    for row in (salt, salt, other | {"e_above_hull": 0.2}, other):
        judged = {"e_above_hull": 0.0, "implausible": False} | row
        said.append(enough(pd.DataFrame([judged])))
    assert said == [False, False, False, True]


def test_no_crystal_twice_and_no_strange_element(model):
    known = set(generation.offered(model))
    assert {"Po", "At", "Rn", "Fr", "Ra", "Lr"}.isdisjoint(known)
    assert known <= set(model.config["element_counts"])
    assert "Na" in known


def test_elements_that_nobody_knows_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="Rn: not among the elements of CHGNet"):
        generation.generate(folder, tmp_path, 1, required=["Rn"])
    assert not list(tmp_path.iterdir())


def test_a_warning_where_the_model_has_seen_nothing(model):
    assert generation.rare(model, {"required": ["Li"]}) is None
    found = generation.rare(model, {"n_elements": (40, 50)})
    assert found.startswith("40 elements are asked for; of 1,000 free samples")


def test_conditions_that_contradict_one_another(tmp_path):
    command = ["generate", "-n", "1", "-o", str(tmp_path), "--elements", "Li", "--require", "O"]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 2
    assert "O is not among --elements" in result.output

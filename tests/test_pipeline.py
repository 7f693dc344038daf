"""dvc.yaml: what depends on what, as written and as DVC runs it."""

import ast
import json
import re
from pathlib import Path

import networkx as nx
import pytest
import yaml
from conftest import Copy
from dvc.repo import Repo
from dvc.repo.index import Index
from imports import rooms_of

from wyk.plumbing import params, paths
from wyk.plumbing.paths import ROOT

pytestmark = pytest.mark.xdist_group("pipeline")

NOTEBOOKS = {path.stem for path in paths.NOTEBOOKS.glob("*.ipynb")}
STAGES = [
    stage
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    if stage not in NOTEBOOKS
]
EXPERIMENTS = tuple(params.load().experiments)


@pytest.fixture(scope="module")
def index() -> Index:
    with Repo(ROOT) as repo:
        return repo.index


@pytest.fixture(scope="module")
def stages(index) -> dict:
    return {stage.addressing: stage for stage in index.stages}


@pytest.fixture(scope="module")
def graph(index) -> nx.DiGraph:
    """From a stage of `quick` to those that it needs."""
    names = {stage: stage.addressing.removesuffix("@quick") for stage in index.stages}
    quick = [stage for stage in names if stage.addressing.endswith("@quick")]
    return nx.relabel_nodes(index.graph.subgraph(quick), names)


def dependencies(stage) -> set[str]:
    return {dep.def_path for dep in stage.deps if dep.def_path != "params.yaml"}


def leaves(stage) -> list[str]:
    return [leaf for dep in stage.deps if dep.def_path == "params.yaml" for leaf in dep.params]


def test_every_experiment_has_every_stage(stages):
    expected = {f"{name}@{e}" for name in (*STAGES, *NOTEBOOKS) for e in EXPERIMENTS}
    assert {name for name in stages if "@" in name} == expected


def rooms(stage) -> set[str]:
    """The rooms that a stage depends on, as dvc.yaml says."""
    return {d.removeprefix("wyk/") for d in dependencies(stage) if d.startswith("wyk")}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_exactly_the_rooms_it_uses(stages, name):
    files = (ROOT / "wyk/cli/main.py", ROOT / "wyk/cli/experiments.py")
    functions = [node for file in files for node in ast.parse(file.read_text()).body]
    commands = {f.name: f for f in functions if isinstance(f, ast.FunctionDef)}
    called = re.findall(r"\bwyk (\w+)", str(stages[f"{name}@quick"].cmd))
    assert rooms(stages[f"{name}@quick"]) == rooms_of(commands[command] for command in called)


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_a_notebook_depends_on_exactly_the_rooms_it_uses(stages, name):
    path = f"notebooks/{name}.ipynb"
    cells = json.loads((ROOT / path).read_text())["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    assert rooms(stages[f"{name}@quick"]) == rooms_of([ast.parse(code)])
    assert path in dependencies(stages[f"{name}@quick"])


def test_crystals_know_neither_the_network_nor_the_hull(stages):
    """A comment in the Transformer or a new reference energy reruns no relaxation of the same samples."""
    made = ("structures", "start_crystals", "baseline_crystals", "wycryst_crystals")
    for name in made:
        assert not {"model", "stability", "metrics", "plots", "files"} & rooms(
            stages[f"{name}@quick"]
        )


def test_leaves_exist_and_are_the_stages_own(stages):
    content = params.load().model_dump()
    for name in STAGES:
        for experiment in EXPERIMENTS:
            for leaf in leaves(stages[f"{name}@{experiment}"]):
                value = content
                for key in leaf.split("."):
                    value = value[key]
                assert leaf == "seed" or leaf.startswith(f"experiments.{experiment}.")


def test_every_value_in_a_command_is_a_tracked_leaf(stages):
    """DVC does not track what a template fills in: the leaf must be listed."""
    text = (ROOT / "dvc.yaml").read_text()
    for block in re.split(r"\n  (?=\w+:\n)", text.partition("stages:")[2]):
        filled = set(re.findall(r"\$\{item\.([\w.]+)\}", block.partition("deps:")[0]))
        listed = set(re.findall(r"experiments\.\$\{key\}\.([\w.]+)", block))
        for leaf in filled:
            assert any(leaf == known or leaf.startswith(f"{known}.") for known in listed), (
                leaf,
                block,
            )
        assert ("${seed}" in block) <= ("- seed\n" in block), block


def test_quick_needs_no_data(stages):
    for name, stage in stages.items():
        if name.endswith("@quick"):
            assert not any(d.split("/")[0] == "data" for d in dependencies(stage)), name


def test_a_file_beside_those_of_a_data_set_changes_nothing(stages):
    """No stage depends on a folder of data."""
    of_data = {d for stage in stages.values() for d in dependencies(stage) if d.startswith("data")}
    assert "data/mp_20_biternary/val.csv.gz" in of_data
    assert all(path.endswith((".csv", ".csv.gz")) for path in of_data)


def test_third_party_rows_are_not_pushed_and_long_stages_persist(stages):
    for experiment in EXPERIMENTS:
        outs = {name: stages[f"{name}@{experiment}"].outs[0] for name in STAGES}
        assert {name for name in STAGES if not outs[name].can_push} == {
            "represent",
            "likelihood",
            "recovery",
            "match",
        }
        persistent = [name for name in STAGES if outs[name].persist]
        assert set(persistent) == {
            "train",
            "structures",
            "conditional",
            "baseline_crystals",
            "wycryst_crystals",
            "diffcsp",
            "diffusion",
            "start_crystals",
        }
        in_git = [name for name in STAGES if not outs[name].use_cache]
        assert set(in_git) == {"sweep", "trials", "compare_starts", "summaries"}
        evaluated = {out.def_path: out for out in stages[f"evaluate@{experiment}"].outs}
        assert not evaluated[f"figures/{experiment}/metrics.json"].use_cache  # it stands in git


def test_executed_notebooks_are_nobodys_dependency(stages):
    for stage in stages.values():
        for path in dependencies(stage) | {out.def_path for out in stage.outs}:
            assert "/notebooks/" not in path


def test_the_store_is_in_the_repository():
    with Repo(ROOT) as repo:
        assert repo.config["core"]["remote"] == "store"
        assert repo.config["remote"]["store"]["url"].endswith(".dvc/store")
        assert repo.config["core"]["analytics"] is False
        assert repo.config["core"]["check_update"] is False
        assert not repo.scm.is_ignored(str(ROOT / ".dvc" / "store" / "files"))


def test_everything_ran(pipeline):
    metrics = json.loads((pipeline.root / "figures/quick/metrics.json").read_text())
    assert metrics.keys() >= {"raw", "relaxed", "likelihood", "provenance"}
    for path in (
        "train/model.safetensors",
        "sample/samples.parquet",
        "structures/crystals.parquet",
    ):
        assert (pipeline.root / "runs/quick" / path).is_file()


def test_nothing_changed_nothing_runs(pipeline):
    assert pipeline.repro() == []


def test_another_experiment_is_its_own_affair(pipeline):
    pipeline.set("mp_20", "sample", n=77)
    assert pipeline.repro() == []


def changed(copy: Copy) -> set[str]:
    """The stages of `quick` that DVC finds changed."""
    names = json.loads(copy.run("dvc", "status", "--json").stdout)
    return {name.removesuffix("@quick") for name in names if name.endswith("@quick")}


def rerun(copy: Copy, graph: nx.DiGraph) -> set[str]:
    """The stages that DVC finds changed, and all that follow from them."""
    found = changed(copy)
    return found.union(*(nx.ancestors(graph, name) for name in found))


AFTER_SAMPLES = {
    "sample", "likelihood", "structures", "evaluate", "summaries", "start_crystals", "compare_starts",
    "01_dataset", "03_permutation_kl", "04_temperature", "06_structures", "07_stability", "08_table1", "09_starts",
}  # fmt: skip
UNTOUCHED = {"00_quickstart", "02_training", "05_invariance"}


@pytest.mark.parametrize(
    ("section", "settings", "expected"),
    [
        ("likelihood", {"permutations": 3}, {"likelihood", "summaries", "evaluate"}),
        ("sweep", {"n": 6}, {"sweep", "04_temperature"}),
        ("sample", {"n": 21}, AFTER_SAMPLES),
    ],
)
def test_a_changed_parameter_reruns_what_depends_on_it(
    pipeline, graph, section, settings, expected
):
    path = pipeline.root / "params.yaml"
    before = path.read_bytes()
    try:
        pipeline.set("quick", section, **settings)
        found = rerun(pipeline, graph)
    finally:
        path.write_bytes(before)
    assert found - NOTEBOOKS == expected - NOTEBOOKS
    assert expected <= found
    assert not UNTOUCHED & found
    assert rerun(pipeline, graph) == set()


@pytest.mark.parametrize(
    ("file", "first", "never"),
    [
        # a comment in the network: training, and no crystal as long as the samples are the same
        (
            "wyk/model/layers.py",
            {"train"},
            {
                "structures",
                "wycryst",
                "baseline_crystals",
                "wycryst_crystals",
                "start_crystals",
                "recovery",
            },
        ),
        ("wyk/plots/base.py", NOTEBOOKS, set(STAGES)),
        ("wyk/stability/reference/elements.json", {"evaluate", "compare"}, {"train", "structures"}),
    ],
)
def test_a_changed_line_reruns_only_what_uses_it(pipeline, file, first, never):
    path = pipeline.root / file
    before = path.read_bytes()
    try:
        path.write_bytes(before + b"\n")
        found = changed(pipeline)
    finally:
        path.write_bytes(before)
    assert first <= found
    assert not never & found


def test_a_changed_setting_is_run(pipeline):
    """And what follows from it, in order; everything else stays as it is."""
    before = results(pipeline.root)
    pipeline.set("quick", "sweep", n=6)
    assert pipeline.repro() == ["sweep@quick", "04_temperature@quick"]
    assert pipeline.repro() == []
    after = results(pipeline.root)
    changed = {name for name in after if after[name] != before.get(name)}
    assert "figures/quick/temperature.csv" in changed
    assert all("temperature" in name for name in changed), changed


@pytest.mark.long
def test_two_clones_get_the_same_bytes(tmp_path):
    """The same settings in two clones: every model, sample, crystal, table and figure."""
    clones = [Copy(tmp_path / name) for name in ("one", "other")]
    for clone in clones:
        assert {name.removesuffix("@quick") for name in clone.repro()} == {*STAGES, *NOTEBOOKS}
    one, other = (results(clone.root) for clone in clones)
    assert one.keys() == other.keys()
    assert {name.rpartition(".")[2] for name in one} >= {"png", "svg", "csv", "json", "md", "tex"}
    assert [name for name in one if one[name] != other[name]] == []


def results(root: Path) -> dict[str, bytes]:
    """Content of every file of `quick`, aside from those with measured times, executed notebooks among them."""
    files = [*(root / "figures/quick").rglob("*.*"), *(root / "runs/quick").rglob("*.*")]
    timed = re.compile(r"_seconds\.csv$|/trials/|/notebooks/|/reports/")
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in files
        if path.is_file() and not timed.search(str(path))
    }

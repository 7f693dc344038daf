"""dvc.yaml: what depends on what, as written and as DVC runs it."""

import ast
import json
import re
import shutil
import time
from pathlib import Path

import pytest
from conftest import Copy
from dvc.repo import Repo

from wyk import params
from wyk.paths import ROOT

pytestmark = pytest.mark.xdist_group("pipeline")

STAGES = (
    "represent",
    "train",
    "sample",
    "likelihood",
    "structures",
    "evaluate",
    "sweep",
    "trials",
    "recovery",
    "conditional",
    "baselines",
    "baseline_crystals",
    "wycryst",
    "wycryst_crystals",
    "compare",
    "diffcsp",
    "compare_diffcsp",
    "diffusion",
    "match",
    "start_crystals",
    "compare_starts",
    "summaries",
)
NOTEBOOKS = {
    "quickstart": "00_quickstart",
    "dataset": "01_dataset",
    "training": "02_training",
    "permutation_kl": "03_permutation_kl",
    "temperature": "04_temperature",
    "invariance": "05_invariance",
    "crystals": "06_structures",
    "stability": "07_stability",
    "table1": "08_table1",
    "starts": "09_starts",
}
EXPERIMENTS = ("quick", "biternary_7k", "mp_20_biternary", "mp_20")
# Reading settings and arguments, finding folders, making pages: a change there changes no result.
PLUMBING = {"cli", "experiments", "options", "params", "paths", "reports"}
SHIPPED = {
    "spacegroups": "wyk/spacegroups.json.gz",
    "springs": "wyk/springs.json.gz",
    "stability": "wyk/reference",
    "viewer": "wyk/3dmol",
}


@pytest.fixture(scope="module")
def stages() -> dict:
    with Repo(ROOT) as repo:
        return {stage.addressing: stage for stage in repo.index.stages}


def modules(tree: ast.AST) -> set[str]:
    """The modules of ``wyk`` that a piece of code imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "wyk":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wyk."):
            found.add(node.module.removeprefix("wyk."))
    return found


def used(names: set[str]) -> set[str]:
    """Files of ``wyk`` that code which imports these modules runs or reads, plumbing left out."""
    closed, todo = set(), names - PLUMBING
    while todo:
        name = todo.pop()
        closed.add(name)
        todo |= modules(ast.parse((ROOT / file(name)).read_text())) - closed - PLUMBING
    return {file(n) for n in closed} | {SHIPPED[n] for n in closed & SHIPPED.keys()}


def file(name: str) -> str:
    """Where a module or a package of ``wyk`` stands."""
    path = f"wyk/{name.replace('.', '/')}"
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


def dependencies(stage) -> set[str]:
    return {dep.def_path for dep in stage.deps if dep.def_path != "params.yaml"}


def leaves(stage) -> list[str]:
    return [leaf for dep in stage.deps if dep.def_path == "params.yaml" for leaf in dep.params]


def test_every_experiment_has_every_stage(stages):
    assert tuple(params.load().experiments) == EXPERIMENTS
    expected = {f"{name}@{e}" for name in (*STAGES, *NOTEBOOKS) for e in EXPERIMENTS}
    assert {name for name in stages if "@" in name} == expected


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_exactly_the_modules_it_uses(stages, name):
    files = (ROOT / "wyk/cli.py", ROOT / "wyk/experiments.py")
    functions = [node for file in files for node in ast.parse(file.read_text()).body]
    commands = {f.name: f for f in functions if isinstance(f, ast.FunctionDef)}
    called = re.findall(r"\bwyk (\w+)", str(stages[f"{name}@quick"].cmd))
    needed = used(set().union(*(modules(commands[command]) for command in called)))
    assert {d for d in dependencies(stages[f"{name}@quick"]) if d.startswith("wyk")} == needed


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_depends_on_exactly_the_modules_it_uses(stages, name):
    path = f"notebooks/{NOTEBOOKS[name]}.ipynb"
    cells = json.loads((ROOT / path).read_text())["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    found = {d for d in dependencies(stages[f"{name}@quick"]) if d.startswith("wyk")}
    assert found == used(modules(ast.parse(code)))
    assert path in dependencies(stages[f"{name}@quick"])


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


def test_third_party_rows_are_not_pushed_and_long_stages_persist(stages):
    for experiment in EXPERIMENTS:
        outs = {name: stages[f"{name}@{experiment}"].outs[0] for name in STAGES}
        assert [name for name in STAGES if not outs[name].can_push] == [
            "represent",
            "likelihood",
            "recovery",
            "match",
        ]
        persistent = [name for name in STAGES if outs[name].persist]
        assert persistent == [
            "train",
            "structures",
            "conditional",
            "baseline_crystals",
            "wycryst_crystals",
            "diffcsp",
            "diffusion",
            "start_crystals",
        ]
        in_git = [name for name in STAGES if not outs[name].use_cache]
        assert in_git == ["sweep", "trials", "compare_starts", "summaries"]
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
    begin = time.monotonic()
    assert pipeline.repro() == []
    assert time.monotonic() - begin < 10  # about one second on an idle machine


def test_another_experiment_is_its_own_affair(pipeline):
    pipeline.set("mp_20", "sample", n=77)
    assert pipeline.repro() == []


def stages_of(ran: list[str]) -> set[str]:
    return {name.removesuffix("@quick") for name in ran}


def test_a_changed_parameter_reruns_what_depends_on_it(pipeline):
    before = (pipeline.root / "runs/quick/train/model.safetensors").read_bytes()
    pipeline.set("quick", "likelihood", permutations=3)
    # notebooks that read metrics
    told = {"permutation_kl", "stability", "temperature", "table1", "starts"}
    assert stages_of(pipeline.repro()) == {"likelihood", "summaries", "evaluate"} | told
    pipeline.set("quick", "sweep", n=6)
    assert stages_of(pipeline.repro()) == {"sweep", "temperature"}
    pipeline.set("quick", "sample", n=21)
    downstream = {"sample", "likelihood", "structures", "evaluate", "summaries", "crystals"}
    starts = {"start_crystals", "compare_starts"}
    assert stages_of(pipeline.repro()) == downstream | starts | told
    assert (pipeline.root / "runs/quick/train/model.safetensors").read_bytes() == before
    assert pipeline.repro() == []


def test_two_clones_get_the_same_bytes(pipeline, tmp_path):
    """The same settings in another clone: every model, sample, crystal, table and figure."""
    clone = Copy(tmp_path / "clone")
    shutil.copy2(pipeline.root / "params.yaml", clone.root)
    assert stages_of(clone.repro()) == {*STAGES, *NOTEBOOKS}
    ones, others = (results(root) for root in (pipeline.root, clone.root))
    assert ones.keys() == others.keys()
    assert {name.rpartition(".")[2] for name in ones} >= {"png", "svg", "csv", "json", "md", "tex"}
    assert [name for name in ones if ones[name] != others[name]] == []


def results(root: Path) -> dict[str, bytes]:
    """Content of every file of `quick`, aside from those with measured times, executed notebooks among them."""
    files = [*(root / "figures/quick").rglob("*.*"), *(root / "runs/quick").rglob("*.*")]
    timed = re.compile(r"_seconds\.csv$|/trials/|/notebooks/|/reports/")
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in files
        if path.is_file() and not timed.search(str(path))
    }


def test_make_figures_draws_every_notebook():
    listed = re.search(r"^NOTEBOOKS := (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert set(listed) == NOTEBOOKS.keys()

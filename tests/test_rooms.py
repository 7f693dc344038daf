"""The rooms of `wyk`: who imports whom, and what each shows."""

import ast
import importlib
import inspect
import json

import pytest
from imports import PACKAGE, imports, named

from wyk import ROOMS
from wyk.plumbing.paths import NOTEBOOKS, ROOT

FILES = sorted(PACKAGE.glob("*/*.py"))
OUTSIDE = [*sorted((ROOT / "docs").glob("*.py")), *sorted(NOTEBOOKS.glob("*.ipynb"))]


def tree(path) -> ast.AST:
    if path.suffix == ".py":
        return ast.parse(path.read_text())
    cells = json.loads(path.read_text())["cells"]
    return ast.parse("\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code"))


def faults(code: ast.AST, own: str | None = None) -> list[str]:
    """What a piece of code of a room imports from above, or from behind another room's `__init__`."""
    found = []
    for room, module, shown in imports(code):
        if room == own:
            continue
        if own and ROOMS.index(room) < ROOMS.index(own):
            found.append(f"{own} imports from {room}, above it")
        if not shown:
            found.append(f"{room}.{module} is not shown by {room}")
    return found


def test_every_folder_is_a_room():
    assert {path.parent.name for path in FILES} == set(ROOMS)
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_imports_run_downwards_and_through_the_door(path):
    assert faults(tree(path), path.parent.name) == []


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path.stem)
def test_outside_only_doors_are_used(path):
    assert faults(tree(path)) == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_door_says_what_it_shows(room):
    """Every name is there, is explained where it is a function or a class, and is used by somebody else."""
    door = importlib.import_module(f"wyk.{room}")
    assert door.__doc__
    shown = named(room)
    if room != "cli":
        assert sorted(shown) == sorted(door.__all__)
    for name in shown:
        value = getattr(door, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, name


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("from wyk.cli import main", "model imports from cli, above it"),
        ("from wyk import sampling\nsampling.sample()", "model imports from sampling, above it"),
        (
            "from wyk.crystals.symmetry import symmetry",
            "crystals.symmetry is not shown by crystals",
        ),
        ("from wyk.crystals import secret", "crystals.secret is not shown by crystals"),
    ],
)
def test_a_fault_is_seen(code, fault):
    assert fault in faults(ast.parse(code), "model")

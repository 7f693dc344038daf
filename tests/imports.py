"""What imports what in `wyk`, read from its source."""

import ast
from collections.abc import Iterable
from functools import cache

from wyk import ROOMS
from wyk.plumbing.paths import ROOT

PACKAGE = ROOT / "wyk"
# They read arguments, start processes and find folders: no result depends on them.
RUNNERS = {"cli", "plumbing"}


@cache
def named(room: str) -> dict[str, str]:
    """The names that a room's `__init__` shows, and the module behind each."""
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text())
    found = {}
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "lazy_loader.attach":
            modules, names = (*map(ast.literal_eval, call.args[1:]), {})[:2]
            found |= {module: module for module in modules}
            found |= {name: module for module, several in names.items() for name in several}
    return found


def imports(tree: ast.AST) -> set[tuple[str, str, bool]]:
    """Room and module of everything that a piece of code imports, and whether through the room's `__init__`."""
    found, rooms = set(), {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "wyk":
            continue
        _, *path = node.module.split(".")
        names = [alias.name for alias in node.names]
        if not path:
            rooms |= {a.asname or a.name: a.name for a in node.names if a.name in ROOMS}
        elif len(path) == 1:
            (room,) = path
            found |= {(room, named(room).get(name, name), name in named(room)) for name in names}
        else:
            found.add((path[0], path[1], False))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            room, name = rooms.get(node.value.id), node.attr
            if room and name in named(room):
                found.add((room, named(room)[name], True))
    return found


@cache
def needed(module: str) -> frozenset[str]:
    """All modules that a module (`room.module`) runs through, itself included; RUNNERS left out."""
    closed, todo = set(), {module}
    while todo:
        room, name = (module := todo.pop()).split(".")
        if room in RUNNERS:
            continue
        closed.add(module)
        tree = ast.parse((PACKAGE / room / f"{name}.py").read_text())
        todo |= {f"{r}.{m}" for r, m, _ in imports(tree)} - closed
    return frozenset(closed)


def rooms_of(trees: Iterable[ast.AST]) -> set[str]:
    """The rooms that pieces of code run through."""
    modules = {f"{room}.{module}" for tree in trees for room, module, _ in imports(tree)}
    return {each.split(".")[0] for module in modules for each in needed(module)}

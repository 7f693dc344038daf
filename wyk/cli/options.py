"""Options that several commands share, and how their text is read."""

import functools
import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

SOURCES = (
    "a CIF, POSCAR, extended XYZ or JSON (pymatgen, OPTIMADE) file; a folder, zip or tar(.gz) of such files; "
    "a CSV, Parquet or JSON lines file with a column such as `cif` or `structure`; "
    "a Parquet file of wyk; or the name of a data set, such as mp_20_biternary:test"
)


SYSTEMS = {
    "triclinic": (1, 2),
    "monoclinic": (3, 15),
    "orthorhombic": (16, 74),
    "tetragonal": (75, 142),
    "trigonal": (143, 167),
    "hexagonal": (168, 194),
    "cubic": (195, 230),
}


def groups(text: str | None) -> list[int] | None:
    """``195-206,225,Fd-3m`` as space-group numbers."""
    if text is None:
        return None
    from wyk.files import settings

    found = []
    for part in re.split(r"[,;]\s*", text.strip()):
        numbers = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", part.strip())
        if numbers:
            first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        else:
            known = {setting.number for setting in settings.named(part)}
            first = last = known.pop() if len(known) == 1 else 0
        if not 1 <= first <= last <= 230:
            raise typer.BadParameter(
                f"{part!r} is no space group; write numbers, ranges or symbols, e.g. 195-206,225,Fd-3m."
            )
        found += range(first, last + 1)
    return found


def systems(text: str | None) -> list[int] | None:
    """``cubic,hexagonal`` as space-group numbers."""
    if text is None:
        return None
    names = _parts(text) or [text]
    if wrong := [name for name in names if name.lower() not in SYSTEMS]:
        raise typer.BadParameter(f"{wrong[0]!r} is no crystal system; write {', '.join(SYSTEMS)}.")
    ranges = [SYSTEMS[name.lower()] for name in names]
    return [number for first, last in ranges for number in range(first, last + 1)]


def elements(text: str | None) -> list[str] | None:
    """``Li,O,Fe`` or ``li-o-fe`` as element symbols."""
    return None if text is None else [_symbol(part, text) for part in _parts(text) or [text]]


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"[-,;\s]+", text.strip()) if part]


def _symbol(part: str, text: str) -> str:
    from wyk.common import ELEMENTS

    symbol = part.capitalize()
    apart = re.findall("[A-Z][a-z]?", part)
    if len(apart) > 1 and all(each in ELEMENTS for each in apart):
        if part.isupper() and symbol in ELEMENTS:  # CO
            raise typer.BadParameter(f"{part!r} is {symbol} or {'-'.join(apart)}; write which.")
        raise typer.BadParameter(f"{text!r}: write {'-'.join(apart)}.")
    if symbol not in ELEMENTS:
        raise typer.BadParameter(f"{part!r} is no chemical element; write e.g. Li-Fe-O.")
    return symbol


def number_range(text: str | None) -> tuple[int, int] | None:
    """``3``, ``5-20`` or ``5-`` as the least and the most."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)(?:\s*(-)\s*(\d*))?", text.strip())
    if found:
        low = int(found[1])
        high = (int(found[3]) if found[3] else MOST_OF_ANYTHING) if found[2] else low
        if 1 <= low <= high:
            return low, high
    raise typer.BadParameter(
        f"{text!r}: write a number or a range, e.g. 3, 5-20, or 5- for 5 and more."
    )


def formula(text: str | None) -> str | None:
    """``LiFePO4`` or ``ABX3``, checked."""
    if text is not None:
        from wyk.crystals import Formula

        try:
            Formula.parse(text)
        except ValueError as error:
            raise typer.BadParameter(f"{error}.") from None
    return text


def check_temperature(value: float, option: str) -> None:
    if not 0 < value < float("inf"):
        raise typer.BadParameter("a positive number is needed.", param_hint=option)


def temperatures(text: str) -> list[float]:
    """``0.01,1,100`` as temperatures."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r}: write numbers, e.g. 0.01,1,100.") from None
    for value in values:
        check_temperature(value, "'--temperatures'")
    return values


def draws(text: str) -> list[int]:
    """``3`` or ``2,4,6,8`` as numbers of draws."""
    numbers = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if len(numbers) not in (1, 4) or min(numbers) < 1:
        raise typer.BadParameter(f"{text!r}: write one number, or four, e.g. 2,4,6,8.")
    return numbers


def judge(hull: Path | None) -> Callable:
    """What adds energies above a hull to a table of crystals; the shipped hull if None."""
    from wyk import stability

    return functools.partial(
        stability.judged, hull=stability.Hull.load(hull or stability.REFERENCE)
    )


def named(sources: list[str]) -> list[tuple[str, str]]:
    """``THEIRS.zip OURS=samples.parquet`` as (name, source) pairs; a source without a name has that of its file."""
    pairs = []
    for text in sources:
        name, equals, source = text.partition("=")
        pairs.append((name, source) if equals else (Path(text).stem or text, text))
    names = [name for name, _ in pairs]
    if unusable := [name for name in names if Path(name).name != name or name in ("", "..")]:
        raise typer.BadParameter(f"{unusable[0]!r} cannot name a file; write NAME=SOURCE.")
    if len(set(names)) < len(names) or len(names) > MOST:
        raise typer.BadParameter(
            f"{', '.join(names)}: up to {MOST} names, all different; NAME=SOURCE."
        )
    return pairs


Jobs = Annotated[int, typer.Option(min=1, help="Processes; the result does not depend on it.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same result.")]
ModelDir = Annotated[Path, typer.Option("--model", help="Folder of a trained model.")]
Hull = Annotated[
    Path | None,
    typer.Option(
        help="Table of `wyk reference` that stability is judged by [default: the shipped one]."
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]
OutDir = Annotated[Path, typer.Option("--out", "-o", metavar="OUT_DIR", help="Folder to write.")]
Draws = Annotated[
    str,
    typer.Option(
        callback=draws,
        metavar="NUMBERS",
        help="pyXtal draws of each, of which the lowest energy counts: one number, or four: for up to "
        "3, 6 and 12 free coordinates and lattice parameters, and for more.",
    ),
]
DRAWS = "2,4,6,8"
Start = Annotated[
    Literal["pyxtal", "diffusion", "mixed"],
    typer.Option(
        help="Where draws come from; mixed takes them in turn, the first from the diffusion."
    ),
]
Diffusion = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder that `wyk diffusion` trained.")
]


def check_start(start: str, diffusion: Path | None) -> None:
    """Whether the two options fit together.

    Raises:
        typer.BadParameter: if not.
    """
    if (start == "pyxtal") != (diffusion is None):
        raise typer.BadParameter(
            "names the model of --start diffusion or mixed, and goes with no other.",
            param_hint="'--diffusion'",
        )


MOST = 4  # sources in a comparison: lines that can be told apart
CORES = os.cpu_count() or 1

MOST_OF_ANYTHING = 1_000_000

# What `wyk sample` and `wyk generate` can be asked for: how its text is read, its form, and what `--help` says.
CONDITIONS = {
    "space_group": (groups, "GROUPS", "Only these: numbers, ranges or symbols, e.g. 195-206,225,Fd-3m."),
    "crystal_system": (systems, "NAMES", "Only these, e.g. cubic,hexagonal."),
    "elements": (elements, "SYMBOLS", "No others than these, e.g. Li,O,Fe."),
    "exclude": (elements, "SYMBOLS", "None of these, e.g. Pb,Tl."),
    "require": (elements, "SYMBOLS", "All of these, e.g. Li,O."),
    "chemical_system": (elements, "SYMBOLS", "Exactly these, e.g. Li-Fe-O."),
    "formula": (formula, "FORMULA", "This formula, e.g. LiFePO4; or ABX3 for any elements A, B and X."),
    "elements_count": (number_range, "RANGE", "How many elements, e.g. 3, 2-3, or 3- for 3 and more."),
    "sites": (number_range, "RANGE", "How many occupied Wyckoff positions."),
    "atoms": (number_range, "RANGE", "How many atoms in the primitive cell, e.g. 5-20."),
}  # fmt: skip


def conditioned(**defaults: str) -> Callable[[Callable], Callable]:
    """Gives a command an option for each of CONDITIONS, in place of its argument `conditions`.

    That argument gets what `conditions` makes of the options that were used.

    Args:
        defaults: text of options that are used without being named.
    """

    def decorate(command: Callable) -> Callable:
        @functools.wraps(command)
        def decorated(**values) -> None:
            asked = conditions(**{name: values.pop(name) for name in CONDITIONS})
            command(**values, conditions=asked)

        parameters = []
        for parameter in inspect.signature(command).parameters.values():
            parameter = parameter.replace(kind=parameter.KEYWORD_ONLY)
            if parameter.name != "conditions":
                parameters.append(parameter)
                continue
            for name, (read, form, told) in CONDITIONS.items():
                option = typer.Option(callback=read, metavar=form, help=told)
                annotation, default = Annotated[str | None, option], defaults.get(name)
                parameters.append(
                    parameter.replace(name=name, annotation=annotation, default=default)
                )
        decorated.__signature__ = inspect.Signature(parameters)
        decorated.__annotations__ = {p.name: p.annotation for p in parameters}
        return decorated

    return decorate


def conditions(
    space_group: list[int] | None,
    crystal_system: list[int] | None,
    elements: list[str] | None,
    exclude: list[str] | None,
    require: list[str] | None,
    chemical_system: list[str] | None,
    formula: str | None,
    elements_count: tuple[int, int] | None,
    sites: tuple[int, int] | None,
    atoms: tuple[int, int] | None,
) -> dict:
    """Those of these options that were given, as arguments of `sampling.sample`.

    Raises:
        typer.BadParameter: if they contradict one another.
    """
    if outside := sorted(set(require or ()) - set(elements or require or ())):
        raise typer.BadParameter(
            f"{', '.join(outside)} is not among --elements.", param_hint="'--require'"
        )
    if chemical_system and (elements or require or exclude):
        raise typer.BadParameter(
            "says it all: leave out --elements, --exclude and --require.",
            param_hint="'--chemical-system'",
        )
    if space_group and crystal_system:
        space_group = sorted(set(space_group) & set(crystal_system))
        if not space_group:
            raise typer.BadParameter(
                "has none of the groups of --space-group.", param_hint="'--crystal-system'"
            )
    asked = {
        "space_groups": space_group or crystal_system,
        "elements": chemical_system or elements,
        "excluded": exclude,
        "required": chemical_system or require,
        "formula": formula,
        "n_elements": elements_count,
        "sites": sites,
        "atoms": atoms,
    }
    return {name: value for name, value in asked.items() if value is not None}

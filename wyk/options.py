"""Options that several commands share, and how their text is read."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

SOURCES = (
    "a CIF, POSCAR, extended XYZ or JSON (pymatgen, OPTIMADE) file; a folder, zip or tar(.gz) of such files; "
    "a CSV, Parquet or JSON lines file with a column such as `cif` or `structure`; "
    "a Parquet file of wyk; or the name of a data set, such as mp_20_biternary:test"
)


def groups(text: str | None) -> list[int] | None:
    """``225,227`` as space-group numbers."""
    if text is None:
        return None
    numbers = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    for part, number in zip(text.split(","), numbers, strict=True):
        if not 1 <= number <= 230:
            raise typer.BadParameter(f"{part.strip()!r} is no space-group number from 1 to 230.")
    return numbers


def elements(text: str | None) -> list[str] | None:
    """``Li,O,Fe`` as element symbols."""
    return None if text is None else _symbols(text.split(","), "Li,O,Fe")


def system(text: str | None) -> list[str] | None:
    """``Li-O-Fe`` as element symbols."""
    return None if text is None else _symbols(text.split("-"), "Li-O-Fe")


def _symbols(parts: list[str], example: str) -> list[str]:
    from pymatgen.core import Element

    symbols = [part.strip() for part in parts]
    for symbol in symbols:
        if not Element.is_valid_symbol(symbol) or symbol in ("D", "T"):
            raise typer.BadParameter(f"{symbol!r} is no chemical element; write e.g. {example}.")
    return symbols


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

# What `wyk sample` and `wyk generate` can be asked for.
SpaceGroups = Annotated[
    str | None,
    typer.Option(
        "--space-group",
        callback=groups,
        metavar="NUMBERS",
        help="Only these groups, e.g. 225,227 [default: as often as in train and val].",
    ),
]
Elements = Annotated[
    str | None,
    typer.Option(callback=elements, metavar="SYMBOLS", help="Only of these, e.g. Li,O,Fe."),
]
Require = Annotated[
    str | None,
    typer.Option(callback=elements, metavar="SYMBOLS", help="All of these, e.g. Li."),
]
ChemicalSystem = Annotated[
    str | None,
    typer.Option(callback=system, metavar="SYMBOLS", help="Exactly these, e.g. Li-O-Fe."),
]
MaxAtoms = Annotated[int | None, typer.Option(min=1, help="Atoms in the primitive cell, at most.")]
MaxSites = Annotated[int | None, typer.Option(min=1, help="Occupied Wyckoff positions, at most.")]


def conditions(
    space_group: list[int] | None,
    elements: list[str] | None,
    require: list[str] | None,
    chemical_system: list[str] | None,
    max_atoms: int | None,
    max_sites: int | None,
) -> dict:
    """These options as arguments of `sampling.sample`.

    Raises:
        typer.BadParameter: if they contradict one another.
    """
    if outside := sorted(set(require or ()) - set(elements or require or ())):
        raise typer.BadParameter(
            f"{', '.join(outside)} is not among --elements.", param_hint="'--require'"
        )
    if chemical_system and (elements or require):
        raise typer.BadParameter(
            "says it all: leave out --elements and --require.", param_hint="'--chemical-system'"
        )
    return {
        "space_groups": space_group,
        "elements": chemical_system or elements,
        "required": chemical_system or require,
        "max_atoms": max_atoms,
        "max_sites": max_sites,
    }

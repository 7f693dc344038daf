"""Options that several commands share, and how their text is read."""

import os
from pathlib import Path
from typing import Annotated

import typer

SOURCES = (
    "a .cif; a folder or zip of CIFs; a CSV(.gz) with a `cif` or `structure` column; "
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
CORES = os.cpu_count() or 1

"""Which element a CIF's site is: its type symbol says it, a label may, and the formula decides where it may not."""

import re
from functools import lru_cache
from itertools import islice, product

from wyk.files.atoms import NUMBERS
from wyk.files.sums import ISOTOPES

MOST_READINGS = 64  # of the labels of one file
# an element, its charge in any of the usual forms, and what VASP adds
TYPE = re.compile(
    r"[A-Za-z]{1,2}(\d*|(\d+(\.\d+)?)?[+-]+|[+-]\d+(\.\d+)?|\^?[({]?\d*[+-]?\d*[)}]?)(_[a-z]+|_\d+)?"
)
ALSO = re.compile(r"[/,+&-]\s*[A-Z]|\d[A-Z][a-z]")  # a label that goes on with another element
MOLECULES = ("CN", "CO", "HF", "HO", "NH", "NO")  # in capitals; as elements they are rarer


@lru_cache(10_000)
def elements(symbol: str, is_type: bool) -> tuple[str | None, tuple[str, ...]]:
    """The element that a type symbol or a label means, None if it could be several; and what else it could be.

    `Ho1` is holmium unless the formula says hydrogen; `HO1`, `NH4`, `CL1`, `Wat` could be two, or none.
    """
    letters = re.match(r"[A-Za-z]+", symbol)
    if letters is None or (is_type and not TYPE.fullmatch(symbol)):
        return None, ()
    run = letters[0]
    two, one = run[:2].capitalize(), run[0].upper()
    both = (two, one) if len(run) > 1 else (one,)
    options = tuple(name for name in both if name in NUMBERS or name in ISOTOPES)
    if not options:
        return None, ()
    if is_type and (run in MOLECULES or (len(run) == 2 and options == (one,))):  # OH
        return None, options
    if not is_type and ALSO.search(symbol):
        return None, options
    first, others = options[0], options[1:]
    if len(run) == 1:
        return first, ()
    if first == two and len(run) == 2:
        rest = symbol[2:]
        if is_type and not re.match(r"\d+(?![\d+-])", rest):
            return first, ()
        if run[1].islower() or not others:
            return first, others
    if first == two and len(run) == 3 and run[1].islower() and run[2].isupper():  # FeA
        return first, others
    if first == one and len(run) == 2 and run[1] in "ABCEFGIJKLMNP":  # OA1, but not OH2, OW1, Ow1
        return first, ()
    return None, options


def readings(
    symbols: list[tuple[str, bool]], labels: list[str], with_formula: bool
) -> tuple[list[list[str]], list[list[str]]]:
    """The elements of all sites: as they are meant, and what they could be if the formula says so.

    Args:
        symbols: of each site, its type symbol and True, or its label and False.
        labels: for messages.
        with_formula: whether there is a formula to decide.

    Raises:
        ValueError: for a symbol of no element, or without a formula one of several.
    """
    sure, choices = True, {}
    for (symbol, is_type), label in zip(symbols, labels, strict=True):
        if (symbol, is_type) in choices:
            continue
        meant, others = elements(symbol, is_type)
        if meant is None and not others:
            return [[symbol] * len(symbols)], []  # refused where sites are checked
        if meant is None and not with_formula:
            could = " or ".join(others) if len(others) > 1 else f"{others[0]}, or no element"
            raise ValueError(
                f"site {label} may be {could}; neither a type symbol nor a formula says which"
            )
        sure &= meant is not None
        choices[symbol, is_type] = ((meant,) if meant else ()) + others
    if all(len(each) == 1 for each in choices.values()) and sure:
        return [[choices[key][0] for key in symbols]], []
    runs = {key: re.match("[A-Za-z]+", key[0])[0] for key in choices}  # CM1 and CM2 are the same
    options = {(runs[key], key[1], choices[key]): choices[key] for key in choices}
    combinations = [
        [
            dict(zip(options, chosen, strict=True))[runs[key], key[1], choices[key]]
            for key in symbols
        ]
        for chosen in islice(product(*options.values()), MOST_READINGS)
    ]
    if sure:
        return combinations[:1], combinations[1:] if with_formula else []
    return combinations, []


def check_labels(labels: list[str], types: list[str], meant: list[str]) -> None:
    """Refuse a site whose label is of another element than its type.

    Raises:
        ValueError: for the first one.
    """
    for label, kind, element in zip(labels, types, meant, strict=True):
        other, more = elements(label, False)
        is_site = re.match(r"B(?![A-Za-z])", label)  # of ABX3
        if kind and not is_site and other in NUMBERS and element not in (other, *more):
            raise ValueError(
                f"site {label} is {kind} by its type, but {other} by its label; no formula says which"
            )

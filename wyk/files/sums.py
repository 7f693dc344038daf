"""How many atoms of which element a formula in a file counts."""

import re

from wyk.files.atoms import NUMBERS

ISOTOPES = ("D", "T")
LONGEST = 2000  # characters
COUNT = r"(\d+(?:\.\d*)?|\.\d+)?(?:\(\d+\))?"  # with its uncertainty
ELEMENT = re.compile(r"\s*([A-Z][a-z]?)\s*" + COUNT)
BRACKETS = re.compile(r"[(\[{](\s*[A-Z][^()\[\]{}]*)[)\]}]\s*" + COUNT)
END = re.compile(r"(?<=[)\]}])[nx]$|\s*(?:(?<=\s)\d+[+-]|[+-]\s*\d*)$")  # of a polymer; a charge
SYMBOLS = {z: symbol for symbol, z in NUMBERS.items()}


def counted(formula: str) -> dict[int, float]:
    """Atomic number → how many, of `Na4 Cl4`, `(N H4) Cl`, `N1, H4`, `N H4 +`, `(Na Cl)x`; deuterium is hydrogen.

    Raises:
        ValueError: if it cannot be read to its end, as `Na1-x Cl`, `n h4 cl`, `Na Cl . H2 O`.
    """
    text = END.sub("", re.sub("[,;]", " ", formula.replace("_", "")).strip())
    try:
        if len(formula) > LONGEST:
            raise ValueError("too long")
        while found := BRACKETS.search(text):
            times = float(found[2] or 1)
            inner = "".join(f" {SYMBOLS[z]}{n * times:.6f}" for z, n in _plain(found[1]))
            text = f"{text[: found.start()]}{inner} {text[found.end() :]}"
        counts: dict[int, float] = {}
        for z, n in _plain(text):
            counts[z] = counts.get(z, 0) + n
        if not any(counts.values()):
            raise ValueError("nothing in it")
    except ValueError as error:
        raise ValueError(f"formula {formula[:80]!r} cannot be read ({error})") from error
    return {z: n for z, n in counts.items() if n}


def _plain(text: str) -> list[tuple[int, float]]:
    """The elements of a formula without brackets, in order."""
    parts, at, text = [], 0, text.rstrip()
    while at < len(text):
        found = ELEMENT.match(text, at)
        symbol = "H" if found and found[1] in ISOTOPES else found and found[1]
        if symbol not in NUMBERS:
            raise ValueError(f"at {text[at:].strip()[:20]!r}")
        parts.append((NUMBERS[symbol], float(found[2] or 1)))
        at = found.end()
    return parts

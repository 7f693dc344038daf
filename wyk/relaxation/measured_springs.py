"""The table of `springs`, measured in real crystals: python -m wyk.relaxation.measured_springs SOURCE..."""

import gzip
import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from wyk.plumbing import writing
from wyk.relaxation.springs import TABLE

QUANTILE = 0.1  # of the shortest distances between two elements, over crystals
FEWEST = 5  # crystals that hold both, for a distance of their own; else two radii are added


def build_table(structures) -> dict:
    """Distances and volumes of real crystals, rounded.

    Args:
        structures: pymatgen structures.

    Returns:
        `volumes` and `radii` of elements, Å³ and Å, by least squares, and `distances` of pairs that stand together in
        FEWEST crystals or more: the QUANTILE of their shortest distance.
    """
    shortest, counts, volumes = {}, [], []
    for structure in structures:
        numbers = np.array(structure.atomic_numbers)
        centre, neighbour, _, length = structure.get_neighbor_list(6.0)
        a, b = numbers[centre], numbers[neighbour]
        for i, j in np.unique(np.column_stack([a, b])[a <= b], axis=0):
            shortest.setdefault((i, j), []).append(length[(a == i) & (b == j)].min())
        counts.append(np.bincount(numbers, minlength=119))
        volumes.append(structure.volume)
    shortest = {pair: np.quantile(d, QUANTILE) for pair, d in shortest.items() if len(d) >= FEWEST}
    pairs = np.array(list(shortest))
    both = np.eye(119)[pairs].sum(axis=1)
    names = [chemical_symbols[i] for i in range(119)]
    return {
        "volumes": _elements(names, np.array(counts, float), np.array(volumes)),
        "radii": _elements(names, both, np.array(list(shortest.values()))),
        "distances": {f"{names[i]}-{names[j]}": round(d, 2) for (i, j), d in shortest.items()},
    }


def _elements(names, counts, totals) -> dict[str, float]:
    """What each element contributes to totals that add up, by least squares of the relative error."""
    values = np.linalg.lstsq(counts / totals[:, None], np.ones(len(totals)), rcond=1e-6)[0]
    seen = counts.any(axis=0) & (values > 0)
    return {
        name: round(float(value), 3)
        for name, value, s in zip(names, values, seen, strict=True)
        if s
    }


def main() -> None:
    """Rebuild the shipped table from crystals named on the command line."""
    from wyk.files import datasets

    crystals = [c for source in sys.argv[1:] for _, c in datasets.structures(source)[0]]
    text = json.dumps(build_table(crystals), separators=(",", ":")).encode()
    with writing(Path(str(files("wyk.relaxation").joinpath(TABLE)))) as temporary:
        temporary.write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    main()

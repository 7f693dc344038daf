"""Structures to Wyckoff representations, on one core, against `pyxtal.from_seed` on the same rows.

The rows are MP-20's where `data/` has them, else the embedded prototypes. Prints one JSON object, and writes it
to `figures/benchmarks/represent.json`.
"""

import os
import random
import time
import warnings

os.environ["OMP_NUM_THREADS"] = "1"

from publish import publish
from pyxtal import pyxtal

from wyk.crystals import ANGLE_TOLERANCE, SYMPREC
from wyk.files.cells import parse, represent_record
from wyk.files.readers import Record
from wyk.files.sources import records
from wyk.plumbing import paths

ROWS = 300


def seconds(function, items: list) -> float:
    """Processor time per item, s: what else runs on the machine counts for little."""
    start = time.process_time()
    for item in items:
        function(item)
    return (time.process_time() - start) / len(items)


def from_seed(structure) -> None:
    pyxtal().from_seed(structure, tol=SYMPREC, a_tol=ANGLE_TOLERANCE)


def chosen(n: int) -> tuple[str, list[Record]]:
    """Where the rows are from, and n of them at random, or as many as there are."""
    source = "mp_20_biternary:test"
    if not (paths.DATA / "mp_20_biternary" / "test.csv.gz").is_file():
        source = "aflow"
    rows = list(records(source))
    return source, random.Random(0).sample(rows, min(n, len(rows)))


def main() -> None:
    warnings.simplefilter("ignore")
    source, rows = chosen(ROWS)
    structures = [parse(row) for row in rows]
    represent_record(rows[0])  # load the tables first, on either side
    from_seed(structures[0])
    ours, theirs = seconds(represent_record, rows), seconds(from_seed, structures)
    result = {
        "source": source,
        "n": len(rows),
        "ms_represent": round(1000 * ours, 3),  # from the text of the CIF
        "ms_pyxtal_from_seed": round(1000 * theirs, 3),  # from a parsed structure
        "ratio": round(theirs / ours, 1),
    }
    publish("represent", result)


if __name__ == "__main__":
    main()

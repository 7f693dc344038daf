"""The named data sets, and the way from any of them, or from any file, to records.

A third-party file is compared with its git blob id whenever it is read; `wyk.files.downloads` brings it.
"""

import functools
import gzip
import hashlib
import json
import logging
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from wyk.files.origins import FILES, SPLITS, check
from wyk.files.readers import LeftOut, Record, Rejected, file_records, listed
from wyk.plumbing import DATA

NAMES = ("aflow", "biternary_7k", *dict.fromkeys(name.split("/")[0] for name in FILES))


def records(
    source: str | Path, left_out: list[LeftOut] | None = None
) -> Iterator[Record | Rejected]:
    """The crystals of a data set or a file, in order.

    Args:
        source: a data set, such as `mp_20_biternary` or `aflow:train`, or a path: see `file_records`.
        left_out: files in a folder or archive that are no crystals are added to it.

    Raises:
        FileNotFoundError: no such file; or a data set that was not downloaded yet.
        ValueError: no such split; a file that is damaged, or not the one it should be.
    """
    name, colon, split = str(source).partition(":")
    if name not in NAMES:
        if not Path(source).exists():
            raise FileNotFoundError(
                f"{source}: no such file or folder, nor a data set ({', '.join(NAMES)})"
            )
        yield from file_records(source, left_out=left_out)
    elif colon and split not in SPLITS:
        raise ValueError(f"{name} has no split {split!r}; its splits are {', '.join(SPLITS)}")
    elif not colon:
        for each in SPLITS:
            yield from records(f"{name}:{each}")
    elif name == "aflow":
        yield from _aflow(split)
    elif name == "biternary_7k":
        yield from _biternary_7k(split)
    else:
        file = next(file for file in FILES if file.startswith(f"{name}/{split}."))
        check(DATA / file, file)
        yield from file_records(DATA / file, label=file)


def _aflow(split: str) -> Iterator[Record]:
    """The AFLOW prototypes inside pymatgen, 60/20/20, in an order fixed by hashing their numbers."""
    prototypes = _prototypes()
    n = len(prototypes)
    order = sorted(range(n), key=lambda i: hashlib.sha256(str(i).encode()).digest())
    start, end = {"train": (0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1)}[split]
    for i in order[round(start * n) : round(end * n)]:
        label, text = prototypes[i]
        material_id = f"aflow-{i + 1:03d}-{label}"
        yield Record(f"aflow: row {i + 1} ({material_id})", material_id, text, "json")


@functools.cache
def _prototypes() -> list[tuple[str, str]]:
    # found through the outer package: importing the inner one takes seconds
    folder = resources.files("pymatgen") / "analysis" / "prototypes"
    rows = json.loads(gzip.decompress((folder / "aflow_prototypes.json.gz").read_bytes()))
    return [(row["tags"]["aflow"], json.dumps(row["snl"])) for row in rows]


def _biternary_7k(split: str) -> Iterator[Record | Rejected]:
    """What can be had of MP-20 binary & ternary here: nine tenths of its val split to train on."""
    if split == "test":
        yield from records("mp_20_biternary:test")
        return
    for i, record in enumerate(records("mp_20_biternary:val")):
        if (i % 10 == 0) == (split == "val"):
            yield record


def count(source: str | Path, left_out: list[LeftOut]) -> int:
    """Crystals in a source: reading alone takes a fiftieth of the time, and finds a damaged file before the work."""
    total = sum(1 for _ in records(source, left_out))
    if left_out:
        logging.getLogger(__name__).warning("%s: %s.", source, listed(left_out))
    return total

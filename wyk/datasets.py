"""The named data sets, and the way from any of them, or from any file, to Wyckoff representations.

A data set of the paper lies in `data/<name>/<split>.csv[.gz]`, exactly as its authors published it:

    python -m wyk.datasets                  downloads what is missing (`make data`)
    python -m wyk.datasets --from FOLDER    copies what FOLDER has (`make data FROM=folder`)

Either way each file is compared with its git blob id, once more whenever it is read.
"""

import argparse
import contextlib
import functools
import gzip
import hashlib
import http.client
import json
import logging
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pandas as pd
from pymatgen.core import Structure
from tqdm import tqdm

from wyk.paths import DATA, writing
from wyk.pool import Failed, in_order
from wyk.readers import (
    Record,
    Rejected,
    file_records,
    holds_crystals,
    parse,
    represent_record,
)
from wyk.representation import (
    WyckoffRepresentation,
    read_representations,
    to_table,
    write_representations,
)

SPLITS = ("train", "val", "test")
TIME_LIMIT = 60  # s a row may take

_WYFORMER = "SymmetryAdvantage/WyckoffTransformer/507e8f147a0e87905c2574ebfbbfc9fa21c2fb09"
_CDVAE = "txie-93/cdvae/f857f598d6f6cca5dc1ea0582d228f12dcc2c2ea"


@dataclass(frozen=True)
class Origin:
    """Where a file comes from, and how it is recognised.

    Attributes:
        repository: "owner/name/commit" on GitHub; the file lies there under the same path.
        blob: its git blob id, None if we do not know it; the file is then used unverified.
        size: bytes, None if we do not know.
    """

    repository: str
    blob: str | None = None
    size: int | None = None


FILES = {
    "mp_20_biternary/train.csv.gz": Origin(_WYFORMER, "2eec15a565661f002a929742aa9fbb559adbf5d3"),
    "mp_20_biternary/val.csv.gz": Origin(
        _WYFORMER, "ea97fada8ab0bf4c9e2761a6ca62e3d10537aaa1", 1_460_439
    ),
    "mp_20_biternary/test.csv.gz": Origin(
        _WYFORMER, "220c041da79efde30db5b49ca639c21efa1cff4d", 1_452_762
    ),
    "mpts_52/train.csv.gz": Origin(_WYFORMER),
    "mpts_52/val.csv.gz": Origin(_WYFORMER, "9d6d985473ca03ddc85e183186a186693ad78002", 1_930_984),
    "mpts_52/test.csv.gz": Origin(_WYFORMER, "d37baba33ecbdeac2bc7191ba3e15e48b315d3f4", 3_197_100),
    "mp_20/train.csv": Origin(_CDVAE, "b1c9d498565ac2fd8d075a51ff2ef5e51ba6c21f"),
    "mp_20/val.csv": Origin(_CDVAE, "7efe4d7ebeb4f460ceaad35e5326c42111d9c9a1"),
    "mp_20/test.csv": Origin(_CDVAE, "5dc643041df53f5ce4970a79930ad262b4f07acd"),
} | {f"{name}/{split}.csv": Origin(_CDVAE) for name in ("perov_5", "carbon_24") for split in SPLITS}

NAMES = ("aflow", "biternary_7k", *dict.fromkeys(name.split("/")[0] for name in FILES))


@dataclass(frozen=True)
class Summary:
    """How many crystals were represented, and how many rejected."""

    n: int
    rejected: int


# --- from a name or a file to records


def records(source: str | Path) -> Iterator[Record | Rejected]:
    """The crystals of a data set or a file, in order.

    Args:
        source: a data set, such as `mp_20_biternary` or `aflow:train`, or a path: see `file_records`.

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
        yield from file_records(source)
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


# --- files on disk


def check(path: Path, name: str) -> None:
    """Compare a file with what is known of the one it should be.

    Args:
        name: the file's key in `FILES`.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is another split, truncated or altered.
    """
    advice = "run `make data`, or `make data FROM=<folder that has it>`"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: {advice}")
    if fault := _fault(path, name):
        raise ValueError(f"{path} {fault}; {advice}")


def _fault(path: Path, name: str) -> str | None:
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    origin = FILES[name]
    if blob == origin.blob:
        return None
    for other, its in FILES.items():
        if blob == its.blob:
            same = other.split("/")[0] == name.split("/")[0]
            return f"is the file {other}: wrong {'split' if same else 'data set'}"
    if origin.blob is None:
        return None
    if origin.size and len(content) < origin.size:
        return f"is truncated: {len(content):,} bytes of {origin.size:,}"
    return f"is altered or truncated: its git blob id is {blob}, not {origin.blob}"


def fetch(folder: Path | None = None) -> bool:
    """Bring the files of `FILES` into `data/`, saying on stdout what became of each.

    What is there and right stays; what fails is reported and the others go on.

    Args:
        folder: copy what it has, laid out as `data/`; None downloads.

    Returns:
        Whether all is well: nothing wrong, and nothing missing unless `folder` lacks it.

    Raises:
        FileNotFoundError: if `folder` has none of the files.
    """
    if folder and not any((folder / name).is_file() for name in FILES):
        raise FileNotFoundError(f"{folder} has no data set; looked for {', '.join(FILES)}")
    failures = 0
    for name, origin in FILES.items():
        try:
            outcome = _fetch(name, folder)
        except (ValueError, OSError, http.client.HTTPException) as error:
            failures += 1
            outcome = f"FAILED: {error}"
        else:
            if origin.blob is None and outcome != "absent":
                outcome += ", not verified: no checksum of it is known"
        print(f"{name}: {outcome}", flush=True)
    return not failures


def _fetch(name: str, folder: Path | None) -> str:
    target = DATA / name
    try:
        check(target, name)
        return "already there"
    except FileNotFoundError:
        pass
    except ValueError as error:
        print(f"{error}: replacing it", flush=True)
    if folder and not (folder / name).is_file():
        return "absent"
    url = f"https://raw.githubusercontent.com/{FILES[name].repository}/data/{name}"
    with writing(target) as temporary:
        if folder:
            shutil.copyfile(folder / name, temporary)
        else:
            with urllib.request.urlopen(url, timeout=60) as response, temporary.open("wb") as file:
                shutil.copyfileobj(response, file)
        if fault := _fault(temporary, name):
            raise ValueError(f"{folder / name if folder else url} {fault}")
        next(file_records(temporary, label=name))  # an unverified file must at least hold crystals
    return "copied" if folder else "downloaded"


# --- from records to representations and structures


def represent(source: str | Path, out: str | Path, jobs: int = 1) -> Summary:
    """Write the Wyckoff representations of a data set or file as Parquet, in its order.

    What cannot be represented goes to `OUT.rejected.csv` (where, material_id, reason); without such rows there
    is no such file. The result does not depend on `jobs`.

    Args:
        source: see `records`; or a Parquet of representations, which is copied.
        out: path of the Parquet file.
        jobs: processes.

    Raises:
        ValueError: if the source cannot be read, or not one of its crystals can be represented.
        OSError: if `out` cannot be written; this is found before the work begins.
    """
    out = Path(out)
    sidecar = out.with_suffix(".rejected.csv")
    with writing(out) as temporary:
        temporary.touch()
        frame, rejected = _represented(source, jobs)
        if rejected:
            with writing(sidecar) as table:
                pd.DataFrame(rejected).to_csv(table, index=False)
        else:
            sidecar.unlink(missing_ok=True)
        if rejected and frame.empty:
            raise ValueError(f"{rejected[0].where}: {rejected[0].reason}; see {sidecar}")
        write_representations(temporary, frame)
    return Summary(len(frame), len(rejected))


def load(source: str | Path, jobs: int = 1) -> pd.DataFrame:
    """The representations of a data set or file, or those in a Parquet of ours; rejected rows are logged.

    Raises:
        ValueError, OSError: if the source cannot be read.
    """
    frame, rejected = _represented(source, jobs)
    _log(rejected)
    return frame


def structures(source: str | Path) -> tuple[list[tuple[str, Structure]], list[Rejected]]:
    """The crystals of a data set or file as (material_id, Structure), and those that cannot be read.

    Raises:
        ValueError, OSError: if the source cannot be read.
    """
    crystals, rejected = [], []
    for item in records(source):
        try:
            if isinstance(item, Record):
                crystals.append((item.material_id, parse(item)))
            else:
                rejected.append(item)
        except ValueError as error:
            rejected.append(Rejected(item.where, item.material_id, str(error)))
    return crystals, rejected


def _represented(source: str | Path, jobs: int) -> tuple[pd.DataFrame, list[Rejected]]:
    if Path(source).suffix == ".parquet" and not holds_crystals(source):
        return read_representations(source), []
    if jobs < 1:
        raise ValueError(f"{jobs} jobs: at least 1 is needed")
    # Reading alone takes a fiftieth of the time, and finds a damaged file before the work begins.
    total = sum(1 for _ in records(source))
    done, rejected = [], []
    results = in_order(_represent, records(source), jobs, TIME_LIMIT)
    with contextlib.closing(results):  # on Ctrl-C the pool stops at once
        for item, result in tqdm(
            results, f"represent {source}", total, unit="row", disable=None, file=sys.stderr
        ):
            if isinstance(result, Failed):
                rejected.append(Rejected(item.where, item.material_id, result.reason))
            else:
                done.append((item, result))
    columns = {
        name: [item.extras.get(name) for item, _ in done]
        for name in ("spacegroup.number", "e_above_hull")
        if any(name in item.extras for item, _ in done)
    }
    ids = [item.material_id for item, _ in done]
    return to_table([representation for _, representation in done], ids, **columns), rejected


def _represent(item: Record | Rejected) -> WyckoffRepresentation:
    if isinstance(item, Rejected):
        raise ValueError(item.reason)
    return represent_record(item)


def _log(rejected: list[Rejected]) -> None:
    for row in rejected[:5]:
        logging.getLogger(__name__).warning("%s: %s. Skipped.", row.where, row.reason)
    if len(rejected) > 5:
        logging.getLogger(__name__).warning("… and %d more rows.", len(rejected) - 5)


def main() -> None:
    """`python -m wyk.datasets [--from FOLDER]`."""
    parser = argparse.ArgumentParser(prog="python -m wyk.datasets", description=fetch.__doc__)
    parser.add_argument("--from", dest="folder", type=Path, help="copy the files in FOLDER")
    try:
        sys.exit(0 if fetch(parser.parse_args().folder) else 1)
    except (ValueError, OSError) as error:
        sys.exit(f"wyk: {error}")


if __name__ == "__main__":
    main()

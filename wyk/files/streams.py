"""Files of many crystals, read from a stream one crystal at a time: CSV, Parquet, JSON, JSON lines, extended XYZ.

Each reader takes a binary stream, what messages call the file, and a prefix for the names of crystals without one. It
raises `NoCrystalsError` for a file that holds none by its kind, `DamagedError` where it cannot go on.
"""

import csv
import io
import json
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from wyk.files.formats import NESTED, is_crystal
from wyk.files.json_stream import json_items
from wyk.files.records import (
    IDS,
    LARGEST,
    DamagedError,
    NoCrystalsError,
    Record,
    Rejected,
    crystal_column,
    no_column,
    row,
    wanted_columns,
)

HELD = 1000  # rows that are no crystals, after which a file is believed to hold none
UNPACKING = (OSError, EOFError, zlib.error)  # of damaged gzip

csv.field_size_limit(4 * LARGEST)  # up to here a field spoils its row, beyond it the file


def csv_rows(stream: BinaryIO, label: str, prefix: str = "") -> Iterator[Record | Rejected]:
    """The crystals of a CSV with a column of them."""
    number = 0
    try:
        file = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
        # never a line of any length: the rest of one is another row
        rows = csv.reader(iter(lambda: file.readline(LARGEST), ""))
        header = next(rows, [])
        column = crystal_column(header)
        if column is None:
            raise no_column(header)
        for number, fields in enumerate(filter(None, rows), start=1):
            if len(fields) == len(header):
                values = dict(zip(header, fields, strict=True))
                yield row(f"{label}: row {number}", number, column, values, prefix)
            else:
                reason = f"{len(fields)} fields for {len(header)} columns; a quote left open?"
                yield Rejected(f"{label}: row {number}", f"{prefix}{number}", reason)
    except (*UNPACKING, csv.Error) as error:
        raise DamagedError(f"is damaged or cut off after row {number}: {error}") from error


def parquet_rows(stream: BinaryIO, label: str, prefix: str = "") -> Iterator[Record | Rejected]:
    """The crystals of a Parquet file: text, bytes or dicts in a column, or OPTIMADE's columns."""
    try:
        with pq.ParquetFile(stream) as file:
            header = file.schema_arrow.names
            column = crystal_column(header)
            if column is None:
                raise no_column(header)
            wanted = sorted(wanted_columns(column, header))
            batches = file.iter_batches(batch_size=64, columns=wanted)
            rows = (values for batch in batches for values in batch.to_pylist())
            for number, values in enumerate(rows, start=1):
                yield row(f"{label}: row {number}", number, column, values, prefix)
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"is not a Parquet file, or only a part of one: {error}") from error


def jsons(stream: BinaryIO, label: str, prefix: str = "") -> Iterator[Record | Rejected]:
    """The crystals of a JSON file: one, a list, a dict by name, an OPTIMADE response, a table by columns."""
    number = 0
    try:
        file = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace")
        for number, (name, value) in enumerate(json_items(file), start=1):
            name = prefix.rstrip("-") if name == "" and number == 1 else name
            yield _item(f"{label}: row {number}", number, name or "", value, prefix)
    except (*UNPACKING, DamagedError) as error:
        raise DamagedError(f"is damaged or cut off after row {number}: {error}") from error


def json_lines(stream: BinaryIO, label: str, prefix: str = "") -> Iterator[Record | Rejected]:
    """The crystals of JSON lines, one each."""
    number = 0
    try:
        for number, line in enumerate(
            filter(bytes.strip, iter(lambda: stream.readline(LARGEST), b"")), 1
        ):
            try:
                value = json.loads(line.decode("utf-8-sig", errors="replace"))
            except (ValueError, RecursionError) as error:
                where = f"{label}: row {number}"
                yield Rejected(where, f"{prefix}{number}", f"not JSON: {error}")
            else:
                yield _item(f"{label}: row {number}", number, "", value, prefix)
    except UNPACKING as error:
        raise DamagedError(f"is damaged or cut off after row {number}: {error}") from error


def _item(where: str, number: int, name: str, value: object, prefix: str) -> Record | Rejected:
    if is_crystal(value):
        named = next((str(value[key]) for key in IDS if value.get(key)), name)
        inner = next((value[key] for key in NESTED if isinstance(value.get(key), dict)), {})
        named = named or next((str(inner[key]) for key in IDS if inner.get(key)), "")
        text = json.dumps(value)
        values = {"structure": text, "material_id": named}
        extras = {k: v for k, v in value.items() if k not in ("structure", "material_id")}
        return row(where, number, "structure", extras | values, prefix)
    if isinstance(value, dict) and (column := crystal_column(list(value))) is not None:
        named = {"material_id": name} if name and not any(value.get(key) for key in IDS) else {}
        return row(where, number, column, value | named, prefix)
    return _Nothing(where, name or f"{prefix}{number}", "no crystal in this piece of JSON")


class _Nothing(Rejected):
    """A row that is no crystal by its kind; a file of nothing else holds none."""


def believed(items: Iterator[Record | Rejected]) -> Iterator[Record | Rejected]:
    """The same items, unless none of them is a crystal, not even a bad one.

    Raises:
        NoCrystalsError: then.
    """
    held: list[Rejected] = []
    for item in items:
        if not isinstance(item, _Nothing):
            yield from held
            yield item
            break
        held.append(item)
        if len(held) == HELD:
            raise NoCrystalsError(f"holds no crystals in its first {HELD:,} rows")
    else:
        raise NoCrystalsError("holds no crystals")
    yield from items


def frames(stream: BinaryIO, label: str, prefix: str = "") -> Iterator[Record | Rejected]:
    """The frames of an extended XYZ file."""
    number = 0
    try:
        while first := stream.readline(LARGEST):
            if not first.strip():
                continue
            number += 1
            where, name = f"{label}: row {number}", f"{prefix}{number}"
            if not first.strip().isdigit() or len(first) > 20:
                raise DamagedError(
                    f"is no extended XYZ from row {number} on: {first[:40]!r} is no number of atoms"
                )
            lines, size = [first], 0
            for _ in range(int(first) + 1):
                line = stream.readline(LARGEST)
                size += len(line)
                if not line:
                    break
                if size <= LARGEST:
                    lines.append(line)
            if size > LARGEST:
                yield Rejected(where, name, f"more than {LARGEST >> 20} MB of text")
            else:
                text = b"".join(lines).decode("utf-8-sig", errors="replace")
                yield Record(where, name, text, "extxyz")
    except UNPACKING as error:
        raise DamagedError(f"is damaged or cut off after row {number}: {error}") from error

"""Any file of crystals, read one crystal at a time.

Everything here may come from strangers: what one row holds can spoil that row only, never the rest of a file,
and nothing that is read is executed, imported or used as the name of a file.
"""

import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from wyk.files import archives, streams
from wyk.files.records import (
    LARGEST,
    DamagedError,
    LeftOut,
    NoCrystalsError,
    Record,
    Rejected,
    crystal_column,
)

Item = Record | Rejected | LeftOut
SINGLE = {
    ".cif": "cif",
    ".mcif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".contcar": "poscar",
}
MANY = {
    ".csv": streams.csv_rows,
    ".parquet": streams.parquet_rows,
    ".json": streams.jsons,
    ".jsonl": streams.json_lines,
    ".ndjson": streams.json_lines,
    ".xyz": streams.frames,
    ".extxyz": streams.frames,
}
ARCHIVES = {
    ".zip": archives.zip_members,
    ".tar": archives.tar_members,
    ".tgz": archives.tar_members,
}
KINDS = ".cif, .mcif, .vasp, .xyz, .json, .jsonl, .csv, .parquet, .zip, .tar (all but .parquet and .zip also .gz)"
JUNK = {"__MACOSX", "__pycache__"}  # folders; and whatever begins with a dot
COPIES = {  # file → what holds the same crystals, beside it
    "generated_crystals_cif.zip": ("generated_crystals.extxyz",),  # MatterGen
    "generated_trajectories.zip": ("generated_crystals.extxyz", "generated_crystals_cif.zip"),
    "crystals.parquet": ("cifs",),  # wyk structures
}
DAMAGED = (OSError, EOFError, zlib.error)


def file_records(
    path: str | Path, label: str | None = None, left_out: list[LeftOut] | None = None
) -> Iterator[Record | Rejected]:
    """The crystals in a file, or in all files of a folder or archive, in order.

    One crystal: CIF, mCIF, POSCAR. Several: extended XYZ; JSON (pymatgen's Structure, OPTIMADE, a list or dict of
    them) and JSON lines; CSV and Parquet with a column of `records.COLUMNS`, or OPTIMADE's, which may have the
    columns `material_id` and those of `EXTRA_COLUMNS`. Each, but Parquet, may be gzipped. Archives: zip, tar, tar.gz.
    Nothing is held in memory but the crystal at hand.

    Args:
        label: what messages call the file; its name unless given.
        left_out: files in a folder or archive that are no crystals are added to it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file as a whole is empty, damaged, of an unknown kind or lacks the column.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not path.is_dir():
        if _suffix(path.name) is None:
            raise ValueError(f"{path}: neither a folder nor {KINDS}")
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty")
    label, found, others = label or path.name, False, []
    try:
        for item in _folder(path, label) if path.is_dir() else _file(path, label):
            if isinstance(item, LeftOut):
                others.append(item)
            else:
                found = True
                yield item
    except (DamagedError, NoCrystalsError) as error:
        raise ValueError(f"{path} {error}") from error
    if left_out is not None:
        left_out += others
    if not found:
        names = f": {listed(others)}" if others else ""
        raise ValueError(f"{path} holds no crystals{names}")


def listed(others: list[LeftOut]) -> str:
    """Files that were left out, in words."""
    files = (
        "1 file that is no crystal"
        if len(others) == 1
        else f"{len(others)} files that are no crystals"
    )
    names = ", ".join(item.name[-60:] for item in others[:5]) + (", …" if len(others) > 5 else "")
    return f"left out {files}: {names}"


def holds_crystals(path: str | Path) -> bool:
    """Whether a Parquet has a column of crystals; what is no Parquet counts as if, and fails when read."""
    try:
        return crystal_column(pq.read_schema(path).names) is not None
    except (pa.ArrowException, OSError):
        return True


# --- which files


def _suffix(name: str) -> str | None:
    """The kind of a file by its name, as a key of the tables above; None for one that holds no crystals."""
    lower = name.lower()
    bare = lower.removesuffix(".gz")
    suffix = PurePosixPath(bare).suffix
    if bare != lower and suffix in (".zip", ".parquet", ".tgz"):
        return None
    if suffix in SINGLE or suffix in MANY or suffix in ARCHIVES:
        return suffix
    if re.fullmatch(r"(.*[._-])?(poscar|contcar)([._-]?\w*)", bare):
        return ".poscar"
    return None


def _stem(name: str) -> str:
    """A file's path without the suffixes that say of which kind it is."""
    bare = name[:-3] if name.lower().endswith(".gz") else name
    suffix = PurePosixPath(bare).suffix
    known = suffix.lower() in SINGLE or suffix.lower() in MANY or suffix.lower() in ARCHIVES
    return bare.removesuffix(suffix) if known else bare


def _junk(name: str) -> str | None:
    """Why a file beside crystals is none, None if it may be one."""
    parts = [part for part in PurePosixPath(name).parts if part not in (".", "..", "/")]
    if not parts:
        return "no file"
    if any(part in JUNK or part.startswith(".") for part in parts):
        return "made by a program for itself"
    return None if _suffix(parts[-1]) else "no kind of file that holds crystals"


def _file(path: Path, label: str) -> Iterator[Item]:
    suffix = _suffix(path.name)
    with path.open("rb") as file:
        if suffix in SINGLE:
            try:
                yield _single(_plain(file), label, _stem(path.name), SINGLE[suffix])
            except DAMAGED as error:
                raise DamagedError(f"is damaged or cut off: {error}") from error
        elif suffix in MANY:
            stream = file if suffix == ".parquet" else _plain(file)
            yield from streams.believed(MANY[suffix](stream, label))
        else:
            yield from _archive(suffix, file, label)


def _folder(path: Path, label: str) -> Iterator[Item]:
    for file in sorted(path.rglob("*")):
        if file.is_dir() and not file.is_symlink():
            continue
        name = os.fsencode(file.relative_to(path).as_posix()).decode("utf-8", "backslashreplace")
        where = f"{label}/{name}"
        reason = _junk(name) if file.is_file() else "no regular file"
        for copy in COPIES.get(file.name, ()):
            if (file.parent / copy).exists():
                reason = f"the same crystals as {copy}"
        if reason:
            yield LeftOut(where, name, reason)
            continue
        try:
            with file.open("rb") as stream:
                yield from _member(stream, where, name, nested=False)
        except OSError as error:
            yield Rejected(where, _stem(name), f"cannot be read: {error.strerror or error}")


def _archive(suffix: str, file: BinaryIO, label: str, prefix: str = "") -> Iterator[Item]:
    stream = file if suffix == ".zip" else _plain(file)
    try:
        for number, member in enumerate(ARCHIVES[suffix](stream), start=1):
            name = prefix + PurePosixPath(member.name).as_posix()
            where = f"{label}: row {number} ({name})"
            reason = _junk(member.name)
            if PurePosixPath(member.name).name in COPIES and ".zip" in member.name:
                reason = "MatterGen's copy of its crystals, in an archive within an archive"
            if reason or (member.content is None and member.problem == "no regular file"):
                yield LeftOut(where, name, reason or member.problem)
            elif member.content is None:
                yield Rejected(where, _stem(name), f"cannot be unpacked: {member.problem}")
            else:
                yield from _member(member.content, where, name, nested=True)
    except DAMAGED as error:
        raise DamagedError(f"is damaged or cut off: {error}") from error


def _member(stream: BinaryIO, where: str, name: str, nested: bool) -> Iterator[Item]:
    """The crystals of one file among others; what is wrong with it spoils no other.

    Args:
        nested: whether it stands in an archive, so that it can be read once, and only forwards.
    """
    suffix, stem = _suffix(PurePosixPath(name).name), _stem(name)
    try:
        if suffix in ARCHIVES:
            if nested:
                yield Rejected(where, stem, "an archive within an archive; unpack it first")
            else:
                yield from _archive(suffix, stream, where, f"{stem}/")
        elif suffix in SINGLE:
            yield _single(_plain(stream), where, stem, SINGLE[suffix])
        elif suffix == ".parquet" and nested:
            content = archives.exactly(stream, LARGEST + 1)
            if len(content) > LARGEST:
                yield Rejected(where, stem, f"more than {LARGEST >> 20} MB; unpack it first")
            else:
                yield from _many(suffix, io.BytesIO(content), where, stem)
        else:
            yield from _many(suffix, stream, where, stem)
    except NoCrystalsError as error:
        yield LeftOut(where, name, str(error))
    except DamagedError as error:
        yield Rejected(where, stem, str(error))
    except Exception as error:  # each kind of compression raises its own
        if isinstance(error, OSError) and not nested and error.errno:
            raise
        yield Rejected(where, stem, f"cannot be unpacked: {error}")


def _many(suffix: str, stream: BinaryIO, where: str, stem: str) -> Iterator[Record | Rejected]:
    stream = stream if suffix == ".parquet" else _plain(stream)
    items: Callable = MANY[suffix]
    yield from streams.believed(items(stream, where, f"{stem}-"))


def _single(stream: BinaryIO, where: str, material_id: str, kind: str) -> Record | Rejected:
    content = archives.exactly(stream, LARGEST + 1)
    if len(content) > LARGEST:
        return Rejected(where, material_id, f"more than {LARGEST >> 20} MB of text")
    return Record(where, material_id, content.decode("utf-8-sig", errors="replace"), kind)


def _plain(stream: BinaryIO) -> BinaryIO:
    """What a stream holds, unpacked if it is gzip, whatever its name says."""
    buffered = stream if hasattr(stream, "peek") else io.BufferedReader(stream)
    return gzip.GzipFile(fileobj=buffered) if buffered.peek(2)[:2] == b"\x1f\x8b" else buffered

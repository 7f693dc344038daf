"""The members of a zip or tar, one after the other, without unpacking anything to disk."""

import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from wyk.files.records import DamagedError

BLOCK = 512  # bytes of a tar's header
LONGEST_HEADER = 2**20  # bytes of a tar's extended header: it holds names
PART = 2**16


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path there, never used as one here.
        content: to be read before the next member is asked for; None if it cannot be opened.
        problem: why it cannot.
    """

    name: str
    content: BinaryIO | None
    problem: str = ""


def zip_members(stream: BinaryIO) -> Iterator[Member]:
    """The files in a zip.

    Raises:
        DamagedError: if it is none.
    """
    try:
        archive = zipfile.ZipFile(stream)
    except Exception as error:  # of several kinds, where its list of members is damaged
        raise DamagedError(f"is not a zip, or only a part of one: {error}") from error
    with archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            try:
                content = archive.open(info)
            except Exception as error:  # each kind of compression raises its own
                yield Member(info.filename, None, str(error))
            else:
                with content:
                    yield Member(info.filename, content)


class _Slice(io.RawIOBase):
    """So many bytes of a stream."""

    def __init__(self, stream: BinaryIO, size: int):
        self._stream, self.left = stream, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        part = self._stream.read(min(len(buffer), self.left))
        if not part and self.left and len(buffer):
            raise EOFError("the archive ends within it")
        self.left -= len(part)
        buffer[: len(part)] = part
        return len(part)


def tar_members(stream: BinaryIO) -> Iterator[Member]:
    """The regular files in a tar, read in one go.

    Python's own reader holds an extended header in memory whatever its size, and a sparse file's map.

    Raises:
        DamagedError: if it is none, or breaks off.
    """
    number, name, size = 0, None, None
    while True:
        block = exactly(stream, BLOCK)
        if len(block) < BLOCK or not block.strip(b"\0"):
            if number == 0 or 0 < len(block) < BLOCK:
                raise DamagedError("is not a tar, or only a part of one")
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise DamagedError(f"is not a tar, or damaged after {number} files: {error}") from error
        number += 1
        if info.size < 0:
            raise DamagedError(f"is damaged after {number} files: a negative size")
        if info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, b"L", b"K"):
            if info.size > LONGEST_HEADER:
                raise DamagedError(f"has a header of {info.size:,} bytes after {number} files")
            data = exactly(stream, info.size)
            _skip(stream, -info.size % BLOCK)
            if info.type == b"L":
                name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                records = _extended(data)
                name, size = records.get("path", name), records.get("size", size)
            continue
        length = (
            int(size) if size is not None and size.isdecimal() and len(size) < 20 else info.size
        )
        own = (
            (name or info.name)
            .encode("utf-8", "surrogateescape")
            .decode("utf-8", "backslashreplace")
        )
        name = size = None
        length = 0 if info.type in (b"1", b"2", b"3", b"4", b"5", b"6") else length
        part = _Slice(stream, length)
        if info.type in (b"0", b"\0", b"7") and not own.endswith("/"):
            yield Member(own, io.BufferedReader(part))
        elif info.type not in (b"5", b"0", b"\0"):
            yield Member(own, None, "no regular file")
        _skip(stream, part.left + -length % BLOCK)


def exactly(stream: BinaryIO, size: int) -> bytes:
    """So many bytes of a stream, or what there is; a stream asked for them at once would make room for all."""
    parts = []
    while size and (part := stream.read(min(size, PART))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _skip(stream: BinaryIO, size: int) -> None:
    while size > 0:
        part = stream.read(min(size, PART))
        if not part:
            raise DamagedError("is cut off")
        size -= len(part)


def _extended(data: bytes) -> dict[str, str]:
    """The records `length key=value` of an extended header."""
    records = {}
    while data:
        length, blank, _ = data.partition(b" ")
        if not blank or not length.isdigit() or len(length) > 9 or int(length) <= len(length):
            break
        record = data[len(length) + 1 : int(length)].rstrip(b"\n")
        key, _, value = record.partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        data = data[int(length) :]
    return records

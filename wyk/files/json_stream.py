"""A JSON file of any length, one of its crystals at a time."""

import json
from collections.abc import Iterator
from typing import TextIO

from wyk.files.formats import NESTED, is_crystal
from wyk.files.records import LARGEST, DamagedError, crystal_column

LISTS = ("data", "structures", "crystals", "entries", "results", "materials", "samples", "response")
FIRST = 2**16  # characters that are read at once; twice as many if a value is longer
NUMBER = "0123456789.eE+-"


class _Text:
    """The rest of a file, of which only as much is held as the value at hand needs."""

    def __init__(self, file: TextIO):
        self._file, self._held, self._at, self._size = file, "", 0, FIRST
        self.consumed = 0
        self._decoder = json.JSONDecoder()

    def _more(self) -> bool:
        self._held, self._at = self._held[self._at :], 0
        added = self._file.read(self._size)
        self._held += added
        return bool(added)

    def peek(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            while self._at < len(self._held):
                if not self._held[self._at].isspace():
                    return self._held[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, expected: str) -> str:
        """The next character that is no blank, if it is one of these."""
        character = self.peek()
        if not character or character not in expected:
            raise DamagedError(f"{character or 'its end'} where {' or '.join(expected)} is due")
        self._at += 1
        return character

    def value(self) -> object:
        """The next value, whole."""
        self.peek()
        self._size = FIRST
        while True:
            try:
                value, end = self._decoder.raw_decode(self._held, self._at)
                whole = end < len(self._held)
                if whole and isinstance(
                    value, float | int
                ):  # "-3." may be all that is there of -3.14
                    whole = self._held[end] not in NUMBER
                problem = None
            except (ValueError, RecursionError) as error:
                whole, problem = False, error
            if not whole:
                if len(self._held) - self._at > LARGEST:
                    raise DamagedError(f"a value of more than {LARGEST >> 20} MB")
                self._size *= 2
                if isinstance(problem, RecursionError) or not self._more():
                    if problem is not None:
                        raise DamagedError(str(problem)) from problem
                    self._at = len(self._held)
                    return value
                continue
            self.consumed += end - self._at
            self._at = end
            return value


def json_items(file: TextIO) -> Iterator[tuple[str | None, object]]:
    """The crystals, or what stands in their place, each with its name: "" of a whole file, None in a list.

    Raises:
        DamagedError: where it is no JSON.
    """
    text = _Text(file)
    while first := text.peek():  # usually once; JSON lines have more
        if first == "[":
            yield from ((None, value) for value in _list(text))
        elif first == "{":
            yield from _dict(text)
        else:
            raise DamagedError(f"{first!r} where a list or an object is due")


def _list(text: _Text) -> Iterator[object]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    while True:
        yield text.value()
        if text.take(",]") == "]":
            return


def _dict(text: _Text) -> Iterator[tuple[str | None, object]]:
    text.take("{")
    rest, size, found = {}, 0, False
    while text.peek() != "}":
        name = text.value()
        if not isinstance(name, str):
            raise DamagedError("a key that is no text")
        text.take(":")
        if name.lower() in LISTS and text.peek() == "[":
            for value in _list(text):
                found = True
                yield None, value
        else:
            before, value = text.consumed, text.value()
            if name not in NESTED and _is_row(value):
                found = True
                yield name, value
            else:
                rest[name] = value
                size += text.consumed - before
                if size > LARGEST:
                    raise DamagedError(f"more than {LARGEST >> 20} MB that are no crystals")
        if text.take(",}") == "}":
            break
    else:
        text.take("}")
    if is_crystal(rest) or not found:
        yield from _by_columns(rest)


def _is_row(value: object) -> bool:
    if is_crystal(value):
        return True
    if not isinstance(value, dict):
        return False
    column = crystal_column(list(value))
    return column is not None and isinstance(value[column], str | list) and not _is_columns(value)


def _is_columns(value: dict) -> bool:
    column = crystal_column(list(value))
    return column is not None and isinstance(value[column], dict) and not is_crystal(value[column])


def _by_columns(rest: dict) -> Iterator[tuple[str | None, object]]:
    """One crystal, or a table that stands column by column, as pandas writes it."""
    column = None if is_crystal(rest) else crystal_column(list(rest))
    values = rest.get(column) if column else None
    if isinstance(values, dict) and not is_crystal(values):
        for key in values:
            yield key, {name: v.get(key) for name, v in rest.items() if isinstance(v, dict)}
    elif isinstance(values, list) and column != "lattice_vectors":
        for i, _ in enumerate(values):
            whole = {n: v for n, v in rest.items() if isinstance(v, list) and len(v) == len(values)}
            yield None, {name: v[i] for name, v in whole.items()}
    else:
        yield "", rest

"""The tags of a CIF's block, in whichever spelling: small letters, and `_` for the `.` of newer dictionaries."""

from collections.abc import Iterable

import gemmi
from gemmi.cif import as_string

MARKS = frozenset("'\";?.")
ONE = ("_cell_", "_symmetry", "_space_group", "_chemical_formula_sum")
ONCE = (*ONE, "_atom_site_")


class Tags:
    """A block's tags and what stands behind them; `?` and `.` are nothing.

    Raises:
        ValueError: if a tag that matters stands there twice with different values.
    """

    def __init__(self, block: gemmi.cif.Block):
        self._places: dict[str, object] = {}
        self._values: dict[int, list[str]] = {}  # of a loop that was looked into
        self._columns: dict[tuple, list[str]] = {}
        places = self._places
        for n, item in enumerate(block):
            if (pair := item.pair) is not None:
                found = (pair,)
            elif (loop := item.loop) is not None:
                found = [(tag, (loop, i, n)) for i, tag in enumerate(loop.tags)]
            else:
                continue
            for tag, place in found:
                name = tag.lower().replace(".", "_")
                if name not in places or self._replaced(tag, name, place):
                    places[name] = place

    def _replaced(self, tag: str, name: str, place: object) -> bool:
        """Whether what stands behind a tag for the second time is more than what stood there."""
        before, after = self.column(name), self._column(place)
        if name.startswith(ONCE) and before != after and any(before) and any(after):
            raise ValueError(f"{tag} stands there twice, with different values")
        return not any(before)

    def names(self) -> Iterable[str]:
        """All of them."""
        return self._places

    def texts(self, tags: tuple[str, ...]) -> tuple[str, ...]:
        """What stands behind these tags, without those that say nothing."""
        found = self._places.keys() & tags
        return (
            tuple(text for tag in tags if tag in found and (text := self.text(tag)))
            if found
            else ()
        )

    def column(self, tag: str) -> list[str]:
        """What stands behind a tag, "" for nothing; one value if it is in no loop, none without the tag."""
        place = self._places.get(tag)
        return [] if place is None else self._column(place)

    def text(self, tag: str) -> str:
        """The value behind a tag, "" if there is none; of a list the first.

        Raises:
            ValueError: if a tag that can have only one value has several.
        """
        place = self._places.get(tag)
        if place is None:
            return ""
        if isinstance(place, str):
            return _plain(place).strip()
        values = {text.strip(): None for text in self._column(place) if text}
        if len(values) > 1 and tag.startswith(ONE):
            raise ValueError(f"{tag} has several values: {', '.join(values)[:80]}")
        return next(iter(values), "")

    def _column(self, place: object) -> list[str]:
        if isinstance(place, str):
            return [_plain(place)]
        if place not in self._columns:
            loop, i, key = place
            if key not in self._values:
                self._values[key] = loop.values
            values = self._values[key][i :: loop.width()]
            self._columns[place] = [v if v[0] not in MARKS else as_string(v) for v in values]
        return self._columns[place]


def _plain(value: str) -> str:
    """A value without its quotes; "" for `?` and `.`."""
    return as_string(value) if not value or value[0] in MARKS else value

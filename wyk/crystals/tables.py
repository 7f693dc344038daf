"""Tables of Wyckoff representations, one row each, and their Parquet files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.spacegroups import WyckoffPosition, space_group
from wyk.plumbing import writing

COLUMNS = (
    "material_id",
    "space_group",
    "elements",
    "wyckoff_letters",
    "site_symmetries",
    "enumerations",
    "multiplicities",
    "dof",
)


def to_table(
    representations: Sequence[WyckoffRepresentation],
    material_ids: Iterable[str] | None = None,
    **columns: Sequence,
) -> pd.DataFrame:
    """Representations as a table with the columns of `COLUMNS`, one row each.

    Args:
        representations: formally valid or not; an unknown letter has site symmetry "", multiplicity 0.
        material_ids: one name each; "0", "1" … if none are given.
        columns: more columns, carried through.
    """
    ids = range(len(representations)) if material_ids is None else material_ids
    sites = [list(map(_site, [r.space_group] * len(r.letters), r.letters)) for r in representations]
    frame = pd.DataFrame(
        {
            "material_id": [str(name) for name in ids],
            "space_group": np.array([r.space_group for r in representations], int),
            "elements": [list(r.elements) for r in representations],
            "wyckoff_letters": [list(r.letters) for r in representations],
            "site_symmetries": [[p.site_symmetry for p in row] for row in sites],
            "enumerations": [[p.enumeration for p in row] for row in sites],
            "multiplicities": [[p.multiplicity for p in row] for row in sites],
            "dof": [[p.dof for p in row] for row in sites],
        }
    )
    return frame.assign(**columns)


def _site(number: int, letter: str) -> WyckoffPosition:
    group = space_group(number)
    known = len(letter) == 1 and letter in group.letters
    return group.position(letter) if known else WyckoffPosition(letter, "", -1, 0, 0)


def from_table(frame: pd.DataFrame) -> list[WyckoffRepresentation]:
    """The representations in a table."""
    return [
        WyckoffRepresentation(int(number), tuple(elements), tuple(letters))
        for number, elements, letters in zip(
            frame["space_group"], frame["elements"], frame["wyckoff_letters"], strict=True
        )
    ]


def write_representations(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table as Parquet; a killed run leaves no half of it."""
    with writing(path) as temporary:
        frame.to_parquet(temporary, index=False)


def read_representations(path: str | Path) -> pd.DataFrame:
    """Read a Parquet table of representations.

    Raises:
        ValueError: if the file is not a whole Parquet file or lacks columns.
        FileNotFoundError: if there is none.
    """
    frame = read_rows(path)
    for row, fault in enumerate(map(row_fault, *(frame[c] for c in COLUMNS[:4])), start=1):
        if fault:
            raise ValueError(f"{path}: row {row}: {fault}")
    return frame


def row_fault(
    material_id: object, space_group: object, elements: object, letters: object
) -> str | None:
    """Why the fields of a row cannot be a representation, not even a formally invalid one; None if they can."""
    if not isinstance(material_id, str):
        return f"its material_id is {material_id!r}, no text"
    # one null makes floats of a whole column
    if not isinstance(space_group, int | float) or space_group not in range(1, 231):
        return f"there is no space group {space_group!r}"
    for name, values in (("elements", elements), ("wyckoff_letters", letters)):
        if not isinstance(values, np.ndarray) or not all(isinstance(v, str) for v in values):
            return f"`{name}` is no list of names"
    if len(elements) != len(letters):
        return f"{len(elements)} elements on {len(letters)} sites"
    return None


def read_rows(path: str | Path) -> pd.DataFrame:
    """As `read_representations`, whatever the rows hold."""
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # pyarrow and pandas have several kinds
        raise ValueError(f"{path} is not a Parquet file, or only a part of one: {error}") from error
    if missing := [column for column in COLUMNS if column not in frame]:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}: not a table of Wyckoff representations; "
            "`wyk represent` makes one from crystals"
        )
    return frame


def write_samples(
    out: str | Path, table: pd.DataFrame, rejected: pd.DataFrame | None = None
) -> None:
    """Write samples as Parquet, and those that are formally invalid, if any, to `OUT.rejected.csv` beside it."""
    sidecar = Path(out).with_suffix(".rejected.csv")
    with writing(out) as temporary:
        write_representations(temporary, table)
        if rejected is None or rejected.empty:
            sidecar.unlink(missing_ok=True)
        else:
            lists = rejected[["elements", "wyckoff_letters"]].map(" ".join)
            columns = rejected[["material_id", "space_group", "reason"]].join(lists)
            with writing(sidecar) as file:
                columns.to_csv(file, index=False)

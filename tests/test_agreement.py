"""Our representations beside pyXtal's own, of a few crystals; `make bench-long` compares 10,000."""

import csv
import gzip

import pytest
from agreement import by_pyxtal, difference
from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY

from wyk.crystals.representation import WyckoffRepresentation, from_structure
from wyk.files.cells import parse
from wyk.files.readers import Record

FEW = 60


def agreeing(structures) -> int:
    """How many agree; none may differ by anything but the group, which can hang on the tolerance."""
    kinds = [difference(from_structure(s), *by_pyxtal(s)) for s in structures]
    assert set(kinds) <= {None, "space group"}
    return kinds.count(None)


def test_prototypes():
    structures = [entry["snl"].structure for entry in AFLOW_PROTOTYPE_LIBRARY[:: 288 // FEW]]
    readable = [s for s in structures if _is_crystal(s)]
    assert agreeing(readable) >= 0.95 * len(readable) > 0.9 * FEW


def _is_crystal(structure) -> bool:
    try:
        return bool(from_structure(structure))
    except ValueError:
        return False


def test_real_crystals(official):
    with gzip.open(official / "mp_20_biternary/test.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))[:: 7118 // FEW]
    assert agreeing(parse(Record("", "", row["cif"], "cif")) for row in rows) >= 0.98 * len(rows)


@pytest.mark.parametrize(
    ("group", "letters", "dof", "kind"),
    [
        (136, "af", 1, None),
        (136, "bf", 1, None),  # the other choice of the origin
        (136, "ag", 1, None),  # and of the axes
        (136, "ad", 0, "letters"),
        (136, "ae", 1, "letters"),
        (135, "af", 1, "space group"),
        (136, "af", 2, "multiplicities or degrees of freedom"),
    ],
)
def test_the_comparison_sees_what_differs(group, letters, dof, kind):
    rutile = WyckoffRepresentation(136, ("Ti", "O"), ("a", "f"))
    theirs = WyckoffRepresentation(group, ("Ti", "O"), tuple(letters))
    assert difference(rutile, theirs, [("O", 4, dof), ("Ti", 2, 0)]) == kind

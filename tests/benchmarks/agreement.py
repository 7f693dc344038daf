"""Our representations beside those that pyXtal itself finds, of 10,000 real crystals of MP-20 binary & ternary.

For each crystal: the space group; where it is the same, elements and Wyckoff letters up to normalizer variants; and
multiplicity and free coordinates of each site, which pyXtal gives by its own tables. Where the groups differ, which of
them the data set's column `spacegroup.number` has, and whether spglib's group hangs on the tolerance.
Prints one JSON object, and writes it to `figures/benchmarks/agreement.json`. Takes some six minutes of a core.
"""

import os
import sys
import warnings
from collections import Counter
from itertools import chain, islice

os.environ["OMP_NUM_THREADS"] = "1"

import spglib
from publish import publish
from pymatgen.core import Structure
from pyxtal import pyxtal
from tqdm import tqdm

from wyk.crystals import ANGLE_TOLERANCE, SYMPREC
from wyk.crystals.representation import WyckoffRepresentation, from_structure
from wyk.files import sources
from wyk.files.cells import parse
from wyk.files.readers import Record, Rejected
from wyk.plumbing.workers import Failed, in_order

SOURCES = ("mp_20_biternary:val", "mp_20_biternary:test")
ROWS, JOBS, TIME_LIMIT = 10_000, 2, 120
NEAR = (0.05, 0.07, 0.14, 0.2)  # Å; a crystal whose group differs among these is close to another
Sites = list[tuple[str, int, int]]


def by_pyxtal(structure: Structure) -> tuple[WyckoffRepresentation, Sites]:
    """What pyXtal finds, and element, multiplicity and free coordinates of its sites, sorted."""
    crystal = pyxtal()
    crystal.from_seed(structure, tol=SYMPREC, a_tol=ANGLE_TOLERANCE)
    elements = tuple(str(site.specie) for site in crystal.atom_sites)
    positions = [site.wp for site in crystal.atom_sites]
    representation = WyckoffRepresentation(
        crystal.group.number, elements, tuple(wp.letter for wp in positions)
    )
    sizes = [(wp.multiplicity, wp.get_dof()) for wp in positions]
    return representation, sorted((e, *size) for e, size in zip(elements, sizes, strict=True))


def difference(
    ours: WyckoffRepresentation, theirs: WyckoffRepresentation, sites: Sites
) -> str | None:
    """The first thing in which two representations differ, None if they are the same crystal."""
    if ours.space_group != theirs.space_group:
        return "space group"
    if ours.fingerprint() != theirs.fingerprint():
        return "letters"
    own = sorted(zip(ours.elements, ours.multiplicities, ours.dof, strict=True))
    return None if own == sites else "multiplicities or degrees of freedom"


def judge(item: Record | Rejected) -> Counter:
    """How one row compares, as counts."""
    if isinstance(item, Rejected):
        return Counter({f"rejected: {item.reason}": 1})
    structure = parse(item)
    try:
        ours = from_structure(structure)
    except ValueError as error:
        return Counter({f"rejected: {error}": 1})
    theirs, sites = by_pyxtal(structure)
    kind = difference(ours, theirs, sites)
    found = Counter({"compared": 1, f"differing: {kind}" if kind else "same": 1})
    if kind == "space group":
        groups = {"ours": ours.space_group, "pyxtal's": theirs.space_group}
        stated = item.extras.get("spacegroup.number")
        right = [name for name, group in groups.items() if group == stated] or ["neither"]
        found[f"groups differ, the data set has {right[0]}"] += 1
        found["groups differ, tolerance decides"] += hangs_on_tolerance(structure)
    return found


def hangs_on_tolerance(structure: Structure) -> bool:
    """Whether spglib finds several groups at the tolerances of NEAR."""
    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    return len({spglib.get_spacegroup(cell, each, ANGLE_TOLERANCE) for each in NEAR}) > 1


def main() -> None:
    warnings.simplefilter("ignore")
    n = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    rows = islice(chain.from_iterable(map(sources.records, SOURCES)), n)
    total = Counter()
    for _, result in tqdm(in_order(judge, rows, JOBS, TIME_LIMIT), total=n, disable=None):
        failed = isinstance(result, Failed)
        total += Counter({f"pyxtal failed: {result.reason}": 1}) if failed else result
    counts = {"rows": n} | dict(sorted(total.items()))
    publish("agreement", {"sources": list(SOURCES), "symprec": SYMPREC} | counts)


if __name__ == "__main__":
    main()

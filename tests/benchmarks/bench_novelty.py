"""Novelty of relaxed crystals, on one core, against pymatgen used plainly: read everything, compare equal formulas.

Candidates are the crystals of `runs/biternary_7k` or else `runs/quick`; references are the 14,258 of MP-20 binary &
ternary val and test where `data/` has them, else the embedded prototypes. Both ways have to agree on every candidate.
"""

import os
import time
import warnings
from collections import defaultdict

os.environ["OMP_NUM_THREADS"] = "1"

import pandas as pd
from publish import publish
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from wyk.files import datasets
from wyk.files.cells import parse
from wyk.files.readers import Record
from wyk.files.sources import records
from wyk.metrics import novelty
from wyk.plumbing import paths


def ours(cifs: list[str], sources: list[str]) -> list[bool]:
    """From texts of CIFs and names of data sets to which of the crystals are novel."""
    candidates = [parse(Record("", "", cif, "cif")) for cif in cifs]
    formulas = {candidate.composition.reduced_formula for candidate in candidates}
    known = [s for source in sources for _, s in datasets.structures(source, formulas)[0]]
    return novelty.novel(candidates, known).tolist()


def plain(cifs: list[str], sources: list[str]) -> list[bool]:
    """The same with pymatgen alone."""
    known, matcher = defaultdict(list), StructureMatcher()
    for source in sources:
        for record in records(source):
            structure = read(record)
            known[structure.composition.reduced_formula].append(structure)
    candidates = [read(Record("", "", cif, "cif")) for cif in cifs]
    return [
        not any(matcher.fit(each, other) for other in known[each.composition.reduced_formula])
        for each in candidates
    ]


def read(record: Record) -> Structure:
    reader = Structure.from_str
    return reader(record.text, fmt="cif") if record.format == "cif" else parse(record)


def inputs() -> tuple[list[str], list[str]]:
    """Texts of CIFs of a thousand candidates, and names of the data sets that they are compared with."""
    folders = [paths.run(name, "structures") for name in ("biternary_7k", "quick")]
    folder = next(f for f in folders if (f / "crystals.parquet").is_file())
    cifs = pd.read_parquet(folder / "crystals.parquet")["cif"].dropna().head(1000).tolist()
    sources = [f"mp_20_biternary:{split}" for split in ("val", "test")]
    if not (paths.DATA / "mp_20_biternary" / "test.csv.gz").is_file():
        sources = ["aflow"]
    return cifs, sources


def main() -> None:
    warnings.simplefilter("ignore")
    cifs, sources = inputs()
    result = {"candidates": len(cifs), "references": sources}
    answers = []
    for name, way in (("wyk", ours), ("pymatgen", plain)):
        start = time.process_time()
        answers.append(way(cifs, sources))
        result[f"seconds_{name}"] = round(time.process_time() - start, 2)
    assert answers[0] == answers[1]
    result["novel"] = sum(answers[0])
    result["ratio"] = round(result["seconds_pymatgen"] / result["seconds_wyk"], 1)
    publish("novelty", result)


if __name__ == "__main__":
    main()

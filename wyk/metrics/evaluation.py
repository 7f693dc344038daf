"""What ``wyk evaluate`` does: reads the files, has the metrics computed, writes them down."""

import json
import math
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from pymatgen.core import Structure

from wyk.common import IMPLAUSIBLE, STABLE, Estimate
from wyk.crystals import COLUMNS, WyckoffRepresentation, from_table, read_representations
from wyk.files import CrystalSet, datasets, readers
from wyk.likelihood import divergence
from wyk.metrics import distributions, sun
from wyk.metrics.registry import METRICS
from wyk.plumbing import writing
from wyk.relaxation import POTENTIAL
from wyk.stability import OPTIMISM, REFERENCE, Hull, reference_energies
from wyk.stability import judged as by_hull

FIRST = 1000  # crystals, about as many as the paper relaxed: distances and their floors depend on n
LIBRARIES = [
    "chgnet",
    "moyopy",
    "numpy",
    "pandas",
    "pymatgen",
    "pyxtal",
    "smact",
    "spglib",
    "torch",
]


def evaluate(
    samples: str,
    reference: str,
    out: str | Path,
    training: Sequence[str] = (),
    crystals: str | Path | None = None,
    hull: str | Path | None = None,
    likelihoods: str | Path | None = None,
    relax: bool = False,
    judged: str | Path | None = None,
    seed: int = 0,
    jobs: int = 1,
    read: Callable = datasets.read,
) -> dict:
    """Writes the metrics of a set of structures as JSON.

    Block `raw` is of the samples' representations, `relaxed` of crystals: those made of the first samples, or the
    samples themselves where they are crystals, as they stand. Where there are more than FIRST of these,
    `relaxed_first` is of the first FIRST alone.

    Args:
        samples, reference: what is judged, and the test set that distances are measured to; each
            anything `datasets.load` takes. Samples that cannot be read count as not valid; they are listed in
            `OUT.rejected.csv`, as are crystals without an energy. So do those that did not come into a Parquet of
            representations, and are listed beside it in its own `.rejected.csv`.
        out: path of the JSON file.
        training: training and validation sets. What is in them is not novel, and they are the real
            crystals whose distance to `reference` is the floor. Without them there is neither.
        crystals: folder of `structures.build`, made of the first samples.
        hull: table of `energies.reference` to judge crystals by; the shipped one if None.
        likelihoods: folder of tables of `likelihood.likelihood`, one Parquet per set, named by it.
        relax: whether samples that are crystals are relaxed before they are judged.
        judged: path of a Parquet of the crystals one by one: energy above the hull, unique, novel.
        seed: of bootstrap and floors.
        jobs: processes.
        read: `datasets.read`, or the same with a memory, for several evaluations.

    Returns:
        What the file says.

    Raises:
        ValueError, OSError: naming the file that cannot be read or written.
    """
    out = Path(out)
    with writing(out) as temporary:
        temporary.touch()  # a place that cannot be written is found before the work
        judge = Hull.load(hull or REFERENCE)
        given = None
        if crystals is None and not _is_bare(samples):  # read once, also for their coordinates
            given = CrystalSet.read(samples, jobs)
            generated, unread = given.table(), given.rejected
        else:
            generated, unread = read(samples, jobs)
        failures = len(unread) + _rejected(samples)
        test, *known = (datasets.known(source, jobs, read) for source in (reference, *training))
        known = [frame[list(COLUMNS)] for frame in known]
        known = pd.concat(known, ignore_index=True) if known else test[list(COLUMNS)].head(0)
        result = {"raw": distributions.raw(generated, test, known, known, seed, failures)}
        table, structures, found, failed, origin = None, [], [], [], None
        if crystals is not None:
            table, structures, found = _built(Path(crystals) / "crystals.parquet", judge, jobs)
            origin = "relaxed by wyk structures"
        elif given:
            table, structures, found, failed = _given(given, samples, judge, relax, jobs)
            origin = "relaxed by wyk evaluate" if relax else "as given"
        by_structure = not any(map(_is_bare, training))
        if table is not None:
            known_structures = _known_structures(training, structures) if by_structure else None
            table = sun.judged(table, structures, found, from_table(known), known_structures)
            sets = from_table(test), from_table(known)
            result["relaxed"] = sun.relaxed(table, found, *sets, seed)
            if len(table) > FIRST:
                result["relaxed_first"] = sun.relaxed(table.head(FIRST), found[:FIRST], *sets, seed)
            if judged:
                with writing(judged) as other:
                    table.to_parquet(other, index=False)
        if likelihoods:
            result["likelihood"] = divergence.summary(divergence.load(likelihoods), seed)
        if not training:
            for block in ("raw", "relaxed", "relaxed_first"):
                for metric in METRICS:
                    if "novel" in metric.needs:
                        result.get(block, {}).pop(metric.name, None)
        matcher = "StructureMatcher, default parameters"
        result["provenance"] = {
            "source": samples,
            "test_source": reference,
            "training_source": list(training),
            "samples": len(generated) + failures,
            "generator": _generator(samples),
            "test": len(test),
            "reference": len(known),
            "floor": len(known),
            "seed": seed,
            "crystals": origin,
            "novelty_raw": "Wyckoff fingerprint",
            "uniqueness_relaxed": matcher,
            "novelty_relaxed": matcher if by_structure else "Wyckoff fingerprint",
            "potential": POTENTIAL,
            "hull": origin and Path(hull or REFERENCE).name,
            "hull_optimism": OPTIMISM if origin and not hull else None,
            "stable": f"energy above hull < {STABLE} eV/atom",
            "implausible": f"energy above hull < {IMPLAUSIBLE} eV/atom",
            "versions": {library: version(library) for library in LIBRARIES},
        }
        datasets.write_rejected(out.with_suffix(".rejected.csv"), unread + failed)
        text = json.dumps(
            result, indent=2, ensure_ascii=False, allow_nan=False, default=Estimate.entry
        )
        temporary.write_text(text + "\n", encoding="utf-8")
    return json.loads(text)


def _is_bare(source: str) -> bool:
    """Whether a source holds representations alone."""
    return Path(source).suffix == ".parquet" and not readers.holds_crystals(source)


def _rejected(source: str) -> int:
    """How many samples were left out of a Parquet of representations, as formally invalid or not read."""
    sidecar = Path(source).with_suffix(".rejected.csv")
    return len(pd.read_csv(sidecar)) if _is_bare(source) and sidecar.is_file() else 0


def _generator(source: str) -> dict | None:
    """What a Parquet says of the model that made it."""
    return (
        pd.read_parquet(source, columns=[]).attrs or None
        if Path(source).suffix == ".parquet"
        else None
    )


Judged = tuple[pd.DataFrame, list[Structure | None], list[WyckoffRepresentation | None]]


def _built(path: Path, judge: Hull, jobs: int) -> Judged:
    """The crystals table of `structures.build`, judged by this hull, and its crystals."""
    table = read_representations(path)
    if missing := {"cif", "energy_per_atom", *sun.RELAXED} - set(table):
        raise ValueError(
            f"{path} has no column {', '.join(sorted(missing))}: not made by `wyk structures`"
        )
    texts = table["cif"].where(table["cif"].notna(), "")
    made = CrystalSet.of([readers.Record("", "", cif, "cif") for cif in texts], jobs, len(texts))
    return by_hull(table, judge), made.structures, made.representations


def _given(
    given: CrystalSet, source: str, judge: Hull, relax: bool, jobs: int
) -> tuple[pd.DataFrame, list, list, list[readers.Rejected]]:
    """Somebody's crystals: as `_built`, and those that have no energy.

    Args:
        relax: whether they are relaxed first; a crystal that cannot be is none.
    """
    there = [i for i, structure in enumerate(given.structures) if structure is not None]
    order = there + [i for i in range(len(given.names)) if given.structures[i] is None]
    structures = [given.structures[i] for i in there]
    results = (
        reference_energies.relaxed(structures, jobs)
        if relax
        else reference_energies.single_points(structures, jobs)
    )
    names = [given.names[i] for i in order]
    failed = [
        readers.Rejected(source, name, f"no energy: {result.reason}")
        for name, result in zip(names, results, strict=False)
        if result.reason
    ]
    nothing = [None] * (len(order) - len(there))
    formulas = [structure.composition.reduced_formula for structure in structures]
    values = [result.energy_per_atom for result in results] + [math.nan] * len(nothing)
    table = pd.DataFrame({"material_id": names} | judge.judge(formulas + nothing, values))
    found = [given.representations[i] for i in there]
    if relax:
        before = found
        structures = [result.structure for result in results]
        found = [sun.representation(structure) for structure in structures]
        table["converged"] = [result.converged for result in results] + [False] * len(nothing)
        kept = [_group(a) == _group(b) for a, b in zip(before, found, strict=True)]
        table["symmetry_kept"] = kept + [False] * len(nothing)
    return table, structures + nothing, found + nothing, failed


def _group(representation: WyckoffRepresentation | None) -> int | None:
    return representation and representation.space_group


def _known_structures(
    sources: Sequence[str], candidates: Sequence[Structure | None]
) -> list[Structure]:
    """The crystals of the training sets that a candidate could equal."""
    formulas = {c.composition.reduced_formula for c in candidates if c is not None}
    return [s for source in sources for _, s in datasets.structures(source, formulas)[0]]

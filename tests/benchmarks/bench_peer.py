"""Our model beside the authors' release: the same rows, the same seconds, the same core.

Each program learns from the 6,426 training rows of `biternary_7k` for 60 and for 180 s of one core, then says
how likely the rows of the official test split are, and generates. Prints a table, writes `peer.json` and
`peer.csv` to figures/benchmarks. `make bench-peer` installs the release beside this environment and calls this.

- `nll` is -log p of a test structure given its space group, nats: log p(element) + log p(site symmetry | element)
  + log p(enumeration | both) summed over its sites, and log p(STOP); the mean over random orders of the sites,
  the same number of orders for each program, and over the test rows, with the standard error of that mean.
- Seconds are processor seconds of a process that has one core and one thread: what else runs on the machine
  counts for little. The release's validation passes, its compilation of its data loader and its tokenisation
  are not counted; all that our training does is.
- `release` is its recipe for MP-20 (peer/theirs.py), in which every step sees all rows; `release, batches` the
  same recipe with mini-batches, which suit so few seconds better: it is the one to compare with.
- A sample is valid if our `WyckoffRepresentation.invalidity` finds nothing wrong with it.

A finished run of the release is kept in runs/benchmarks/peer, and used again by the same job.
"""

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from publish import write_json

from wyk.crystals.tables import from_table, read_representations
from wyk.plumbing import paths

HERE = Path(__file__).resolve().parent / "peer"
sys.path.insert(0, str(HERE))
import genes  # noqa: E402  (beside the programs that run in other environments)

EXPERIMENT = "biternary_7k"
ALONE = {
    "train.members": 1,
    "train.refit": False,
    "train.distil": None,
}  # the training rows alone, as the release
OURS = {  # seconds, and the changes of our settings that fill them
    60: ALONE | {"train.epochs": 8},
    180: ALONE | {"train.epochs": 24},
}
BATCH = 256  # of the release, structures: the best of 64, 128, 256, 512 on validation
ORDERS, SAMPLES, SEED = 5, 5000, 0

WORK = paths.RUNS / "benchmarks" / "peer"
PEER_PYTHON = WORK / "venv" / "bin" / "python"
PROGRAMS = {  # the settings each adds to the job
    "ours": {},
    "release": {"batch": None},
    "release, batches": {"batch": BATCH},
}


def main() -> None:
    if not PEER_PYTHON.is_file():
        sys.exit("the release is not installed; `make bench-peer` does that, and calls this")
    if hasattr(os, "sched_setaffinity"):  # one core for this process and all it starts
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    WORK.mkdir(parents=True, exist_ok=True)
    given = WORK / "genes.json"
    with paths.writing(given) as temporary:
        temporary.write_text(json.dumps(rows()))
    results = []
    for seconds, changes in OURS.items():
        for program, settings in PROGRAMS.items():
            print(f"== {program}, {seconds} s", file=sys.stderr, flush=True)
            shared = {"seconds": seconds, "orders": ORDERS, "samples": SAMPLES, "seed": SEED}
            if program == "ours":
                job = shared | {"experiment": EXPERIMENT, "changes": changes}
                result = run(Path(sys.executable), "ours.py", job, again=True)
                if not 0.9 < result["seconds"] / seconds < 1.05:
                    print(f"{result['seconds']:.0f} s: change the epochs in OURS", file=sys.stderr)
            else:
                digest = hashlib.sha256(given.read_bytes()).hexdigest()
                job = shared | settings | {"genes": str(given), "genes_sha256": digest}
                result = run(PEER_PYTHON, "theirs.py", job)
            results.append(summary(program, seconds, result))
            print(json.dumps(results[-1]), flush=True)
    tabulate(compare(results))


def rows() -> dict[str, list[dict]]:
    """The rows of each split as genes, checked: made representations again, they are the same sets."""
    result = {}
    for split in ("train", "val", "test"):
        table = read_representations(paths.run(EXPERIMENT, "represent") / f"{split}.parquet")
        representations = from_table(table)
        result[split] = [genes.to_gene(r) for r in representations]
        for gene, representation in zip(result[split], representations, strict=True):
            if not genes.same(genes.from_gene(gene), representation):
                raise ValueError(f"{split}: {representation} became {gene}")
    return result


def run(python: Path, script: str, job: dict, again: bool = False) -> dict:
    """The result of a job, from the last time if it and the script are the same and not to be run again."""
    text = json.dumps(job, indent=1)
    script_path = HERE / script
    name = hashlib.sha256((text + script_path.read_text()).encode()).hexdigest()[:12]
    job_path, result_path = (WORK / f"{name}.{kind}.json" for kind in ("job", "result"))
    if again or not result_path.is_file():
        job_path.write_text(text)
        command = [python, script_path, job_path, result_path]
        subprocess.run(list(map(str, command)), check=True)
    return json.loads(result_path.read_text())


def summary(program: str, seconds: int, result: dict) -> dict:
    """One row of the table."""
    if program != "ours":
        check(result)
    nll = result["nll"] if program == "ours" else result["nll"]["test"]
    valid = sum(genes.from_gene(gene).invalidity() is None for gene in result["genes"])
    row = {
        "program": program,
        "version": result["version"],
        "budget_s": seconds,
        "trained_s": round(result["seconds"], 1),
        "steps": result["steps"],
        "ms_per_step": round(1000 * result["seconds"] / result["steps"], 1),
        "weights": result["weights"],
        "nll": round(float(np.mean(nll)), 3),
        "nll_standard_error": round(float(np.std(nll, ddof=1) / len(nll) ** 0.5), 3),
        "nll_n": len(nll),
        "nll_orders": ORDERS,
        "samples_per_s": round(SAMPLES / result["seconds_sampling"]),
        "valid": valid,
        "valid_n": SAMPLES,
        "valid_share": round(valid / SAMPLES, 4),
        "torch": result["torch"],
    }
    if program != "ours":
        row["nll_val"] = round(float(np.mean(result["nll"]["val"])), 3)
        row["samples_per_s_with_decoding"] = round(SAMPLES / result["seconds_all"])
        row["check"] = result["check"]
    return row


def check(result: dict) -> None:
    """That the release read the very sets of positions that we have, and that its probabilities add up.

    Raises:
        ValueError: saying where not.
    """
    for split, sites in result["sites"].items():
        table = read_representations(paths.run(EXPERIMENT, "represent") / f"{split}.parquet")
        for theirs, row in zip(sites, table.itertuples(), strict=True):
            ours = zip(row.site_symmetries, row.enumerations, strict=True)
            if sorted((s, int(e)) for s, e in ours) != sorted((s, e) for s, e in theirs):
                raise ValueError(f"{split}: the release reads {row.material_id} as {theirs}")
    found = result["check"]
    if abs(found["total"] - 1) > 1e-4 or found["difference"] > 1e-3:
        raise ValueError(f"the release's probabilities do not add up to its likelihood: {found}")


def compare(results: list[dict]) -> list[dict]:
    """Each row with what ours is of it, at the same seconds."""
    ours = {row["budget_s"]: row for row in results if row["program"] == "ours"}
    compared = []
    for row in results:
        mine = ours[row["budget_s"]]
        compared.append(
            row
            | {
                f"ratio_{key}": round(mine[key] / row[key], 3) if row[key] else None
                for key in ("nll", "samples_per_s", "valid_share", "ms_per_step")
            }
        )
    return compared


def tabulate(table: list[dict]) -> None:
    """The table as JSON and CSV, and on the terminal."""
    folder = paths.figures("benchmarks")
    content = {"experiment": EXPERIMENT, "ratio": "ours / program", "rows": table}
    write_json(folder / "peer.json", content)
    columns = [key for key, value in table[0].items() if not isinstance(value, dict)]
    with paths.writing(folder / "peer.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)
    for row in table:
        print(
            f"{row['program']:17} {row['budget_s']:4} s  nll {row['nll']:.2f} ± "
            f"{row['nll_standard_error']:.2f}  {row['samples_per_s']:6} samples/s  "
            f"{row['valid']}/{row['valid_n']} valid  {row['ms_per_step']} ms/step"
        )


if __name__ == "__main__":
    main()

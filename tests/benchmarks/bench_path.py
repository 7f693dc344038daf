"""The whole path, step by step: what each costs beside a named alternative, and how the cost grows with n.

Inputs, alternatives and checks of results are those of the other bench_*.py; here are three sizes of each, in
processor seconds of one core, and the exponent b of seconds = a nᵇ fitted to them. The authors' release learns in
an environment of its own: what `make bench-peer` measured of it is taken from `figures/benchmarks/peer.json`.
Writes `figures/benchmarks/whole_path.{md,csv,png,svg}`.
"""

import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["OMP_NUM_THREADS"] = "1"

import bench_likelihood
import bench_novelty
import bench_relax
import bench_represent
import bench_sample
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from wyk.crystals.descriptors import VOCABULARY
from wyk.crystals.tables import from_table, read_representations
from wyk.files.cells import parse, represent_record
from wyk.likelihood import sequences as likelihood
from wyk.model import checkpoint
from wyk.model.tokenization import encode
from wyk.model.transformer import WyckoffTransformer
from wyk.plots import base as plots
from wyk.plumbing import params, paths
from wyk.relaxation import descent as relaxation
from wyk.sampling import samples as sampling
from wyk.training import fitting

SIZES = {
    "represent": (100, 200, 400),
    "train": (500, 1000, 2000),
    "sample": (2500, 5000, 10_000),
    "likelihood": (100, 200, 400),
    "relax": (5, 10, 20),
    "novelty": (250, 500, 1000),
}
NAMES = {  # what is done to n of what, and the alternative
    "represent": ("crystals, from a CIF to a representation", "pyXtal's from_seed"),
    "train": ("structures, one epoch of one network", "the authors' release"),
    "sample": ("samples", "a plain loop over the same model"),
    "likelihood": ("structures in 20 orders", "every step of every order by itself"),
    "relax": ("draws", "CHGNet's StructOptimizer"),
    "novelty": ("crystals, against all known ones", "pymatgen used plainly"),
}
Work = Callable[[int], object]


def works() -> dict[str, tuple[Work, Work | None]]:
    """Each step as a function of n, and the same by its alternative."""
    experiment = bench_sample.trained()
    model = checkpoint.load(paths.run(experiment, "train"))
    _, rows = bench_represent.chosen(max(SIZES["represent"]))
    structures = [parse(row) for row in rows]
    known = read_representations(paths.run(experiment, "represent") / "train.parquet")
    draws = [draw for _, draw in bench_relax.starts(max(SIZES["relax"]))]
    cifs, sources = bench_novelty.inputs()
    return {
        "represent": (
            lambda n: list(map(represent_record, rows[:n])),
            lambda n: list(map(bench_represent.from_seed, structures[:n])),
        ),
        "train": (lambda n: epoch(experiment, from_table(known.head(n))), None),
        "sample": (
            lambda n: sampling.sample(model, n),
            lambda n: bench_sample.plain(model, n, seed=0),
        ),
        "likelihood": (
            lambda n: likelihood.log_p(model, *bench_likelihood.orders(model, known.head(n))),
            lambda n: one_by_one(model, known.head(n)),
        ),
        "relax": (
            lambda n: relaxation.relax_all(draws[:n]),
            lambda n: list(map(bench_relax.stock, draws[:n])),
        ),
        "novelty": (
            lambda n: bench_novelty.ours(cifs[:n], sources),
            lambda n: bench_novelty.plain(cifs[:n], sources),
        ),
    }


def one_by_one(model: WyckoffTransformer, frame: pd.DataFrame) -> list[Tensor]:
    """Likelihoods of structures in one order after the other."""
    data, order = bench_likelihood.orders(model, frame)
    return [bench_likelihood.naive(model, data, one) for one in order.unbind(1)]


def epoch(experiment: str, rows: list) -> None:
    """One network of an experiment sees its structures once."""
    once = {"train.epochs": 1, "train.evaluate_every": 1}
    settings = params.experiment(experiment).changed(once)
    encoded = encode(rows, VOCABULARY, variants=len(rows))
    config = {"seed": 0} | fitting.of_data(rows)
    with TemporaryDirectory() as folder:
        fitting.fit(Fabric(devices=1), settings, encoded, None, Path(folder), config)


def measured() -> pd.DataFrame:
    """Columns `step`, `program` (wyk or the alternative), `n` and `seconds` of a processor."""
    table = []
    for step, pair in tqdm(works().items(), disable=None):
        for program, work in zip(("wyk", NAMES[step][1]), pair, strict=True):
            if work is None:
                continue
            work(min(SIZES[step]) // 4 or 1)  # loads what is loaded once
            for n in SIZES[step]:
                start = time.process_time()
                work(n)
                table.append((step, program, n, time.process_time() - start))
    return pd.DataFrame(table, columns=["step", "program", "n", "seconds"]).round(4)


def exponent(rows: pd.DataFrame) -> float:
    """The power of n that seconds grow with, by least squares on logarithms."""
    return np.polyfit(np.log(rows["n"]), np.log(rows["seconds"]), 1)[0]


def sooner() -> tuple[float, str]:
    """How many times sooner our model is better than the release at its best, at least; and the numbers behind it."""
    peer = json.loads((paths.figures("benchmarks") / "peer.json").read_text(encoding="utf-8"))
    rows = pd.DataFrame(peer["rows"])
    ours = rows["program"] == "ours"
    best = rows[~ours].nsmallest(1, "nll").iloc[0]
    first = rows[ours & (rows["nll"] < best["nll"])].nsmallest(1, "budget_s").iloc[0]
    told = [f"{row['nll']:.2f} nats after {row['budget_s']:g} s" for row in (first, best)]
    return best["budget_s"] / first["budget_s"], f"{told[0]} against {told[1]}"


def markdown(table: pd.DataFrame) -> str:
    """One row for each step: costs at the largest n, their ratio, and how both grow."""
    lines = [
        "| step | n | wyk, s | alternative | its s | times as fast | cost grows as | the alternative's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for step, (what, other) in NAMES.items():
        rows = dict(iter(table[table["step"] == step].groupby("program")))
        ours, theirs = rows["wyk"], rows.get(other)
        last = ours.iloc[-1]
        if theirs is None:
            ratio, text = sooner()
            compared = [text, f"≥ {ratio:.1f}", f"n^{exponent(ours):.2f}", "–"]
        else:
            slow = theirs.iloc[-1]["seconds"]
            compared = [f"{slow:.2f}", f"{slow / last['seconds']:.1f}"]
            compared += [f"n^{exponent(each):.2f}" for each in (ours, theirs)]
        cells = [step, f"{last['n']:,} {what}", f"{last['seconds']:.2f}", other, *compared]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Processor seconds of one core; what is loaded once, weights and tables, is not counted.",
    ]
    return "\n".join(lines) + "\n"


def growth(table: pd.DataFrame) -> Figure:
    """Seconds against n, a panel for each step."""
    with plt.rc_context(plots.STYLE):
        figure, panels = plt.subplots(3, 2, figsize=(2 * plots.WIDTH, 6))
        for axes, (step, (what, other)) in zip(panels.flat, NAMES.items(), strict=True):
            looks = {"wyk": (plots.DARK, "o-"), other: (plots.MIDDLE, "s--")}
            for program, rows in table[table["step"] == step].groupby("program", sort=False):
                colour, line = looks[program]
                label = f"{program}: n^{exponent(rows):.2f}"
                axes.loglog(rows["n"], rows["seconds"], line, color=colour, label=label)
            axes.set(title=step, xlabel=f"n {what}", ylabel="processor seconds")
            axes.set_xticks(SIZES[step], [f"{n:,}" for n in SIZES[step]], minor=False)
            axes.minorticks_off()
            axes.set_ylim(top=10 * axes.get_ylim()[1])  # room for the legend
            axes.legend(loc="upper left")
    return plots.closed(figure)


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    table = measured()
    out = paths.figures("benchmarks") / "whole_path"
    texts = {".csv": table.to_csv(index=False), ".md": markdown(table)}
    for suffix, text in texts.items():
        with paths.writing(out.with_suffix(suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    plots.write(growth(table), out, "tests/benchmarks/bench_path.py")
    print(texts[".md"])


if __name__ == "__main__":
    main()

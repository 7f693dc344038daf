"""Figures of crystals: how they are made, whether real ones are found again, how stable new ones are."""

from itertools import cycle
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from pymatgen.core import Structure

from wyk.baselines import BASELINES
from wyk.common import FOUND, STABLE, Estimate
from wyk.crystals import read_cif
from wyk.metrics import PAPER
from wyk.plots.base import DARK, LIGHT, MIDDLE, STYLE, WIDTH, balls, closed, draw_cell, name
from wyk.plumbing import figures, run, writing

FLOOR = 1e-3  # eV/atom: below it, curves of energy end
SHOWN = (-0.4, 0.8)  # eV/atom above the hull that are drawn
STEPS = 240  # between them
# Stable ones among novel crystals: S.U.N. by novelty; hull of the Materials Project.
PAPER_STABLE = {
    name: PAPER[name]["sun"] / PAPER[name]["novelty"] for name in ("WyckoffTransformer", "WyCryst")
}


def steps(crystals: dict[str, Structure]) -> Figure:
    """The cells that a crystal goes through on the way to its lowest energy, side by side.

    Args:
        crystals: title → crystal; all of the same elements.
    """
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, len(crystals), figsize=(WIDTH, 2.4))
        for axes, (title, structure) in zip(panels, crystals.items(), strict=True):
            cell = draw_cell(axes, structure)
            a, b, c = cell.lattice.abc
            axes.set_title(f"{title}\n{a:.1f}, {b:.1f}, {c:.1f} Å", fontsize=7)
        figure.legend(handles=balls(cell), loc="outside lower center", ncols=4)
    return closed(figure)


def as_cifs(crystals: dict[str, Structure]) -> pd.DataFrame:
    """Columns `title` and `cif`, without symmetry."""
    texts = [structure.to(fmt="cif") for structure in crystals.values()]
    return pd.DataFrame({"title": list(crystals), "cif": texts})


def descent(table: pd.DataFrame) -> Figure:
    """Energy against force calls, for two relaxers from the same starts.

    Args:
        table: columns `start`, `relaxer`, `call` (from 1) and `energy` (eV/atom).
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 2.4))
        looks = zip(table["relaxer"].unique(), (DARK, MIDDLE), ("-", "--"), strict=True)
        lowest = table.groupby("start")["energy"].transform("min")
        table = table.assign(above=(table["energy"] - lowest).clip(lower=FLOOR))
        for relaxer, colour, line in looks:
            label = relaxer
            for _, rows in table[table["relaxer"] == relaxer].groupby("start"):
                axes.plot(
                    rows["call"], rows["above"], line, color=colour, linewidth=0.8, label=label
                )
                axes.plot(rows["call"].iloc[-1], rows["above"].iloc[-1], "o", color=colour, ms=3)
                label = None
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="force calls",
            ylabel="energy above the lowest, eV/atom",
        )
        axes.xaxis.set_major_formatter("{x:g}")
        figure.legend(loc="outside upper left", ncols=2)
    return closed(figure)


def recovery(table: pd.DataFrame) -> Figure:
    """Share of real crystals found again against the number of draws.

    Args:
        table: of `summaries.recovery`.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 2.6))
        everything = table[table["free_numbers"] == "all"]
        axes.fill_between(
            everything["draws"], everything["low"], everything["high"], color=LIGHT, linewidth=0
        )
        looks = zip(
            table["free_numbers"].unique(),
            ("black", DARK, DARK, MIDDLE, MIDDLE),
            ("-", "--", ":", "-.", ":"),
            ("o", "s", "^", "D", "v"),
            strict=False,
        )
        for label, colour, line, marker in looks:
            rows = table[table["free_numbers"] == label]
            axes.plot(
                rows["draws"], rows["found"], color=colour, linestyle=line, marker=marker,
                markersize=3, linewidth=1.6 if label == "all" else 0.9,
                label=f"{label} (n = {rows['n'].iloc[0]})",
            )  # fmt: skip
        axes.set(
            ylim=(0, 1.02),
            xlabel="draws",
            ylabel=f"found again, within {FOUND} eV/atom",
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(title="free numbers", loc="lower right", ncols=2, fontsize=6)
    return closed(figure)


def of_baselines(experiment: str) -> dict[str, pd.DataFrame]:
    """The crystals of each baseline of an experiment one by one, by its label."""
    judged = {b.label: run(experiment, b.judged) for b in BASELINES.values()}
    return {label: pd.read_parquet(path) for label, path in judged.items()}


def stability_table(groups: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """How far above the hull novel crystals are, cumulated.

    Args:
        groups: name → crystals, of `sun.judged`.

    Returns:
        Columns `crystals` (the name), `e_above_hull` (eV/atom, the same values for each), `share` of the novel
        crystals up to it, and `n`, the number of novel crystals.
    """
    grid = np.linspace(*SHOWN, STEPS + 1).round(6)
    parts = []
    for label, crystals in groups.items():
        new = crystals[crystals["novel"]]
        energies = np.sort(new["e_above_hull"])  # NaN, no energy, comes last
        below = np.searchsorted(energies, grid, side="right")
        columns = {"e_above_hull": grid, "share": below / max(len(new), 1), "n": len(new)}
        parts.append(pd.DataFrame({"crystals": label} | columns))
    return pd.concat(parts, ignore_index=True)


def stability(table: pd.DataFrame) -> Figure:
    """How far above the hull novel crystals are (paper, Figures 7 and 10), cumulated.

    Args:
        table: of `stability_table`.
    """
    looks = [("black", "-"), (DARK, "--"), (DARK, ":")]
    looks += [(MIDDLE, "-"), (MIDDLE, "-."), ("gray", "-"), ("gray", "--"), ("black", ":")]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 2.9))
        groups = table.groupby("crystals", sort=False)
        for (label, rows), (colour, line) in zip(groups, cycle(looks), strict=False):
            axes.plot(
                rows["e_above_hull"], rows["share"], line, color=colour, linewidth=1.2,
                label=f"{label} (n = {rows['n'].iloc[0]:,})",
            )  # fmt: skip
        axes.axvline(STABLE, color="gray", linewidth=0.8)
        axes.text(STABLE, 0.02, f" {STABLE} eV/atom", color="gray")
        for (model, share), marker in zip(PAPER_STABLE.items(), "DX", strict=True):
            look = {"color": "gray", "markeredgecolor": "black"}
            axes.plot(STABLE, share, marker, label=f"paper: {model}", **look)
        axes.set(
            xlim=SHOWN,
            ylim=(0, 1),
            xlabel="energy above hull, eV/atom",
            ylabel="novel crystals, cumulated",
        )
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(loc="outside upper left", ncols=2, columnspacing=1, fontsize=6)
    return closed(figure)


def sun_table(block: dict) -> pd.DataFrame:
    """Shares of stable crystals as a table to read; ranges are 95% intervals.

    Args:
        block: `relaxed` of metrics.json.
    """
    rows = {
        "converged": "converged",
        "symmetry kept": "symmetry_kept",
        "chemical system in the hull": "hull_coverage",
        "implausibly low": "implausible",
        "stable": "stable",
        "stable, plausible": "stable_plausible",
        "S.U.N.": "sun",
        "S.U.N., plausible": "sun_plausible",
        "symmetric S.U.N.": "ssun",
        "symmetric S.U.N., plausible": "ssun_plausible",
    }
    entries = [Estimate.of(block[key]) for key in rows.values()]
    shares = [entry.text(".1%") for entry in entries]
    counts = [f"{entry.numerator} of {entry.denominator}" for entry in entries]
    return pd.DataFrame({"share": shares, "count": counts}, index=list(rows))


def best(crystals: pd.DataFrame, n: int) -> pd.DataFrame:
    """The n most stable crystals that are new and can be judged, lowest first: no holes in the hull, no failures."""
    usable = (
        crystals["novel"]
        & crystals["converged"]
        & crystals["hull_covered"]
        & ~crystals["implausible"]
    )
    return named(crystals[usable].nsmallest(n, "e_above_hull"))


def named(crystals: pd.DataFrame) -> pd.DataFrame:
    """The crystals with a column `name`: formula and space group, "–" where there is no crystal."""
    cifs = crystals["cif"]
    return crystals.assign(name=[name(read_cif(c)) if isinstance(c, str) else "–" for c in cifs])


def listing(crystals: pd.DataFrame) -> pd.DataFrame:
    """A table of crystals to read: name, energies and file of each, or why there is none.

    Args:
        crystals: as `structures.build` gives them, with the columns of `named`, `unique`, and `novel` if known.
    """
    rows = []
    for row in crystals.itertuples():
        made = isinstance(row.cif, str)
        rows.append(
            {
                "crystal": row.name,
                "asked for": row.space_group,
                "found": row.space_group_found if made else "–",
                "above hull, eV/atom": f"{row.e_above_hull:+.3f}" if made else "–",
                "hull": "knows the system" if row.hull_covered else "lacks the system",
                "energy, eV/atom": f"{row.energy_per_atom:.3f}" if made else "–",
                "seen before": _seen(row) if made else "–",
                "CIF": f"{row.material_id}.cif" if made else row.reason,
            }
        )
    return pd.DataFrame(rows)


def _seen(row: NamedTuple) -> str:
    if not row.unique:
        return "in this batch"
    if not hasattr(row, "novel"):
        return "not in this batch"
    return "no" if row.novel else "in the training data"


def save_cifs(crystals: pd.DataFrame, experiment: str, folder: str) -> None:
    """Writes ``figures/<experiment>/<folder>/<material_id>.cif`` of each crystal."""
    for material_id, cif in crystals[["material_id", "cif"]].itertuples(index=False):
        with writing(figures(experiment) / folder / f"{material_id}.cif") as temporary:
            temporary.write_text(cif, encoding="utf-8")


def titled(crystals: pd.DataFrame) -> list[tuple[str, Structure]]:
    """Crystals with name and energy above the hull, as `viewer.Turnable` takes them; arguments as in `gallery`."""
    made = crystals.dropna(subset="cif")
    return [
        (f"{r.name}, {r.e_above_hull:+.3f} eV/atom", read_cif(r.cif)) for r in made.itertuples()
    ]


def gallery(crystals: pd.DataFrame) -> Figure:
    """Pictures of crystals, two in a row, with formula, space group and energy above hull.

    Args:
        crystals: columns `cif`, `name` and `e_above_hull`; rows without a crystal are left out.
    """
    crystals = crystals.dropna(subset="cif")
    columns, rows = 2, max(1, -(-len(crystals) // 2))
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(rows, columns, figsize=(WIDTH, 1.8 * rows), squeeze=False)
        for axes in panels.flat:
            axes.axis("off")
        for axes, row in zip(panels.flat, crystals.itertuples(), strict=False):
            cell = draw_cell(axes, read_cif(row.cif))
            axes.set_title(f"{row.name}\n{row.e_above_hull:+.3f} eV/atom".replace("-0", "−0"))
            axes.legend(
                handles=balls(cell), loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3,
                handletextpad=0, columnspacing=0.5, fontsize=6,
            )  # fmt: skip
    return closed(figure)

"""Figures of crystals: how they are made, whether real ones are found again, how stable new ones are."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from pymatgen.core import Structure

from wyk.drawing import TIERS
from wyk.plots import DARK, LIGHT, MIDDLE, STYLE, WIDTH, balls, closed, draw_cell, name
from wyk.recovery import FOUND, found
from wyk.stability import STABLE
from wyk.statistics import wilson
from wyk.structures import read_cif

FLOOR = 1e-3  # eV/atom: below it, curves of energy end
SHOWN = (-0.4, 0.8)  # eV/atom above the hull that are drawn
# Stable ones among novel crystals of WyckoffTransformer: S.U.N. by novelty, Table 1, binary & ternary half; hull of
# the Materials Project.
PAPER_STABLE = 0.387 / 0.89


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


def recovery_table(table: pd.DataFrame) -> pd.DataFrame:
    """Share of real crystals that so many draws find, for all of them and by their free numbers.

    Args:
        table: of `recovery.recover`.

    Returns:
        Columns `free_numbers` ("all", "1 to 3", …), `draws`, `found` (share), `low` and `high` (95% interval), `n`.
    """
    hits = found(table)
    free = table["free_numbers"].to_numpy()
    edges = [0, *TIERS, np.inf]
    groups = {"all": free > 0}
    for low, high in pairwise(edges):
        label = f"{low + 1} to {high}" if np.isfinite(high) else f"{low + 1} and more"
        groups[label] = (free > low) & (free <= high)
    rows = []
    for label, chosen in groups.items():
        n = int(chosen.sum())
        for k in range(hits.shape[1] if n else 0):
            count = int(hits[chosen, k].sum())
            low, high = wilson(count, n)
            rows.append((label, k + 1, count / n, low, high, n))
    return pd.DataFrame(rows, columns=["free_numbers", "draws", "found", "low", "high", "n"])


def recovery(table: pd.DataFrame) -> Figure:
    """Share of real crystals found again against the number of draws.

    Args:
        table: of `recovery_table`.
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


def stability_table(crystals: pd.DataFrame) -> pd.DataFrame:
    """How far above the hull novel crystals are, cumulated, for all and by what the hull knows of their elements.

    Args:
        crystals: of `sun.relaxed`.

    Returns:
        Columns `hull` ("covered", "not covered", "all"), `e_above_hull` (eV/atom, rising), `share` of the novel
        crystals up to it, and `n`, the number of novel crystals.
    """
    new = crystals[crystals["novel"]]
    groups = {
        "all": new,
        "covered": new[new["hull_covered"]],
        "not covered": new[~new["hull_covered"]],
    }
    parts = [
        pd.DataFrame(
            {
                "hull": label,
                "e_above_hull": np.sort(rows["e_above_hull"]),  # NaN, no energy, comes last
                "share": np.arange(1, len(rows) + 1) / max(len(rows), 1),
                "n": len(rows),
            }
        )
        for label, rows in groups.items()
    ]
    return pd.concat(parts, ignore_index=True)


def stability(table: pd.DataFrame) -> Figure:
    """How far above the hull novel crystals are (paper, Figures 7 and 10), cumulated.

    Args:
        table: of `stability_table`.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 2.5))
        looks = {"all": ("black", "-"), "covered": (DARK, "--"), "not covered": (MIDDLE, ":")}
        for label, rows in table.groupby("hull"):
            colour, line = looks[label]
            axes.step(
                rows["e_above_hull"], rows["share"], where="post", color=colour, linestyle=line,
                label=f"{label} (n = {len(rows)})",
            )  # fmt: skip
        axes.axvline(STABLE, color="gray", linewidth=0.8)
        axes.axhline(PAPER_STABLE, color="gray", linewidth=0.8, linestyle="-.")
        axes.text(SHOWN[1], PAPER_STABLE, "paper", ha="right", va="bottom", color="gray")
        axes.text(STABLE, 0.02, f" {STABLE} eV/atom", color="gray")
        axes.set(
            xlim=SHOWN,
            ylim=(0, 1),
            xlabel="energy above hull, eV/atom",
            ylabel="novel crystals, cumulated",
        )
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        figure.legend(loc="outside upper left", ncols=2, title="chemical system in the hull")
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
    entries = {label: block[key] for label, key in rows.items()}
    shares = [
        f"{e['value']:.1%} ({e['interval'][0]:.1%} to {e['interval'][1]:.1%})"
        for e in entries.values()
    ]
    counts = [f"{e['numerator']} of {e['denominator']}" for e in entries.values()]
    return pd.DataFrame({"share": shares, "count": counts}, index=list(rows))


def best(crystals: pd.DataFrame, n: int) -> pd.DataFrame:
    """The n most stable crystals that are new and can be judged, lowest first: no holes in the hull, no failures."""
    usable = (
        crystals["novel"]
        & crystals["converged"]
        & crystals["hull_covered"]
        & ~crystals["implausible"]
    )
    return crystals[usable].nsmallest(n, "e_above_hull")


def listing(crystals: pd.DataFrame) -> pd.DataFrame:
    """Crystals as a table to read."""
    return pd.DataFrame(
        {
            "crystal": [name(read_cif(cif)) for cif in crystals["cif"]],
            "asked for, group": crystals["space_group"].to_numpy(),
            "found": crystals["space_group_found"].to_numpy(),
            "above hull, eV/atom": crystals["e_above_hull"].round(3).to_numpy(),
            "energy, eV/atom": crystals["energy_per_atom"].round(3).to_numpy(),
            "draws": crystals["draws"].to_numpy(),
            "CIF": [f"{material_id}.cif" for material_id in crystals["material_id"]],
        }
    )


def gallery(crystals: pd.DataFrame) -> Figure:
    """Pictures of crystals, two in a row, with formula, space group and energy above hull.

    Args:
        crystals: columns `cif` and `e_above_hull`.
    """
    columns, rows = 2, max(1, -(-len(crystals) // 2))
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(rows, columns, figsize=(WIDTH, 1.8 * rows), squeeze=False)
        for axes in panels.flat:
            axes.axis("off")
        for axes, row in zip(panels.flat, crystals.itertuples(), strict=False):
            cell = draw_cell(axes, read_cif(row.cif))
            axes.set_title(f"{name(cell)}\n{row.e_above_hull:+.3f} eV/atom".replace("-0", "−0"))
            axes.legend(
                handles=balls(cell), loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3,
                handletextpad=0, columnspacing=0.5, fontsize=6,
            )  # fmt: skip
    return closed(figure)

"""Figures and tables of where relaxations start: draws of pyXtal beside draws of the diffusion."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from wyk.common import FOUND, Estimate
from wyk.plots.base import DARK, MIDDLE, STYLE, WIDTH, closed
from wyk.plots.of_crystals import sun_table
from wyk.plumbing import figures

NAMES = {"pyxtal": "pyXtal", "diffusion": "diffusion"}
# DiffCSP++ on all of MP-20 with the true representation (Jiao et al., ICLR 2024, Table 2), one draw.
PUBLISHED = 0.8027


def starts(table: pd.DataFrame) -> Figure:
    """One draw of real crystals: how many match before relaxing, and are found by it, by what is free in them.

    Args:
        table: of `matching.summary`.
    """
    once = table[table["draws"] == 1]
    groups = list(once["free_numbers"].unique())
    ticks = [f"{g}\n(n = {once.loc[once['free_numbers'] == g, 'n'].iloc[0]})" for g in groups]
    looks = {
        ("pyxtal", "loose"): ("as drawn", "white", MIDDLE, "v"),
        ("pyxtal", "loosened"): ("without clashes", MIDDLE, MIDDLE, "^"),
        ("diffusion", "loose"): ("as drawn", "white", DARK, "o"),
        ("diffusion", "loosened"): ("without clashes", DARK, DARK, "s"),
    }
    with plt.rc_context(STYLE):
        figure, (matched, found) = plt.subplots(2, 1, figsize=(WIDTH, 5.2), sharex=True)
        for index, ((start, share), (label, face, edge, marker)) in enumerate(looks.items()):
            rows = once[once["start"] == start]
            where = np.arange(len(rows)) + (index - 1.5) * 0.16
            _dots(matched, where, rows, share, f"{NAMES[start]}, {label}", face, edge, marker)
        for index, (start, edge, marker) in enumerate(
            (("pyxtal", MIDDLE, "^"), ("diffusion", DARK, "s"))
        ):
            rows = once[once["start"] == start]
            where = np.arange(len(rows)) + (index - 0.5) * 0.2
            _dots(found, where, rows, "found", NAMES[start], edge, edge, marker)
        matched.axhline(
            PUBLISHED,
            color="gray",
            linewidth=0.8,
            linestyle=":",
            label="DiffCSP++, MP-20, published",
        )
        found.set_xlabel("free numbers")
        matched.set_title("match the real crystal before relaxing")
        found.set_title(f"relax to within {FOUND} eV/atom of it")
        for axes in (matched, found):
            axes.set_xticks(range(len(groups)), ticks, fontsize=6.5)
            axes.set(ylim=(0, 1.02), ylabel="crystals, one draw")
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        handles, labels = matched.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=6.5)
    return closed(figure)


def _dots(axes, where, rows: pd.DataFrame, share: str, label: str, face, edge, marker) -> None:
    """Shares with their 95% intervals."""
    value = rows[share].to_numpy()
    error = np.abs(rows[[f"{share}_low", f"{share}_high"]].to_numpy().T - value)
    axes.errorbar(
        where, value, error, label=label, linestyle="none", marker=marker, markersize=4,
        color=edge, markerfacecolor=face, elinewidth=0.8,
    )  # fmt: skip


def draw_times(timed: dict) -> str:
    """How long a draw takes from either start, as a sentence.

    Args:
        timed: content of `figures/benchmarks/starts.json`.
    """
    return (
        f"A draw takes {timed['seconds']:.2f} s of one core from the diffusion, {timed['seconds_pyxtal']:.2f} s from "
        f"pyXtal (means of {timed['n']} representations, `tests/benchmarks/bench_starts.py`)."
    )


def match_table(table: pd.DataFrame) -> pd.DataFrame:
    """Shares and means over all crystals as a table to read; ranges are 95% intervals.

    Args:
        table: of `matching.summary`.
    """
    everything = table[table["free_numbers"] == "all"]
    labels = {
        "loose": "match, DiffCSP's settings",
        "default": "match, pymatgen's settings",
        "loosened": "match once clashes are gone, DiffCSP's settings",
        "found": f"relax to within {FOUND} eV/atom",
        "kept": "keep their group (of relaxed draws)",
    }
    columns = {}
    for row in everything.to_dict("records"):
        shares = {label: Estimate.from_row(row, key).text(".1%") for key, label in labels.items()}
        columns[f"{NAMES[row['start']]}, {row['draws']} draw{'s' * (row['draws'] > 1)}"] = (
            shares
            | {
                "mean distance of matches, DiffCSP's settings": f"{row['loose_rms']:.3f}",
                "mean distance of matches, pymatgen's settings": f"{row['default_rms']:.3f}",
                "force calls of a draw": f"{row['calls']:.1f}",
                "crystals": str(row["n"]),
            }
        )
    return pd.DataFrame(columns)


def sun_columns(experiment: str) -> pd.DataFrame:
    """How stable crystals are that the first samples became from each start; ranges are 95% intervals.

    Args:
        experiment: whose `metrics.json`, `metrics_diffusion.json` and `metrics_mixed.json` are compared.
    """
    columns = {}
    for name, file in (
        ("pyXtal", "metrics"),
        ("diffusion", "metrics_diffusion"),
        ("mixed", "metrics_mixed"),
    ):
        metrics = json.loads((figures(experiment) / f"{file}.json").read_text("utf-8"))
        block = (
            metrics.get("relaxed_first" if file == "metrics" else "relaxed") or metrics["relaxed"]
        )
        n = block["sun"]["denominator"]
        columns[name] = pd.concat([pd.Series({"crystals": f"{n:,}"}), sun_table(block)["share"]])
    return pd.DataFrame(columns)

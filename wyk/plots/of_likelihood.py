"""Figures of likelihoods and of the temperature, the paper's values beside ours."""

from operator import itemgetter

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from wyk.likelihood import PAPER, TABLE_2
from wyk.plots.base import DARK, LIGHT, MIDDLE, STYLE, WIDTH, closed

FEW = 5  # samples: a mean of fewer is not drawn
MOST = 0.99  # of the samples: numbers of sites beyond these are not drawn
LOOK = {  # of each set: label, colour, line
    "test": ("test", DARK, "-"),
    "train": ("train", "gray", ":"),
    "generated_T1": ("own samples", MIDDLE, "--"),
}
# Panels of the figure of temperatures: quantity, label, share, the paper's value at T = 1 (Table 1,
# binary & ternary crystals).
PANELS = (
    ("formal_validity", "formally valid", True, 0.97),
    ("uniqueness", "unique", True, 0.997),
    ("novelty", "novel", True, 0.89),
    ("charge_neutrality_smact14", "charge neutral", True, 0.79),
    ("sites", "sites", False, None),
    ("atoms", "atoms of the primitive cell", False, None),
    ("nll", "−log p at T = 1, nats", False, None),
    ("entropy", "entropy; −log p of test, nats", False, None),
)
PAPER_NLL = {0.01: "generated_T0.01", 1: "generated_T1", 100: "generated_T100"}


def histogram(table: pd.DataFrame) -> Figure:
    """How −log p is distributed over real crystals and own samples, and where the paper's means lie.

    Args:
        table: of `divergence.histogram`.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 2.4))
        edges = [*table["from"], table["to"].iloc[-1]]
        for name, (label, colour, line) in LOOK.items():
            axes.stairs(table[name], edges, color=colour, linestyle=line, label=label)
        for name in ("test", "generated_T1"):
            label, colour, line = LOOK[name]
            mean = TABLE_2[name][0]
            axes.axvline(mean, color=colour, linestyle=line, linewidth=0.8)
            axes.text(
                mean, 0.98, f" paper:\n {label},\n mean", transform=axes.get_xaxis_transform(),
                color=colour, va="top", fontsize=6,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="−log p, nats", ylabel="structures", ylim=(0, None))
        axes.set_ylim(top=1.35 * axes.get_ylim()[1])
        axes.set_xticks([5, 10, 20, 50, 100])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(loc="outside upper left", ncols=3)
    return closed(figure)


def by_sites(table: pd.DataFrame) -> Figure:
    """Divergence and entropy of own samples by their number of sites, and the paper's over all of them.

    Args:
        table: of `divergence.by_sites`.
    """
    usual = table["n"].cumsum() - table["n"] < MOST * table["n"].sum()
    table = table[usual & (table["n"] >= FEW)]
    with plt.rc_context(STYLE):
        figure, (above, below) = plt.subplots(
            2, sharex=True, figsize=(WIDTH, 3.4), height_ratios=(3, 2)
        )
        for axes, quantity, label, colour, line, marker in (
            (above, "permutation_kl", "KL", DARK, "-", "o"),
            (above, "sigma_permutation", "σ over orders", MIDDLE, "--", "s"),
            (below, "entropy", "entropy", DARK, "-", "o"),
        ):
            look = {"color": colour, "linestyle": line}
            _with_intervals(axes, table["n_sites"], table, quantity, label, marker, **look)
            value = PAPER[quantity]
            axes.axhline(value, linewidth=0.8, label=f"{label}, paper: {value:.1f}", **look)
        for axes in (above, below):  # ours beside the paper's
            named = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=itemgetter(1))
            axes.set_ylim(0, 1.4 * axes.get_ylim()[1])
            axes.legend(*zip(*named, strict=True), ncols=2, loc="upper left")
            axes.set_ylabel("nats")
        below.set_xlabel("occupied Wyckoff positions")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
    return closed(figure)


def temperature(table: pd.DataFrame) -> Figure:
    """What becomes of samples when the temperature changes, the test set and the paper's values beside them.

    Args:
        table: of `sweep.sweep`.
    """
    paper = {"linestyle": "", "marker": "D", "color": MIDDLE, "markersize": 4, "zorder": 3}
    second = {"color": MIDDLE, "linestyle": "--"}
    with plt.rc_context(STYLE | {"font.size": 7, "axes.titlesize": 7}):
        figure, grid = plt.subplots(4, 2, sharex=True, figsize=(WIDTH, 6.2))
        for axes, (quantity, label, share, value) in zip(grid.flat, PANELS, strict=True):
            parts = dict(iter(table[table["quantity"] == quantity].groupby("set")))
            _curve(axes, parts["masked"], "samples", "o", color=DARK)
            if "unmasked" in parts:
                _curve(axes, parts["unmasked"], "without masks", "s", **second)
            if quantity == "entropy":
                test = table[table["quantity"] == "cross_entropy"]
                _curve(axes, test, "−log p of test at T", "s", **second)
            if "test" in parts:
                value_of_test = parts["test"]["value"].item()
                axes.axhline(value_of_test, color="gray", linestyle=":", label="test set")
            if quantity == "nll":
                nll = [TABLE_2[name][0] for name in PAPER_NLL.values()]
                axes.plot(list(PAPER_NLL), nll, label="paper", **paper)
            elif value is not None:
                axes.plot(1, value, **paper)
            axes.axvline(1, color=LIGHT, linewidth=0.8, zorder=0)
            axes.set(xscale="log", title=label)
            if share:
                axes.set_ylim(-0.05, 1.05)
                axes.yaxis.set_major_formatter(PercentFormatter(1))
            else:
                axes.set_yscale("log")
                axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=7))
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_locator(NullLocator())
        for axes in grid[-1]:
            axes.set_xlabel("temperature")
            axes.set_xticks([0.01, 0.1, 1, 10, 100])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter("{x:g}")
        named = {}
        for axes in grid.flat:
            named |= {
                label: handle
                for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
            }
        figure.legend(named.values(), named.keys(), loc="outside upper left", ncols=3)
    return closed(figure)


def _curve(axes, part: pd.DataFrame, label: str, marker: str, **look) -> None:
    part = part.sort_values("temperature")
    _with_intervals(axes, part["temperature"], part, "value", label, marker, **look)


def _with_intervals(axes, x, table: pd.DataFrame, column: str, label, marker: str, **look) -> None:
    """A line through values, with their 95% intervals."""
    value = table[column]
    prefix = "" if column == "value" else f"{column}_"
    low, high = (value - table[f"{prefix}low"]).clip(lower=0), table[f"{prefix}high"] - value
    axes.errorbar(
        x, value, (low, high.clip(lower=0)), label=label, marker=marker, markersize=3,
        linewidth=1, elinewidth=0.6, **look,
    )  # fmt: skip

"""Figures and tables of training: learning curves, the ablation, the search, what invariance buys."""

from collections.abc import Callable

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wyk.common import Estimate
from wyk.plots.base import DARK, LIGHT, MIDDLE, STYLE, WIDTH, closed
from wyk.plumbing import figures, run

TIMES = ["train_cpu_seconds", "samples_per_cpu_second"]  # measured, never the same twice
# How the likelihood of a set is looked at: column, label, marker, colour.
VIEWS = (
    ("test_nll", "one random order", "o", "white"),
    ("test_canonical_nll", "canonical order alone", "|", DARK),
    ("test_set_nll_jensen", "set, bound by mean of logs", "<", MIDDLE),
    ("test_set_nll", "set, sum over orders", "D", DARK),
)


def trials(experiment: str) -> pd.DataFrame:
    """What `wyk trials` wrote, one row per trial, measured times included.

    Raises:
        FileNotFoundError: if it did not run.
    """
    table, seconds = (
        pd.read_csv(figures(experiment) / f"{name}.csv") for name in ("trials", "trials_seconds")
    )
    return table.merge(seconds, on=["group", "name"], validate="one_to_one")


def _with_error(row: pd.Series, key: str) -> str:
    return f"{row[key]:.2f} ± {row[f'{key}_se']:.2f}".replace("-", "−")


def _share(row: pd.Series, key: str) -> str:
    found = Estimate(row[key], row[f"{key}_n"], (row[f"{key}_low"], row[f"{key}_high"]))
    return f"{found.text('.1%')}, n = {found.n:.0f}"


def _distance(row: pd.Series, key: str) -> str:
    return f"{row[key]:.3f} (real: {row[f'{key}_floor']:.3f}, n = {row[f'{key}_n']:.0f})"


LIKELIHOODS = {
    "−log p of test, nats": lambda row: _with_error(row, "test_nll"),
    "changed by": lambda row: _with_error(row, "test_nll_change"),
    "−log p of validation": lambda row: _with_error(row, "val_nll"),
    "validation changed by": lambda row: _with_error(row, "val_nll_change"),
}
COST = {
    "parameters": lambda row: f"{row['parameters']:,}",
    "epochs, best": lambda row: f"{row['epochs']}, {row['best_epoch']}",
    "training, s of one core": lambda row: f"{row['train_cpu_seconds']:.0f}",
}
COLUMNS: dict[str, dict[str, Callable[[pd.Series], str]]] = {
    "ablation": {
        **LIKELIHOODS,
        "σ over orders": lambda row: f"{row['test_sigma_permutation']:.2f}",
        "formally valid": lambda row: _share(row, "formal_validity"),
        **COST,
    },
    "search": {**LIKELIHOODS, **COST},
    "likelihood": {
        "−log p of the set": lambda row: _with_error(row, "test_set_nll"),
        "changed by": lambda row: _with_error(row, "test_set_nll_change"),
        "one random order": lambda row: _with_error(row, "test_nll"),
        "σ over orders": lambda row: f"{row['test_sigma_permutation']:.2f}",
        "KL, formula (3)": lambda row: _with_error(row, "permutation_kl"),
        "H, formula (4)": lambda row: _with_error(row, "entropy"),
        **COST,
        "samples per second": lambda row: f"{row['samples_per_cpu_second']:,.0f}",
    },
    "samples": {
        "unique": lambda row: _share(row, "uniqueness"),
        "novel": lambda row: _share(row, "novelty"),
        "charge neutral": lambda row: _share(row, "charge_neutrality_smact14"),
        "sites, KS": lambda row: _distance(row, "sites_ks"),
        "elements, KS": lambda row: _distance(row, "elements_ks"),
        "DoF, KS": lambda row: _distance(row, "dof_ks"),
    },
}


def table(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Trials as a table to read; ± is one standard error, ranges are 95% intervals.

    Args:
        rows: of `trials`.
        kind: of `COLUMNS`.
    """
    content = {
        label: [show(row) for _, row in rows.iterrows()] for label, show in COLUMNS[kind].items()
    }
    return pd.DataFrame(content, index=rows["name"].to_list()).replace(
        r".*\bnan\b.*", "–", regex=True
    )


def learning_curves(experiment: str) -> pd.DataFrame:
    """−log p by epoch of the model of an experiment, and of the trial with its settings, validation held out.

    Returns:
        Columns `model` ("the model" or "the trial"), `member`, `epoch`, `train_nll`, `val_nll`; the last is empty
        for a model that was trained on validation, too.
    """
    log = pd.read_csv(run(experiment, "train") / "log.csv")
    trials_log = pd.read_csv(figures(experiment) / "trials_log.csv")
    ablation = trials_log[trials_log["group"] == "ablation"]
    trial = ablation[ablation["name"] == ablation["name"].iloc[-1]]
    curves = pd.concat([log.assign(model="the model"), trial.assign(model="the trial", member=0)])
    return curves[["model", "member", "epoch", "train_nll", "val_nll"]]


def learning(curves: pd.DataFrame) -> Figure:
    """−log p by epoch; a line for each member of an ensemble.

    Args:
        curves: of `learning_curves`.
    """
    lines = {
        ("the model", "train_nll"): ("training, augmented", DARK, "-"),
        ("the model", "val_nll"): ("validation", MIDDLE, "--"),
        ("the trial", "val_nll"): ("validation, of a model that did not learn it", MIDDLE, "--"),
    }
    if curves.loc[curves["model"] == "the model", "val_nll"].notna().any():
        del lines["the trial", "val_nll"]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 2.2))
        for (model, column), (label, colour, line) in lines.items():
            for member, part in curves[curves["model"] == model].groupby("member"):
                seen = part.dropna(subset=column)
                axes.plot(
                    seen["epoch"],
                    seen[column],
                    line,
                    color=colour,
                    linewidth=1,
                    label=None if member or seen.empty else label,
                )
        axes.set(xlabel="epoch", ylabel="−log p, nats per crystal")
        best = curves["val_nll"].min()
        axes.set_ylim(
            top=min(axes.get_ylim()[1], 1.7 * best)
        )  # the first epochs would hide the rest
        figure.legend(loc="outside upper left")
    return closed(figure)


def ablation(rows: pd.DataFrame) -> Figure:
    """−log p of the test set from the paper's recipe (top) to ours, and how much is formally valid.

    Args:
        rows: of `trials`, group `ablation`.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 0.8 + 0.18 * len(rows)))
        place = range(len(rows))
        axes.plot(rows["test_nll"], place, color=LIGHT, linewidth=1, zorder=1)
        axes.errorbar(
            rows["test_nll"], place, xerr=rows["test_nll_se"], fmt="o", color=DARK, markersize=4
        )
        axes.set(xlabel="−log p of test, nats")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        _name(axes, rows)
        columns = {
            "nats": rows["test_nll"].map("{:.1f}".format),
            "valid": rows["formal_validity"].map("{:.0%}".format),
        }
        axes.set_ylim(top=-1.4)
        for pad, (label, values) in zip((26, 54), columns.items(), strict=True):
            right = axes.twinx()  # its labels are a column of numbers
            right.set_yticks([-1, *place], [label, *values], fontsize=7, ha="right")
            right.set_ylim(axes.get_ylim())
            right.tick_params(length=0, pad=pad)
            right.spines["left"].set_visible(False)
    return closed(figure)


def invariance(rows: pd.DataFrame) -> Figure:
    """−log p of the test set under each model, looked at in four ways, and the divergence of own samples.

    Args:
        rows: of `trials`, group `invariance`.
    """
    with plt.rc_context(STYLE):
        figure, (axes, divergence) = plt.subplots(
            ncols=2,
            sharey=True,
            figsize=(WIDTH, 1.4 + 0.25 * len(rows)),
            gridspec_kw={"width_ratios": [2, 1]},
        )
        place = range(len(rows))
        for column, label, marker, colour in VIEWS:
            edge = {} if marker == "|" else {"markeredgecolor": DARK, "markerfacecolor": colour}
            axes.plot(
                rows[column],
                place,
                marker,
                color=colour,
                markersize=8 if marker == "|" else 5,
                label=label,
                **edge,
            )
        axes.set(xlabel="−log p of test, nats")
        axes.margins(x=0.1)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        _name(axes, rows)
        divergence.barh(
            place,
            rows["permutation_kl"],
            xerr=rows["permutation_kl_se"],
            color=LIGHT,
            edgecolor=DARK,
            linewidth=0.5,
            height=0.6,
            error_kw={"linewidth": 0.8},
        )
        divergence.set(xlabel="KL, nats", xlim=(0, None))
        divergence.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper left", ncols=2, columnspacing=1, handletextpad=0.2)
    return closed(figure)


def _name(axes: Axes, rows: pd.DataFrame) -> None:
    """The names of the rows, the first on top."""
    axes.set_yticks(range(len(rows)), rows["name"], fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)

"""Table 1 of the paper: ours beside what was published, real crystals, and plain alternatives.

One column is one set of structures; a cell is a value and its 95% interval. Rows from charge neutrality to the
elements are over novel structures, the others over those that the row says.
"""

import json

import pandas as pd

from wyk.baselines import BASELINES
from wyk.common import Estimate
from wyk.metrics import METRICS, PAPER, TEST
from wyk.plumbing import figures, writing

ROWS = {metric.name: metric for metric in METRICS if metric.label}
# Columns that were measured: label, metrics file, block; the first three stand beside the paper's.
OURS = (
    ("samples", "metrics", "raw"),
    ("relaxed", "metrics", "relaxed"),
    ("first relaxed", "metrics", "relaxed_first"),
)
OTHERS = (
    (TEST, "metrics_test", "raw"),
    *(
        (f"{baseline.label}{suffix}", f"metrics_{name}", block)
        for name, baseline in BASELINES.items()
        for suffix, block in (("", "raw"), (", relaxed", "relaxed"))
    ),
)
FLOORS = (("real, as many", "raw"), ("real, as many as first relaxed", "relaxed_first"))
CONDITIONAL = {  # quantity in `conditional.csv`: label
    "sites": "mean sites",
    "e_above_hull": "median E above hull, eV/atom",
    "stable": "stable, %",
    "sun": "S.U.N., %",
    "sun_plausible": "S.U.N., not below −0.3 eV/atom, %",
    "hull_coverage": "chemical system in the hull, %",
}
# To compare runs by, in `headline.json`: block of metrics.json, entries.
HEADLINE = {
    "raw": (
        "novelty", "charge_neutrality_smact14", "sites_ks", "elements_ks", "dof_ks", "space_group_chi2",
        "elements_chi2",
    ),
    "relaxed": ("converged", "stable", "sun_plausible", "ssun_plausible"),
    "likelihood": ("permutation_kl",),
}  # fmt: skip
STRUCTURES, NOVEL = "Structures", "Novel structures"
PARTS = ("models", "references")
LATEX = {
    "χ²": r"$\chi^2$",
    "−": "$-$",
    "–": "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}
TINY = 1e-9  # rounding errors of a distance that is zero


def table(metrics: dict[str, dict]) -> pd.DataFrame:
    """All cells of Table 1, one row each.

    Args:
        metrics: content of `metrics.json` and of those of OTHERS, by the stem of the file. A block that was not
            computed has no column.

    Returns:
        Columns `part` (of PARTS), `column`, `row` (of ROWS, or STRUCTURES and NOVEL), `value`, `low`, `high` (95%
        interval) and `n`; numbers in the units of ROWS, missing where nothing was published or computed.
    """
    cells = []
    for name, values in PAPER.items():
        cells += [("models", f"{name} (paper)", row, value) for row, value in values.items()]
    for name, file, block in OURS:
        cells += measured("models", name, metrics[file].get(block, {}))
    for name, block in FLOORS:
        for row, entry in metrics["metrics"].get(block, {}).items():
            if entry.get("floor") is not None:
                floor, n = entry["floor"], entry["floor_n"]
                cells.append(("references", name, row, floor, None, None, n))
    for name, file, block in OTHERS:
        cells += measured("references", name, metrics[file].get(block, {}))
    return as_table(cells)


def as_table(cells: list[tuple]) -> pd.DataFrame:
    """Cells, of which the last fields may be missing, with the columns of `table`."""
    columns = ["part", "column", "row", "value", "low", "high", "n"]
    padded = [cell + (None,) * (len(columns) - len(cell)) for cell in cells]
    return pd.DataFrame(padded, columns=columns).astype({"n": "Int64"})


def measured(part: str, column: str, entries: dict[str, dict]) -> list[tuple]:
    """The cells of a column.

    Args:
        part, column: see `table`.
        entries: a block of metrics.json; empty if it was not computed.
    """
    if not entries:
        return []
    cells = [(part, column, STRUCTURES, entries["formal_validity"]["n"])]
    if "novelty" in entries:  # not without training sets
        cells.append((part, column, NOVEL, entries["novelty"]["numerator"]))
    for row, metric in ROWS.items():
        entry = entries.get(row)
        if entry and entry["value"] is not None:
            found, factor = Estimate.of(entry), 100 if metric.percent else 1
            numbers = (factor * x for x in (found.value, *found.interval))
            cells.append((part, column, row, *numbers, found.n))
    return cells


def distances(cells: pd.DataFrame, columns: dict[str, str]) -> dict[str, str]:
    """The Kolmogorov–Smirnov statistics of some columns as a line of text, for each quantity.

    Args:
        cells: of `table`.
        columns: column → what the text calls it.
    """
    values = cells.set_index(["row", "column"])["value"]
    texts = {}
    for quantity in ("elements", "sites", "dof"):
        keys = {name: (f"{quantity}_ks", column) for column, name in columns.items()}
        found = [f"{name} {values[key]:.3f}" for name, key in keys.items() if key in values.index]
        texts[quantity] = f"KS to test: {', '.join(found)}"
    return texts


def shown(cells: pd.DataFrame, part: str) -> pd.DataFrame:
    """One part of Table 1 as it is read: text, rows and columns in their order.

    Args:
        cells: of `table`.
        part: of PARTS.
    """
    cells = cells[cells["part"] == part]
    text = [_text(*cell) for cell in cells[["row", "value", "low", "high"]].itertuples(index=False)]
    wide = cells.assign(text=text).pivot(index="row", columns="column", values="text")
    order = [STRUCTURES, *list(ROWS)[:3], NOVEL, *list(ROWS)[3:]]
    wide = wide.reindex([row for row in order if row in wide.index])[cells["column"].unique()]
    labels = {row: f"{metric.label} {metric.better}".strip() for row, metric in ROWS.items()}
    return wide.rename(index=labels).fillna("–").rename_axis(index=None, columns=None)


def _text(row: str, value: float, low: float | None, high: float | None) -> str:
    if row in (STRUCTURES, NOVEL):
        return f"{value:,.0f}"
    value, *interval = (x if x > TINY else 0 for x in (value, low, high) if pd.notna(x))
    return Estimate(value, 0, tuple(interval) or None).text(".3g")


def conditional(table: pd.DataFrame) -> pd.DataFrame:
    """Crystals that were asked for beside filtered ones, to read: one row for each condition and kind of samples.

    Args:
        table: as `conditional.run` writes it.
    """
    rows = {}
    for (condition, kind), part in table.groupby(["condition", "samples"], sort=False):
        values = part.set_index("quantity")
        row = {"n": f"{int(values['n'].max()):,}"}
        for name, label in CONDITIONAL.items():
            value, low, high = values.loc[name, ["value", "low", "high"]]
            interval = None if pd.isna(low) else (100 * low, 100 * high)
            found = Estimate(value if interval is None else 100 * value, 0, interval)
            row[label] = found.text(".0f" if interval else ".2f")
        rows[condition, kind] = row
    found = pd.DataFrame.from_dict(rows, orient="index")
    return found.rename_axis(["condition", "samples"])


def note(metrics: dict[str, dict]) -> str:
    """What the measured columns are of.

    Args:
        metrics: as in `table`.
    """
    ours = metrics["metrics"]["provenance"]
    known = ", ".join(ours["training_source"])
    wycryst, diffcsp = (
        metrics[f"metrics_{name}"]["provenance"]["generator"] for name in ("wycryst", "diffcsp")
    )
    return (
        f"Novel against {known}; distances to the test split of the same data. Potential {ours['potential']}, "
        f"hull `{ours['hull']}`; stable: {ours['stable']}. Seed {ours['seed']}. WyCryst: {wycryst['parameters']:,} "
        f"parameters, {wycryst['epochs']} epochs on these data ({wycryst['trained_on']:,} crystals of two or three "
        f"elements, {wycryst['skipped']:,} others skipped); relaxed are its formally valid samples. DiffCSP, without "
        f"symmetry: {diffcsp['parameters']:,} parameters, {diffcsp['epochs']} epochs on {diffcsp['trained_on']:,} "
        f"crystals of these data; as generated, and each relaxed once with the symmetry it has."
    )


def markdown(cells: pd.DataFrame) -> str:
    """As Markdown, each part that has cells."""
    parts = [part for part in PARTS if part in set(cells["part"])]
    texts = [shown(cells, part).to_markdown(disable_numparse=True, stralign=None) for part in parts]
    return "\n\n".join(texts) + "\n"


def latex(cells: pd.DataFrame) -> str:
    """Both parts as LaTeX, for the package booktabs."""
    parts = [shown(cells, part).to_latex(escape=True) for part in PARTS]
    text = "\n".join(parts)
    for sign, command in LATEX.items():
        text = text.replace(sign, command)
    return text


def headline(metrics: dict) -> dict[str, float]:
    """The few values of `metrics.json` that runs are compared by; fractions, and nats.

    Args:
        metrics: content of that file.
    """
    chosen = {
        f"{block}.{name}": metrics[block][name]["value"]
        for block, names in HEADLINE.items()
        for name in names
    }
    return chosen | {"likelihood.test_nll": metrics["likelihood"]["test"]["nll"]["value"]}


def write(experiment: str) -> pd.DataFrame:
    """Writes `table1.csv`, `table1.md`, `table1.tex` and `headline.json` among the figures of an experiment.

    Returns:
        What `table` gives.

    Raises:
        FileNotFoundError: if `wyk evaluate` did not write what is compared.
    """
    folder = figures(experiment)
    names = dict.fromkeys(file for _, file, _ in (*OURS, *OTHERS))
    metrics = {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in names}
    cells = table(metrics)
    below = note(metrics)
    texts = {
        "table1.csv": cells.to_csv(index=False),
        "table1.md": f"{markdown(cells)}\n{below}\n",
        "table1.tex": f"{latex(cells)}\n% {below}\n",
        "headline.json": json.dumps(headline(metrics["metrics"]), indent=2) + "\n",
    }
    for name, text in texts.items():
        with writing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return cells

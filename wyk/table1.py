"""Table 1 of the paper: ours beside what was published, real crystals, and plain alternatives.

One column is one set of structures; a cell is a value and its 95% interval. Rows from charge neutrality to the
elements are over novel structures, the others over those that the row says.
"""

import json

import pandas as pd

from wyk.paths import figures, writing

PERCENT = 100
ROWS = {  # entry of metrics.json: label, factor
    "formal_validity": ("Formal validity, % of structures", PERCENT),
    "uniqueness": ("Uniqueness, % of valid", PERCENT),
    "novelty": ("Novelty, % of unique", PERCENT),
    "charge_neutrality_smact14": ("Charge neutrality (smact14), %", PERCENT),
    "sites_ks": ("Num sites KS", 1),
    "elements_ks": ("Num elements KS", 1),
    "dof_ks": ("DoF KS", 1),
    "p1": ("P1, %", PERCENT),
    "space_group_chi2": ("Space group χ²", 1),
    "elements_chi2": ("Elements χ²", 1),
    "converged": ("Converged, % of structures", PERCENT),
    "stable": ("Stable, % of structures", PERCENT),
    "sun": ("S.U.N., % of structures", PERCENT),
    "ssun": ("S.U.N., group kept, % of structures", PERCENT),
    "sun_plausible": ("S.U.N., not below −0.3 eV/atom, %", PERCENT),
    "ssun_plausible": ("S.U.N., group kept, not below −0.3 eV/atom, %", PERCENT),
    "hull_coverage": ("Chemical system in the hull, %", PERCENT),
}
# Table 1 as published, in the units of ROWS: the first two of MP-20 binary & ternary, the last of MP-20.
PAPER = {
    "WyckoffTransformer": {
        "formal_validity": 97, "novelty": 89, "charge_neutrality_smact14": 79, "sites_ks": 0.052,
        "elements_ks": 0.030, "dof_ks": 0.056, "p1": 1, "space_group_chi2": 0.063, "elements_chi2": 0.019,
        "sun": 38.7,
    },
    "WyCryst": {
        "formal_validity": 72, "novelty": 53, "charge_neutrality_smact14": 76, "sites_ks": 0.287,
        "elements_ks": 0.002, "dof_ks": 0.282, "p1": 5, "space_group_chi2": 0.82, "elements_chi2": 0.140,
        "sun": 36.7,
    },
    "DiffCSP, MP-20": {
        "novelty": 90, "charge_neutrality_smact14": 81, "sites_ks": 0.415, "elements_ks": 0.163,
        "dof_ks": 0.407, "p1": 37, "space_group_chi2": 7.95, "elements_chi2": 0.100, "sun": 57.4,
    },
}  # fmt: skip
# Columns that were measured: label, metrics file, block; the first three stand beside the paper's.
OURS = (
    ("samples", "metrics", "raw"),
    ("relaxed", "metrics", "relaxed"),
    ("first relaxed", "metrics", "relaxed_first"),
)
OTHERS = (
    ("test set", "metrics_test", "raw"),
    ("random", "metrics_random", "raw"),
    ("random, relaxed", "metrics_random", "relaxed"),
    ("substitution", "metrics_substitution", "raw"),
    ("substitution, relaxed", "metrics_substitution", "relaxed"),
)
FLOORS = (("real, as many", "raw"), ("real, as many as first relaxed", "relaxed_first"))
STRUCTURES, NOVEL = "Structures", "Novel structures"
PARTS = ("models", "references")
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
    for part, columns in (("models", OURS), ("references", OTHERS)):
        for name, file, block in columns:
            entries = metrics[file].get(block, {})
            cells += [(part, name, *cell) for cell in _measured(entries)]
    for name, block in FLOORS:
        for row, entry in metrics["metrics"].get(block, {}).items():
            if entry.get("floor") is not None:
                cells.append(
                    ("references", name, row, entry["floor"], None, None, entry["floor_n"])
                )
    columns = ["part", "column", "row", "value", "low", "high", "n"]
    padded = [cell + (None,) * (len(columns) - len(cell)) for cell in cells]
    return pd.DataFrame(padded, columns=columns).astype({"n": "Int64"})


def _measured(entries: dict[str, dict]) -> list[tuple]:
    """Row, value, interval and n of every entry that Table 1 shows."""
    if not entries:
        return []
    cells = [
        (STRUCTURES, entries["formal_validity"]["n"]),
        (NOVEL, entries["novelty"].get("numerator")),
    ]
    for row, (_, factor) in ROWS.items():
        entry = entries.get(row)
        if entry and entry["value"] is not None:
            low, high = entry["interval"]
            cells.append((row, factor * entry["value"], factor * low, factor * high, entry["n"]))
    return cells


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
    labels = {row: label for row, (label, _) in ROWS.items()}
    return wide.rename(index=labels).fillna("–").rename_axis(index=None, columns=None)


def _text(row: str, value: float, low: float | None, high: float | None) -> str:
    if row in (STRUCTURES, NOVEL):
        return f"{value:,.0f}"
    value, *interval = (f"{x if x > TINY else 0:.3g}" for x in (value, low, high) if pd.notna(x))
    return f"{value} ({' to '.join(interval)})" if interval else value


def markdown(cells: pd.DataFrame) -> str:
    """Both parts as Markdown."""
    parts = [shown(cells, part).to_markdown(disable_numparse=True, stralign=None) for part in PARTS]
    return "\n\n".join(parts) + "\n"


def latex(cells: pd.DataFrame) -> str:
    """Both parts as LaTeX, for the package booktabs."""
    parts = [shown(cells, part).to_latex(escape=True) for part in PARTS]
    return "\n".join(parts).replace("χ²", r"$\chi^2$").replace("−", "$-$").replace("–", "--")


def write(experiment: str) -> pd.DataFrame:
    """Writes `table1.csv`, `table1.md` and `table1.tex` among the figures of an experiment.

    Returns:
        What `table` gives.

    Raises:
        FileNotFoundError: if `wyk evaluate` did not write what is compared.
    """
    folder = figures(experiment)
    names = dict.fromkeys(file for _, file, _ in (*OURS, *OTHERS))
    metrics = {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in names}
    cells = table(metrics)
    texts = {"csv": cells.to_csv(index=False), "md": markdown(cells), "tex": latex(cells)}
    for kind, text in texts.items():
        with writing(folder / f"table1.{kind}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    return cells

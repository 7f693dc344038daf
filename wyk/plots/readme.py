"""What the pipeline and the benchmarks measured, written into the README: python -m wyk.plots.readme

Between its marks the README holds Table 1 of the experiment `biternary_7k`, crystals under conditions, the
likelihoods beside the paper's Appendix D, what relaxations lead to from two starts, and the ratios to other programs.
Every number there comes from a file in `figures/`.
"""

import json
import re
from pathlib import Path

import pandas as pd

from wyk.common import Estimate
from wyk.plots import table1
from wyk.plots.of_starts import draw_times, match_table
from wyk.plumbing import FIGURES, ROOT, writing

README = ROOT / "README.md"
EXPERIMENT = "biternary_7k"
MARKS = "<!-- {}: written by `python -m wyk.plots.readme` -->", "<!-- end of {} -->"

# (what, path in the block `likelihood` of metrics.json, the paper's value: Appendix D, MP-20)
LIKELIHOODS = (
    ("−log p of test", ("test", "nll"), "93.0"),
    ("−log p of test, without formal masks", ("test_unconstrained", "nll"), "93.0"),
    ("−log p of own samples", ("generated_T1", "nll"), "17.0"),
    ("Permutation KL", ("permutation_kl",), "2.0"),
    ("Entropy", ("entropy",), "19.0"),
    ("σ over orders, test", ("test", "sigma_permutation"), "5.4"),
)


def likelihoods(block: dict) -> str:
    """Likelihoods in nats beside the paper's, as Markdown.

    Args:
        block: `likelihood` of metrics.json.
    """
    lines = ["| nats | paper | here (95% interval) | n |", "|---|---|---|---|"]
    for label, path, paper in LIKELIHOODS:
        entry = block
        for key in path:
            entry = entry[key]
        found = Estimate.of(entry)
        lines.append(f"| {label} | {paper} | {found.text('.3g')} | {found.n:,} |")
    return "\n".join(lines)


def ratios(relax: dict, peer: dict, recovery: pd.DataFrame) -> str:
    """Ours beside other programs on the same core, and real crystals found again, as Markdown.

    Args:
        relax, peer: written by the benchmarks of these names.
        recovery: of `summaries.recovery`.
    """
    rows = {(row["program"], row["budget_s"]): row for row in peer["rows"]}
    release = "release, batches"  # its better form
    budgets = sorted({seconds for _, seconds in rows})
    pairs = [(s, rows["ours", s], rows[release, s]) for s in budgets]
    _, ours, theirs = pairs[-1]
    everything = recovery[recovery["free_numbers"] == "all"]
    first, last = everything.iloc[0], everything.iloc[-1]
    n, n_stock = relax["n"], relax["n_stock"]
    both = f"{n}, {n_stock}"
    table = [
        *(
            (f"−log p of test after {s} s of training, nats", f"{a['nll']:.2f}", f"{b['nll']:.2f}", a["nll_n"])
            for s, a, b in pairs
        ),
        ("samples per second", f"{ours['samples_per_s']:,}", f"{theirs['samples_per_s']:,}", ours["valid_n"]),
        ("formally valid samples", f"{ours['valid_share']:.1%}", f"{theirs['valid_share']:.1%}", ours["valid_n"]),
        ("seconds to relax a draw", f"{relax['ms'] / 1000:.2f}", f"{relax['ms_stock'] / 1000:.2f}", n_stock),
        ("force calls", f"{relax['calls']:.1f}", f"{relax['calls_stock']:.1f}", both),
        ("symmetry kept or raised", f"{relax['kept']:.1%}", f"{relax['kept_stock']:.1%}", both),
        ("ends at most 5 meV/atom above the other", f"{relax['no_higher']:.1%}", "", n_stock),
        ("converged within 60 calls", f"{relax['converged']:.1%}", "", n),
        (
            f"real test crystals found again, 1 and {last['draws']} draws",
            f"{first['found']:.1%}, {last['found']:.1%}",
            "",
            first["n"],
        ),
    ]  # fmt: skip
    head = f"| one core | here | release {theirs['version']}; CHGNet's optimiser | n |"
    lines = [
        f"| {what} | {here} | {other or '–'} | {n if isinstance(n, str) else f'{n:,}'} |"
        for what, here, other, n in table
    ]
    return "\n".join([head, "|---|---|---|---|", *lines])


def starts(matched: pd.DataFrame, timed: dict, stable: pd.DataFrame) -> str:
    """Draws of pyXtal beside those of the diffusion, and the crystals they led to, as Markdown.

    Args:
        matched: of `matching.summary`.
        timed: written by the benchmark of the starts.
        stable: of `plots_starts.sun_columns`, with the names of its rows as the first column.
    """
    tables = (match_table(matched), stable.set_index("quantity").rename_axis(None))
    drawn, made = (t.to_markdown(disable_numparse=True, stralign=None) for t in tables)
    return f"{drawn}\n\n{draw_times(timed)}\n\n{made}"


def sections(figures: Path = FIGURES) -> dict[str, str]:
    """What stands between the marks of each name."""
    folder = figures / EXPERIMENT
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    relax, peer, timed = (
        json.loads((figures / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("relax", "peer", "starts")
    )
    return {
        "table 1": (folder / "table1.md").read_text(encoding="utf-8").strip(),
        "asked for": table1.conditional(pd.read_csv(folder / "conditional.csv"))
        .reset_index()
        .to_markdown(index=False, disable_numparse=True, stralign=None),
        "likelihoods": likelihoods(metrics["likelihood"]),
        "starts": starts(
            pd.read_csv(folder / "starts.csv"), timed, pd.read_csv(folder / "starts_sun.csv")
        ),
        "ratios": ratios(relax, peer, pd.read_csv(folder / "recovery.csv")),
    }


def with_sections(readme: str, texts: dict[str, str]) -> str:
    """The README with its measured parts as they should be.

    Raises:
        ValueError: if the README has no place for one of them.
    """
    for name, text in texts.items():
        begin, end = (mark.format(name) for mark in MARKS)
        readme, found = re.subn(
            f"{re.escape(begin)}.*?{re.escape(end)}",
            lambda _, new=f"{begin}\n{text}\n{end}": new,
            readme,
            flags=re.DOTALL,
        )
        if found != 1:
            raise ValueError(f"README.md has {found} places between {begin!r} and {end!r}, not one")
    return readme


def main() -> None:
    """Rewrite those parts of the README."""
    text = with_sections(README.read_text(encoding="utf-8"), sections())
    with writing(README) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

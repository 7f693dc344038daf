"""The results table of the README, written from `figures/biternary_7k/metrics.json`: python -m wyk.report"""

import json

from wyk.paths import FIGURES, ROOT, writing

README = ROOT / "README.md"
EXPERIMENT = "biternary_7k"
BEGIN, END = "<!-- results: written by `python -m wyk.report` -->", "<!-- end of results -->"
PERCENT = 100

# (what, block, entry, factor, the paper's value: Table 1, MP-20 binary & ternary, and Appendix D)
ROWS = (
    ("Formal validity, %", "raw", "formal_validity", PERCENT, "97"),
    ("Uniqueness, %", "raw", "uniqueness", PERCENT, "≥ 99.7"),
    ("Novelty, %", "raw", "novelty", PERCENT, "89"),
    ("Charge neutrality (smact14), %", "raw", "charge_neutrality_smact14", PERCENT, "79"),
    ("Num sites KS", "raw", "sites_ks", 1, "0.052"),
    ("Num elements KS", "raw", "elements_ks", 1, "0.030"),
    ("DoF KS", "raw", "dof_ks", 1, "0.056"),
    ("*P*1, %", "raw", "p1", PERCENT, "1"),
    ("Space group χ²", "raw", "space_group_chi2", 1, "0.063"),
    ("Elements χ²", "raw", "elements_chi2", 1, "0.019"),
    ("Stable (E_hull < 0.08 eV/atom), %", "relaxed", "stable", PERCENT, "–"),
    ("S.U.N., %", "relaxed", "sun", PERCENT, "38.7"),
    ("S.U.N., not below −0.3 eV/atom, %", "relaxed", "sun_plausible", PERCENT, "–"),
    ("S.U.N., space group kept, %", "relaxed", "ssun", PERCENT, "–"),
    ("Relaxation converged, %", "relaxed", "converged", PERCENT, "–"),
    ("Chemical system has reference compounds, %", "relaxed", "hull_coverage", PERCENT, "–"),
    ("−log p of test, nats", ("likelihood", "test"), "nll", 1, "93.0"),
    ("−log p of test, no masks, nats", ("likelihood", "test_unconstrained"), "nll", 1, "93.0"),
    ("−log p of own samples, nats", ("likelihood", "generated_T1"), "nll", 1, "17.0"),
    ("Permutation KL, nats", "likelihood", "permutation_kl", 1, "2.0"),
    ("σ over orders, test, nats", ("likelihood", "test"), "sigma_permutation", 1, "5.4"),
)


def table(metrics: dict) -> str:
    """The metrics of an experiment beside the paper's, as Markdown; what was not computed has no row."""
    lines = [
        "| quantity | paper | here | 95% interval | n | floor |",
        "|---|---|---|---|---|---|",
    ]
    for label, path, name, factor, paper in ROWS:
        block = metrics
        for key in (path,) if isinstance(path, str) else path:
            block = block.get(key, {})
        entry = block.get(name)
        if entry is None or entry["value"] is None:
            continue
        value, low, high = (f"{factor * x:.3g}" for x in (entry["value"], *entry["interval"]))
        floor = f"{factor * entry['floor']:.2g}" if entry.get("floor") is not None else ""
        lines.append(f"| {label} | {paper} | {value} | {low} – {high} | {entry['n']:,} | {floor} |")
    return "\n".join(lines)


def with_results(readme: str, metrics: dict) -> str:
    """The README with its table of results as it should be.

    Raises:
        ValueError: if the README has no place for it.
    """
    if BEGIN not in readme or END not in readme:
        raise ValueError(f"README.md has no lines {BEGIN!r} and {END!r}")
    before, rest = readme.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{table(metrics)}\n{END}{rest.split(END, 1)[1]}"


def main() -> None:
    """Rewrite the README's table."""
    metrics = json.loads((FIGURES / EXPERIMENT / "metrics.json").read_text(encoding="utf-8"))
    text = with_results(README.read_text(encoding="utf-8"), metrics)
    with writing(README) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

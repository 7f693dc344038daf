"""The pages of the documentation as Markdown, for Sphinx to render: python docs/pages.py FOLDER (`make docs`)

What stands elsewhere in the repository is not written down again: README, notebooks, docstrings, help texts and
results become pages here, so that one that is added has its place without a word.
"""

import importlib
import inspect
import json
import pkgutil
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
from typer.main import get_command
from typer.testing import CliRunner

import wyk
from wyk.cli import main
from wyk.common import Estimate
from wyk.likelihood import divergence
from wyk.plots import of_starts, table1
from wyk.plumbing import FIGURES, NOTEBOOKS, ROOT, figures

HERE = Path(__file__).parent
EXPERIMENT = "biternary_7k"  # whose results are shown
AS_THEY_ARE = ("CONTRIBUTING.md", "wyk/stability/reference/README.md")


def write(folder: Path) -> None:
    """Writes all pages, and the pictures on them, to a folder."""
    pages = {
        path.relative_to(HERE).as_posix(): filled(path.read_text("utf-8"))
        for path in HERE.rglob("*.md")
    }
    pages |= {name: (ROOT / name).read_text("utf-8") for name in AS_THEY_ARE}
    before, results = readme()
    pages |= {"index.md": before + pages["index.md"], "results.md": results}
    pages |= {f"notebooks/{path.stem}.md": notebook(path) for path in NOTEBOOKS.glob("*.ipynb")}
    pages |= {f"api/{name}.md": module(name) for name in modules()}
    pages |= {"api/index.md": api(), "commands.md": commands()}
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(linked(text), "utf-8")
    for path in [*figures(EXPERIMENT).glob("*.png"), *FIGURES.glob("benchmarks/*.png")]:
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


# --- pages made of other things


def readme() -> tuple[str, str]:
    """The README as two pages: what to do, and the results."""
    text = (ROOT / "README.md").read_text("utf-8")
    before, results = text.split("## Results\n")
    results, after = results.split("## How to go on\n")
    results = "# Results\n" + results.replace("\n### ", "\n## ")
    return f"{before}## How to go on\n{after}", results


def notebook(path: Path) -> str:
    """A notebook as it stands in git, without outputs, and with the figures that its cells have drawn."""
    note = (
        f"```{{note}}\nThe notebook as it stands in git, without outputs; its figures are those of `{EXPERIMENT}`. "
        f"To read it as it ran, tables included: `dvc pull --allow-missing`, then open "
        f"`runs/{EXPERIMENT}/reports/{path.stem}.html`. To run it: `make lab`.\n```"
    )
    parts = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        code = cell["cell_type"] == "code"
        parts.append(f"```python\n{source}\n```" if code else source)
        for name in re.findall(r'plots\.save\(figure, experiment, "(\w+)"', source):
            parts.append(f"![{name}](../figures/{EXPERIMENT}/{name}.png)")
    return "\n\n".join([parts[0], note, *parts[1:]])


def modules() -> list[str]:
    """Names of the public modules of the package."""
    found = pkgutil.walk_packages(wyk.__path__, "wyk.")
    return [module.name.removeprefix("wyk.") for module in found if not module.ispkg]


def module(name: str) -> str:
    """The page of a module, for autodoc to fill; commands have a page of their own."""
    members = "" if name.startswith("cli.") else "   :members:\n"
    directive = f".. automodule:: wyk.{name}\n{members}"
    return f"# wyk.{name}\n\n```{{eval-rst}}\n{directive}```\n"


def api() -> str:
    """The page that lists all rooms, from the top floor down, and their modules with the first sentence of each."""
    lines = ["# API", inspect.getdoc(wyk).partition("\n\n")[2]]
    for room in wyk.ROOMS:
        names = [name for name in modules() if name.startswith(f"{room}.")]
        lines += [f"\n## wyk.{room}\n", inspect.getdoc(importlib.import_module(f"wyk.{room}"))]
        lines += ["\n| module | what it holds |", "|---|---|"]
        for name in names:
            docstring = inspect.getdoc(importlib.import_module(f"wyk.{name}"))
            summary = docstring.partition("\n\n")[0].replace("\n", " ")
            lines.append(f"| [wyk.{name}]({name}.md) | {summary} |")
        lines += ["\n```{toctree}\n:hidden:", *names, "```"]
    return "\n".join(lines) + "\n"


def commands() -> str:
    """What each command says with `--help`."""
    text = "# Commands\n\nWhat `wyk COMMAND --help` says; where `--jobs` has a default, it is the number of cores.\n"
    for name in get_command(main.app).commands:
        told = CliRunner().invoke(main.app, [name, "--help"], prog_name="wyk", terminal_width=88)
        text += f"\n## wyk {name}\n\n```text\n{told.output.strip()}\n```\n"
    return text


# --- what stands in the places that pages leave for results


def filled(text: str) -> str:
    """Puts results where a page says `<!-- values ENTRY -->`, `<!-- table NAME -->` or `<!-- file PATH COMMAND -->`."""
    kinds = {"values": values, "table": lambda name: TABLES[name](), "file": file}
    return re.sub(
        r"^<!-- (values|table|file) (.+) -->$",
        lambda match: kinds[match[1]](match[2]),
        text,
        flags=re.MULTILINE,
    )


def values(entry: str) -> str:
    """One entry of metrics.json for every set of structures in Table 1."""
    lines = [f"| `{entry}` of | value (95% interval) | n | floor |", "|---|---|---|---|"]
    for label, name, block in (*table1.OURS, *table1.OTHERS):
        if not (figures(EXPERIMENT) / f"{name}.json").is_file():  # a baseline that did not run yet
            continue
        found = metrics(name).get(block, {}).get(entry)
        if found and found["value"] is not None:
            estimate = Estimate.of(found)
            floor = "–" if estimate.floor is None else f"{estimate.floor:.3g}"
            lines.append(f"| {label} | {estimate.text('.3g')} | {estimate.n:,} | {floor} |")
    return "\n".join(lines)


def metrics(name: str = "metrics") -> dict:
    return json.loads((figures(EXPERIMENT) / f"{name}.json").read_text("utf-8"))


def recovery() -> str:
    """Share of real crystals found again, by free numbers and draws."""
    table = pd.read_csv(figures(EXPERIMENT) / "recovery.csv")
    shares = table.pivot(index="free_numbers", columns="draws", values="found")
    shares.insert(0, "n", table.groupby("free_numbers")["n"].first())
    shares = shares.loc[table["free_numbers"].unique()].rename_axis("free numbers, draws")
    return shares.to_markdown(floatfmt=".2f")


def others() -> str:
    """What `make bench-long` measured on crystals of other programs."""
    folder = FIGURES / "benchmarks"
    agreed, judged = (
        json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("agreement", "judge")
    )
    n, jobs = judged["n"], judged["jobs"]
    lines = [
        "| crystals of other programs | |",
        "|---|---|",
        f"| real crystals whose representation is pyXtal's | {agreed['same']:,} of {agreed['compared']:,} |",
        f"| seconds to judge {n:,} CIFs that ASE wrote, as they stand, {jobs} cores | {judged['s_evaluate_cifs']} |",
        f"| the same as pymatgen's JSON in a CSV | {judged['s_evaluate_json']} |",
        f"| of these read and formally valid | {judged['valid_cifs']:,} and {judged['valid_json']:,} |",
    ]
    return "\n".join(lines)


def tolerance() -> str:
    """How many prototypes with moved atoms each program finds, and how many answers hang on the description."""
    measured = json.loads((FIGURES / "benchmarks" / "tolerance.json").read_text("utf-8"))
    n = measured["prototypes"]
    lines = [f"| moved by, Å | program | found, of {n} | order | cell |", "|---|---|---|---|---|"]
    for moved, programs in measured.items():
        if isinstance(programs, dict):
            for program, count in programs.items():
                counts = f"{count['found']} | {count['order']} | {count['cell']}"
                lines.append(f"| {moved.removeprefix('moved by ')} | {program} | {counts} |")
    return "\n".join(lines)


def conditional() -> str:
    """Samples under each condition beside free ones that fulfil it: speed, and the least p of all quantities."""
    measured = json.loads((FIGURES / "benchmarks" / "conditional.json").read_text("utf-8"))
    lines = [
        "| condition | of free samples | n | n, reference | speed / free | least p | of | forced: least p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in measured["conditions"].items():
        what, p = min(
            ((what, test["p"]) for what, test in row["tests"].items()), key=lambda x: x[1]
        )
        forced = min((test["p"] for test in row.get("forced", {}).values()), default=None)
        share = f"{row['share_of_free']:.2%}" if "share_of_free" in row else row["reference"]
        lines.append(
            f"| {name} | {share} | {row['n']:,} | {row['n_reference']:,} | {row['of_free']:.3f} | {p:.2g} | {what} "
            f"| {'–' if forced is None else f'{forced:.1g}'} |"
        )
    lines += [
        "",
        f"Model `{measured['model']}`, {measured['free_per_second']:,.0f} free samples a second on one core of "
        f"the same run. Below p = {measured['least_p']:.1g} a difference would count ({measured['level']:.0%} of "
        f"all comparisons together): {measured['failed']} of them are.",
    ]
    return "\n".join(lines)


TABLES = {
    "calibration": lambda: divergence.calibration(metrics()["likelihood"]).to_markdown(),
    "conditional": conditional,
    "invariance": lambda: divergence.invariance(metrics()["likelihood"]).to_markdown(),
    "table 2": lambda: divergence.table_2(metrics()["likelihood"]).to_markdown(),
    "others": others,
    "recovery": recovery,
    "tolerance": tolerance,
    "starts": lambda: of_starts.match_table(
        pd.read_csv(figures(EXPERIMENT) / "starts.csv")
    ).to_markdown(),
}


def file(what: str) -> str:
    """A Markdown file of the repository, or the command that writes it."""
    path, command = what.split(" ", 1)
    if (ROOT / path).is_file():
        return (ROOT / path).read_text("utf-8")
    return f"`{path}` is not there yet: run `{command}`."


def linked(text: str) -> str:
    """Leads links to notebooks to their pages; what else the repository has is named, but no link."""
    text = text.replace(".ipynb)", ".md)")
    return re.sub(r"(?<!!)\[([^]]+)\]\(([\w./-]+)\)", _named, text)


def _named(link: re.Match) -> str:
    text, target = link.groups()
    page = target.endswith(".md")
    return text if not page and (ROOT / target).exists() else link[0]


if __name__ == "__main__":
    write(Path(sys.argv[1]))

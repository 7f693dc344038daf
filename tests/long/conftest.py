"""The inputs of the campaign's commands, and the table of what it found."""

import shutil
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from long import campaign
from wyk.files import datasets
from wyk.plumbing import paths
from wyk.plumbing.paths import ROOT

sys.path.insert(0, str(ROOT / "tests/benchmarks"))
from publish import write_json

# every module that a command imports on its way, so that forked commands need not
from wyk.structures import building as structures  # noqa: F401

SMALL = {  # of a training that takes seconds and has all its parts
    "train": {
        "epochs": 2,
        "evaluate_every": 1,
        "members": 2,
        "distil": {"samples": 100, "epochs": 1, "real": 0.5, "lr": 0.004, "members": 1},
    },
    "diffusion": {"epochs": 2},
    "trials": {
        "samples": 10,
        "permutations": 2,
        "ablation": [{"name": "ours", "changes": {"train.epochs": 4}}],
        "search": [{"name": "our settings", "changes": {"train.epochs": 4}}],
        "invariance": [
            {"name": "set, shuffled order", "changes": {"train.epochs": 4}},
            {
                "name": "set, canonical order",
                "changes": {"train.epochs": 4, "train.order": "canonical"},
            },
        ],
    },
}


@pytest.fixture(scope="session")
def stock(tmp_path_factory) -> Path:
    """A folder of inputs: crystals (CSV, CIFs, JSON), representations, a model, and a repository to train in."""
    folder = tmp_path_factory.mktemp("stock")
    crystals, _ = datasets.structures("aflow:test")
    rows = [(name, c.to(fmt="cif", symprec=0.01), c.to_json()) for name, c in crystals]
    table = pd.DataFrame(rows, columns=["material_id", "cif", "structure"])
    small = table[[len(c) < 9 for _, c in crystals]].head(12)
    small = pd.concat([small, pd.DataFrame([("bad", "no crystal", "[]")], columns=table.columns)])
    small[["material_id", "cif"]].to_csv(folder / "crystals.csv", index=False)
    small[["material_id", "structure"]].to_csv(folder / "json.csv", index=False)
    (folder / "data").mkdir()
    for name in ("perov_5/train.csv", "carbon_24/test.csv"):  # of which no checksum is known
        (folder / "data" / name).parent.mkdir()
        table.to_csv(folder / "data" / name, index=False)
    repository = folder / "repository"
    shutil.copytree(ROOT / "wyk", repository / "wyk", ignore=shutil.ignore_patterns("__pycache__"))
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["experiments"] = {"quick": content["experiments"]["quick"]}
    for section, changes in SMALL.items():
        content["experiments"]["quick"][section] |= changes
    (repository / "params.yaml").write_text(yaml.safe_dump(content))
    for split in ("train", "val", "test"):
        out = repository / f"runs/quick/represent/{split}.parquet"
        assert campaign.run(["represent", f"aflow:{split}", "-o", out], folder).code == 0
        shutil.copy(out, folder / f"{split}.parquet")
    pd.read_parquet(folder / "test.parquet").head(6).to_parquet(folder / "six.parquet")
    trained = folder / "trained"
    shutil.copytree(repository, trained)
    for command, name in (("train", "model"), ("diffusion", "diffusion")):
        end = campaign.run([command, "--experiment", "quick"], folder, repository=trained)
        assert end.code == 0, end.said
        shutil.copytree(trained / "runs/quick" / command, folder / name)
    return folder


@pytest.fixture(scope="session")
def book():
    """The rows of the table; written to figures/benchmarks/reliability.{json,md} at the end of the session."""
    rows: list[campaign.Row] = []
    begin = time.monotonic()
    print(f"MINUTES={campaign.MINUTES:g} SEED={campaign.SEED}")
    yield rows
    cells = [
        {
            "attacked": row.attacked,
            "how": row.how,
            "cases": row.outcomes.total(),
            "minutes": round(row.seconds / 60, 1),
            "outcomes": dict(sorted(row.outcomes.items())),
            "findings": row.findings,
            "remark": row.remark,
        }
        for row in rows
    ]
    minutes = round((time.monotonic() - begin) / 60, 1)
    result = {"seed": campaign.SEED, "minutes": minutes, "rows": cells}
    folder = paths.figures("benchmarks")
    write_json(folder / "reliability.json", result)
    with paths.writing(folder / "reliability.md") as temporary:
        temporary.write_text(markdown(result))


OUTCOMES = (*campaign.FINE, "wrong")


def markdown(result: dict) -> str:
    """The table as a page has it."""
    rows = result["rows"]
    cases, findings = sum(row["cases"] for row in rows), sum(len(row["findings"]) for row in rows)
    lines = [
        f"{cases:,} cases in {result['minutes']:.0f} minutes (`SEED={result['seed']}`), findings of {findings} kinds. "
        "A case is a command that was done, refused in a sentence, killed by the campaign, or ended wrongly.",
        "",
        f"| attacked | how | cases | minutes | {' | '.join(OUTCOMES)} | findings |",
        f"|---|---|{'--:|' * (len(OUTCOMES) + 3)}",
    ]
    for row in rows:
        how = f"{row['how']}; {row['remark']}" if row["remark"] else row["how"]
        counts = [f"{row['outcomes'].get(name, 0):,}" for name in OUTCOMES]
        values = [row["attacked"], how, f"{row['cases']:,}", f"{row['minutes']:.1f}", *counts]
        lines.append(f"| {' | '.join(values)} | {len(row['findings'])} |")
    return "\n".join(lines) + "\n"


@pytest.fixture
def row(book):
    """An empty row, timed; what was found fails the test at its end."""
    row = campaign.Row()
    begin = time.monotonic()
    yield row
    row.seconds = time.monotonic() - begin
    book.append(row)
    row.settle()

"""Files of strangers: whatever is in them is read, or refused in a sentence, and does not hurt what stands beside."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from long import campaign
from long.campaign import contents, run
from long.hostile import CANARY, READERS, Attack
from wyk.crystals.tables import COLUMNS
from wyk.files import datasets

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def alone(stock) -> dict[str, str]:
    """material_id → what becomes of a good crystal alone."""
    datasets.represent(stock / "crystals.csv", stock / "alone.parquet")
    return _rows(stock / "six.parquet") | _rows(stock / "alone.parquet")


def _rows(path: Path) -> dict[str, str]:
    frame = pd.read_parquet(path)[list(COLUMNS)]
    return {row[0]: str(row) for row in frame.map(str).itertuples(index=False)}


@pytest.fixture(scope="module")
def crystals(stock) -> bytes:
    """The table of a run of `wyk structures`, of which stock/unfinished is left as if it had been killed."""
    out = stock / "unfinished"
    (out / "crystals.parquet").mkdir(parents=True)  # in the way of the table
    arguments = ["structures", stock / "six.parquet", "-o", out, "--draws", "1"]
    assert run(arguments, stock).code == 1
    (out / "crystals.parquet").rmdir()
    assert (out / "done.jsonl").is_file()
    finished = shutil.copytree(out, stock / "finished")
    arguments[3] = finished
    assert run(arguments, stock).code == 0
    return (finished / "crystals.parquet").read_bytes()


def faults(attack: Attack, end: campaign.End, alone: dict, table: bytes) -> Iterator[str]:
    """What must not be after a command in the working directory."""
    if list(Path().glob(f"**/{CANARY}*")):
        yield "code of the file was run"
    names = {path.name for path in Path().iterdir()} | {path.name for path in Path("..").iterdir()}
    if strange := sorted(n for n in names if not n.startswith(("in", "out", "case"))):
        yield f"wrote {strange}"
    if end.kind() == "refused":
        last = end.said.rstrip().rpartition("\n")[2]
        if attack.named not in last:
            yield f"refused without its name: {last[:200]}"
        if attack.good:
            yield f"refused with good rows in it: {last[:200]}"
    elif end.kind() == "done" and "structures" in attack.arguments and "-n" not in attack.arguments:
        if Path("out/crystals.parquet").read_bytes() != table:
            yield "the table differs"
    elif end.kind() == "done" and attack.good:
        rows, sidecar = _rows(Path("out.parquet")), Path("out.rejected.csv")
        rejected = pd.read_csv(sidecar, keep_default_na=False) if sidecar.exists() else None
        total = len(pd.read_parquet("out.parquet")) + (0 if rejected is None else len(rejected))
        if attack.rows is not None and total != attack.rows:
            yield f"{total} rows of {attack.rows}"
        if rejected is not None and not rejected["reason"].all():
            yield "rejected without a reason"
        if any(rows.get(name) != alone[name] for name in attack.good):
            yield "a good row is not as it is alone"


@pytest.mark.parametrize("reader", READERS)
def test_fuzzed_files_are_read_or_refused(
    reader, row, stock, alone, crystals, tmp_path, monkeypatch
):
    row.attacked, row.how = reader, "fuzzing"
    inputs = contents(stock, "*.*")
    folder, peak = tmp_path / "case", 0

    def case(random: Random) -> None:
        nonlocal peak
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        monkeypatch.chdir(folder)
        attack = READERS[reader](random, stock)
        end = run(attack.arguments, folder, repository=attack.repository)
        peak = max(peak, end.memory)
        row.count(end.kind(), folder, *faults(attack, end, alone, crystals))

    campaign.hammer(case, 60 * campaign.MINUTES * campaign.FUZZING / len(READERS))
    assert contents(stock, "*.*") == inputs
    row.remark = f"at most {peak / 2**20:,.0f} MB"

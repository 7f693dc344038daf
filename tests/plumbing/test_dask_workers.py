"""Dask: the same results as one machine, also when a worker is killed; a scheduler that is gone is an error."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest

from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.tables import to_table, write_representations
from wyk.plumbing import dask_workers
from wyk.plumbing.paths import ROOT
from wyk.structures import building as structures

NOWHERE = "tcp://127.0.0.1:1"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def dask(command: str, *arguments: str) -> subprocess.Popen:
    """A process of a cluster, as a user or dask-jobqueue starts it."""
    program = [sys.executable, "-m", "distributed.cli.dask_" + command, *arguments]
    return subprocess.Popen(program, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler of its own, and its address."""
    process = dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    line = next(line for line in process.stderr if "Scheduler at:" in line)
    yield process, re.search(r"tcp://\S+", line)[0]
    process.kill()
    process.communicate()


@pytest.fixture
def workers(scheduler, tmp_path):
    """Two workers: one that a nanny would start again, one on its own."""
    common = (scheduler[1], "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path))
    processes = [dask("worker", *common), dask("worker", *common, "--no-nanny")]
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def test_a_killed_worker_changes_nothing(scheduler, workers, tmp_path):
    rows = [
        WyckoffRepresentation(225, ("Na", "Cl"), ("a", "b")),
        WyckoffRepresentation(225, ("Na", "Cl"), ("a", "a")),
        WyckoffRepresentation(221, ("Po",), ("a",)),
        *(
            WyckoffRepresentation(225, (metal, "O"), ("a", "b"))
            for metal in ("Mg", "Ca", "Ni", "Ti")
        ),
    ]
    write_representations(tmp_path / "rows.parquet", to_table(rows))
    settings = {"draws": (2,), "seed": 3}
    here = structures.build(tmp_path / "rows.parquet", tmp_path / "here", **settings)
    done = tmp_path / "there" / structures.DONE

    def kill() -> None:
        while not (done.exists() and done.read_bytes().count(b"\n") >= 3):
            time.sleep(0.02)
        workers[1].kill()  # it has no nanny and never comes back

    half_way = threading.Thread(target=kill)
    half_way.start()
    there = structures.build(
        tmp_path / "rows.parquet", tmp_path / "there", scheduler=scheduler[1], **settings
    )
    half_way.join()
    assert workers[1].wait(10) == -signal.SIGKILL
    pd.testing.assert_frame_equal(here, there)
    read = [(tmp_path / place / "crystals.parquet").read_bytes() for place in ("here", "there")]
    assert read[0] == read[1]


def test_what_a_call_does_to_its_process_is_a_reason(scheduler, workers):
    tasks = {"ok": ("0",), "slow": ("import time; time.sleep(60)",)}
    tasks |= {"dies": ("__import__('os')._exit(3)",), "raises": ("1 / 0",)}
    done = dask_workers.as_done(exec, tasks, scheduler[1], time_limit=3)
    reasons = {key: reason for key, _, reason in done}
    assert reasons == {
        "ok": None,
        "slow": "took longer than 3 s",
        "dies": "its process died with exit code 3",
        "raises": "ZeroDivisionError: division by zero",
    }


def test_a_dead_scheduler_is_an_error(monkeypatch):
    monkeypatch.setattr(dask_workers, "CONNECT", 1)
    with pytest.raises(ConnectionError, match=f"no Dask scheduler answers at {NOWHERE}"):
        next(dask_workers.as_done(exec, {"ok": ("0",)}, NOWHERE, time_limit=3))


def test_a_scheduler_that_dies_is_an_error_and_nothing_is_lost(scheduler, workers, tmp_path):
    rows = [
        WyckoffRepresentation(225, (m, "O"), ("a", "b")) for m in ("Mg", "Ca", "Ni", "Ti", "Mn")
    ]
    write_representations(tmp_path / "rows.parquet", to_table(rows))
    command = [sys.executable, "-m", "wyk.cli.main", "structures", "rows.parquet", "-o", "out"]
    command += ["--draws", "1", "--scheduler", scheduler[1]]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    done = tmp_path / "out" / structures.DONE
    deadline = time.monotonic() + 300
    while not (done.exists() and done.read_bytes().count(b"\n") >= 1):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    scheduler[0].kill()
    error = process.communicate(timeout=200)[1]
    assert process.returncode == 1
    assert error.splitlines()[-1] == f"wyk: the Dask scheduler at {scheduler[1]} is gone"
    assert "Traceback" not in error
    assert done.read_bytes().count(b"\n") >= 1
    table = structures.build(tmp_path / "rows.parquet", tmp_path / "out", draws=(1,))
    assert table["reason"].isna().all()

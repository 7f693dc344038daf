"""Work in several processes: what one item does never spoils the others."""

import time

from wyk.plumbing import workers


def test_workers_survive_what_a_task_does():
    tasks = {"ok": ("0",), "slow": ("import time; time.sleep(60)",)}
    tasks |= {"dies": ("__import__('os')._exit(3)",), "raises": ("1 / 0",)}
    start = time.monotonic()
    results = {
        key: (result, reason)
        for key, result, reason in workers.as_done(exec, tasks, jobs=1, time_limit=3)
    }
    assert results["ok"] == (None, None)
    assert "longer than 3 s" in results["slow"][1]
    assert "exit code 3" in results["dies"][1]
    assert "ZeroDivisionError" in results["raises"][1]
    assert time.monotonic() - start < 50


def test_a_process_that_another_killed_gets_a_second_try(tmp_path):
    code = f"import os, pathlib; p = pathlib.Path({str(tmp_path / 'tried')!r})\n"
    code += "if not p.exists():\n    p.touch()\n    os.kill(os.getpid(), 9)"
    ((_, _, reason),) = workers.as_done(exec, {"once": (code,)}, jobs=1, time_limit=30)
    assert reason is None
    assert (tmp_path / "tried").exists()


def test_a_task_that_wants_too_much_memory_fails_alone():
    tasks = {"greedy": ("bytearray(2**33)",), "modest": ("bytearray(2**20)",)}
    done = workers.as_done(exec, tasks, jobs=1, time_limit=30, memory=2**32)
    reasons = {key: reason for key, _, reason in done}
    assert reasons == {"greedy": "MemoryError", "modest": None}
    assert workers.share(1) >= workers.share(2) >= 2**31

"""Work in several processes: what one item does never spoils the others."""

import time

from wyk import pool


def test_workers_survive_what_a_task_does():
    tasks = {"ok": ("0",), "slow": ("import time; time.sleep(60)",)}
    tasks |= {"dies": ("__import__('os')._exit(3)",), "raises": ("1 / 0",)}
    start = time.monotonic()
    results = {
        key: (result, reason)
        for key, result, reason in pool.as_done(exec, tasks, jobs=1, time_limit=3)
    }
    assert results["ok"] == (None, None)
    assert "longer than 3 s" in results["slow"][1]
    assert "exit code 3" in results["dies"][1]
    assert "ZeroDivisionError" in results["raises"][1]
    assert time.monotonic() - start < 50

"""The same function on many items in several processes, where no item can spoil the others."""

import os
import resource
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError, as_completed
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 32  # items a process gets at a time


@dataclass(frozen=True)
class Failed:
    """An item without a result."""

    reason: str


def in_order(
    function: Callable[[T], R], items: Iterable[T], jobs: int, time_limit: float
) -> Iterator[tuple[T, R | Failed]]:
    """Each item and its result, in order; only a few chunks of items are in memory at a time.

    Args:
        function: importable by name, so that it reaches the other processes.
        jobs: processes; results do not depend on their number.
        time_limit: s an item may take. One that takes longer, raises, or kills its process (out of memory, a
            crash in C code) is `Failed`, and the others go on.
    """
    items = iter(items)
    with ProcessPool(max_workers=jobs) as pool:
        try:
            waiting = deque()
            while chunk := list(islice(items, CHUNK)):
                waiting.append((chunk, pool.schedule(_each, [function, chunk], timeout=time_limit)))
                if len(waiting) > 2 * jobs:
                    yield from _finished(pool, function, time_limit, *waiting.popleft())
            while waiting:
                yield from _finished(pool, function, time_limit, *waiting.popleft())
        except BaseException:  # Ctrl-C too: leaving the pool would otherwise wait for the work
            pool.stop()
            raise


def _each(function: Callable, chunk: list) -> list:
    results = []
    for item in chunk:
        try:
            results.append(function(item))
        except Exception as error:
            expected = isinstance(error, ValueError)
            results.append(Failed(str(error) if expected else f"{type(error).__name__}: {error}"))
    return results


def _finished(
    pool: ProcessPool, function: Callable, time_limit: float, chunk: list, future: ProcessFuture
) -> Iterator[tuple]:
    try:
        yield from zip(chunk, future.result(), strict=True)
    except (TimeoutError, ProcessExpired) as error:
        if len(chunk) > 1:  # one by one, to find the item that hangs or kills its process
            for item in chunk:
                alone = pool.schedule(_each, [function, [item]], timeout=time_limit)
                yield from _finished(pool, function, time_limit, [item], alone)
        elif isinstance(error, TimeoutError):
            yield chunk[0], Failed(f"took more than {time_limit:g} s")
        else:
            yield chunk[0], Failed("its process died")


def as_done(
    function: Callable,
    tasks: dict,
    jobs: int,
    time_limit: float | None = None,
    memory: int | None = None,
) -> Iterator[tuple[object, object, str | None]]:
    """Run a function in processes of one thread each, surviving what a task does to its process.

    Args:
        function: importable by name.
        tasks: key → arguments of one call.
        jobs: number of processes.
        time_limit: seconds for one call; then its process is ended. None for any time.
        memory: bytes each process may have; None for all there is.

    Yields:
        (key, result, None) or (key, None, reason), as they come.
    """
    pool = processes(jobs, function.__module__, memory)
    try:
        futures = {
            pool.schedule(function, args=arguments, timeout=time_limit): key
            for key, arguments in tasks.items()
        }
        for future in as_completed(futures):
            key = futures[future]
            again = partial(pool.schedule, function, tasks[key], timeout=time_limit)
            yield key, *outcome(future, time_limit, again)
    finally:
        pool.stop()
        pool.join()


def processes(number: int, module: str, memory: int | None = None) -> ProcessPool:
    """Processes that have imported a module; each may take `memory` bytes, if that is given."""
    # Forked from a server that has imported but never computed: a fork after OpenMP has run would hang.
    context = get_context("forkserver")
    context.set_forkserver_preload([module])
    return ProcessPool(number, context=context, initializer=_limit_memory, initargs=(memory,))


def share(jobs: int) -> int:
    """Bytes that each of several processes may take so that all of them have room, 2 GiB at least."""
    return max(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jobs, 2 * 2**30)


def _limit_memory(size: int | None) -> None:
    # Then the one task that asks for too much fails, instead of the machine.
    if size is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def outcome(
    future: ProcessFuture,
    time_limit: float | None,
    again: Callable[[], ProcessFuture] | None = None,
) -> tuple[object, str | None]:
    """Result and None, or None and the reason why there is no result, of one call.

    Args:
        future: the call.
        time_limit: seconds it was given.
        again: makes the same call once more, if its process dies: that may have been another's fault.
    """
    try:
        return future.result(), None
    except TimeoutError:
        return None, f"took longer than {time_limit:g} s"
    except ProcessExpired as error:
        if again:
            return outcome(again(), time_limit)
        return None, f"its process died with exit code {error.exitcode}"
    except Exception as error:  # one bad crystal never stops the rest
        return None, ": ".join(filter(None, (type(error).__name__, str(error))))

"""The same function on many items on a Dask cluster, such as one that dask-jobqueue starts with SLURM.

A worker hands its calls to processes of its own, so that a crash, a lack of memory or of time ends as it does on
one machine. A call whose whole worker is lost is made again by another one.
"""

import logging
import multiprocessing
from collections.abc import Callable, Iterator
from functools import partial

from distributed import Client, WorkerPlugin, as_completed, get_worker

from wyk.plumbing import workers

logging.getLogger("distributed.client").setLevel(
    logging.CRITICAL
)  # a lost scheduler is an error of ours
CONNECT = 10  # seconds in which a scheduler must answer


class Processes(WorkerPlugin):
    """Gives a worker as many processes as it has threads."""

    def __init__(self, name: str, module: str):
        self.name, self.module = name, module

    def setup(self, worker):
        # A worker of a nanny is a daemon, which may have no processes of its own unless told so.
        multiprocessing.current_process()._config["daemon"] = False
        threads, memory = worker.state.nthreads, worker.memory_manager.memory_limit
        self.pool = workers.processes(threads, self.module, memory and memory // threads)

    def teardown(self, worker):
        self.pool.stop()
        self.pool.join()


def _call(plugin: str, function: Callable, arguments: tuple, time_limit: float):
    schedule = get_worker().plugins[plugin].pool.schedule
    call = partial(schedule, function, arguments, timeout=time_limit)
    return workers.outcome(call(), time_limit, again=call)


def as_done(
    function: Callable, tasks: dict[str, tuple], scheduler: str, time_limit: float
) -> Iterator[tuple[str, object, str | None]]:
    """`pool.as_done` on a cluster; it waits for workers if there are none yet.

    Args:
        function: importable by name, of the same version of `wyk` on all workers.
        tasks: key → arguments of one call.
        scheduler: its address, such as tcp://10.0.0.1:8786.
        time_limit: seconds for one call.

    Raises:
        ConnectionError: if the scheduler does not answer, or is lost before the end.
    """
    try:
        client = Client(scheduler, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client:
        if not client.scheduler_info()["workers"]:
            logging.getLogger(__name__).warning("%s has no workers yet: waiting", scheduler)
        plugin = Processes(f"wyk-{client.id}", function.__module__)
        client.register_plugin(plugin)
        try:
            calls = [(plugin.name, function, arguments, time_limit) for arguments in tasks.values()]
            futures = client.map(_call, *zip(*calls, strict=True), pure=False)
            keys = dict(zip(futures, tasks, strict=True))
            for future in as_completed(futures, loop=client.loop):
                if future.status == "finished":
                    yield keys[future], *future.result()
                elif future.status == "error":  # each worker that tried it was lost
                    yield keys[future], None, str(future.exception())
                else:
                    raise ConnectionError(f"the Dask scheduler at {scheduler} is gone")
        finally:
            if client.status == "running":
                client.unregister_worker_plugin(plugin.name)

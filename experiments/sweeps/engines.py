"""What runs the members of a sweep: processes of this machine, or a Ray cluster."""

import importlib
import os
import queue
import sys
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any, Protocol, TypeAlias

from experiments.sweeps.room import Needs, slots
from experiments.sweeps.task import LOOK, Task, conduct
from jfractal.errors import InputError

PROGRAM = (sys.executable, "-m", "experiments")

Ended: TypeAlias = "Generator[tuple[Task, int], None, None]"
"""Tasks and their exit codes, in the order in which they end."""


class Engine(Protocol):
    """Runs tasks; when it is closed, those that run save their state and end."""

    def __call__(self, tasks: Sequence[Task], needs: Needs) -> Ended:
        """Yields each task with its exit code, as it ends."""
        ...


def engine(name: str) -> Engine:
    """The engine of a name, ``processes`` or ``ray``.

    Raises:
        InputError: Ray is not installed.
    """
    if name == "processes":
        return in_processes
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            "`engine`: Ray is not installed: pip install 'jfractal[ray]', or leave `--engine` out"
        ) from error
    return lambda tasks, needs: on_ray(ray, tasks, needs)


def in_processes(tasks: Sequence[Task], needs: Needs) -> Ended:
    """Runs as many tasks at a time as there is room for, each on cores of its own."""
    places: queue.SimpleQueue[set[int]] = queue.SimpleQueue()
    for cores in slots(needs, len(tasks)):
        places.put(cores)
    stop = threading.Event()

    def take_place() -> None:
        """What a thread starts runs on the cores of the thread."""
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, places.get())

    with ThreadPoolExecutor(places.qsize(), initializer=take_place) as threads:
        waiting = {threads.submit(conduct, task, stop.is_set): task for task in tasks}
        try:
            while waiting:
                done, _ = wait(waiting, timeout=LOOK, return_when=FIRST_COMPLETED)
                yield from ((waiting.pop(future), future.result()) for future in done)
        finally:
            stop.set()
            threads.shutdown(cancel_futures=True)


def on_ray(ray: Any, tasks: Sequence[Task], needs: Needs) -> Ended:
    """Runs tasks on the cluster that this machine belongs to, else on a local one.

    All its machines see the directories of the members, and the checkout, at the same paths. A
    member has a GPU where the cluster has any.
    """
    here = [os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(here)}
    started = not ray.is_initialized()
    if started:
        ray.init(
            log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": environment}
        )
    try:
        gpus = min(1, int(ray.cluster_resources().get("GPU", 0)))
        memory = int(needs.memory * 1e9)
        remote = ray.remote(conduct)
        remote = remote.options(num_cpus=needs.cores, num_gpus=gpus, memory=memory, max_retries=0)
        waiting = {remote.remote(task): task for task in tasks}
        try:
            while waiting:
                done, _ = ray.wait([*waiting], timeout=LOOK)
                yield from ((waiting.pop(ref), _code(ray, ref)) for ref in done)
        finally:
            for ref in waiting:
                ray.cancel(ref)  # an interrupt, on which a task saves its state
            ray.wait([*waiting], num_returns=len(waiting), timeout=60) if waiting else None
    finally:
        if started:
            ray.shutdown()


def _code(ray: Any, ref: Any) -> int:
    """The exit code of a task; 1 if what ran it was lost."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayError:
        return 1

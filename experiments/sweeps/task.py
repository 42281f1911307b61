"""A member of a sweep as a process. It imports no JAX, so that a cluster starts members fast."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LOOK = 0.2  # seconds between two looks at a member


@dataclass(frozen=True)
class Task:
    """A member as a command, and where what it prints goes.

    Attributes:
        label: What the member is called.
        command: The program and its arguments.
        output: The file that its output is added to.
        directory: Where it is run, so that relative paths mean the same everywhere.
    """

    label: str
    command: tuple[str, ...]
    output: Path
    directory: Path


def conduct(task: Task, stopped: Callable[[], bool] = lambda: False) -> int:
    """Runs a task to its end.

    Args:
        task: The task.
        stopped: Whether it shall save its state and end; looked at now and then.

    Returns:
        Its exit code; negative if a signal killed it.
    """
    task.output.parent.mkdir(exist_ok=True)
    with task.output.open("ab") as output:
        # A session of its own: Ctrl-C reaches the sweep alone, which then tells its members once.
        process = subprocess.Popen(
            task.command,
            cwd=task.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not stopped():
            try:
                return process.wait(timeout=LOOK)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return process.returncode

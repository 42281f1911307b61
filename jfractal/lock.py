"""A lock on a directory, for one process."""

import os
from pathlib import Path
from typing import IO
from weakref import WeakSet

from jfractal.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has none: there, nobody is refused
    fcntl = None

__all__ = ["Lock"]


_open: WeakSet[IO] = WeakSet()


def _close_all() -> None:
    for file in _open:
        file.close()


if hasattr(os, "register_at_fork"):
    # A forked process shares the lock, and would hold it when the owner is dead.
    os.register_at_fork(after_in_child=_close_all)


class Lock:
    """Locks a directory, and refuses one that another process uses.

    The operating system releases the lock when the process ends, in whatever way.

    Args:
        directory: The directory, which is created on entry.
        argument: Name of the caller's argument, for the message.

    Raises:
        InputError: On entry, if another process or another `Lock` of this process holds it.

    Example:
        ::

            with Lock(directory):
                ...
    """

    def __init__(self, directory: str | Path, argument: str = "directory"):
        self._directory, self._argument = Path(directory), argument
        self._file: IO | None = None

    def __enter__(self) -> "Lock":
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._file = (self._directory / ".lock").open("w")
        except OSError as error:
            raise InputError(
                f"`{self._argument}`: cannot write to {self._directory}: {error.strerror}"
            ) from error
        _open.add(self._file)
        self._take(self._file)
        return self

    def _take(self, file: IO) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise InputError(
                f"`{self._argument}`: another process works in {self._directory}: wait for it, or "
                "choose another directory"
            ) from error
        except OSError:  # a file system without locks
            return

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

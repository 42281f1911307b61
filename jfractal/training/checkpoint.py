"""Checkpoints of a fit: atomic, checksummed, and written while training goes on."""

import re
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jfractal import storage
from jfractal.errors import InputError
from jfractal.lock import Lock

__all__ = ["Checkpoints"]

Tree = TypeVar("Tree")
Columns = Mapping[str, np.ndarray]

KEPT = 3  # files, the newest
NAME = re.compile(r"step-\d{8,}\.npz")
HISTORY = "history "  # before the names of its columns


class Checkpoints:
    """The newest checkpoints of one fit, ``step-00000100.npz``.

    Files are replaced atomically, so a process that is killed leaves earlier files intact. Each has
    a checksum, so a damaged file is detected. If there are several processes, the first writes and
    all of them read, so they need a shared directory.

    Args:
        directory: Directory of the checkpoints. It is created and locked on entry.
        about: What identifies the fit, as JSON.

    Raises:
        InputError: On entry, if another process uses the directory; on exit, if the last checkpoint
            could not be written.
    """

    def __init__(self, directory: Path, about: dict[str, Any]):
        self._directory, self._about = directory, about
        self._is_writer = jax.process_index() == 0
        self._lock = Lock(directory)
        self._writer = ThreadPoolExecutor(1)
        self._last: Future | None = None

    def __enter__(self) -> "Checkpoints":
        if self._is_writer:
            self._lock.__enter__()
            storage.discard_parts(self._directory)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            self._writer.shutdown()
            self._lock.__exit__()

    def save(self, step: int, tree: Any, history: Columns) -> None:
        """Copies a tree to the host, and writes it while training goes on.

        Args:
            step: Number of steps taken.
            tree: Tree of arrays and random keys.
            history: Arrays by name.

        Raises:
            InputError: If the previous checkpoint could not be written.
        """
        self._wait()
        if self._is_writer:
            leaves = jax.device_get([_plain(x) for x in jax.tree.leaves(tree)])
            arrays = {str(i): np.asarray(x) for i, x in enumerate(leaves)}
            arrays |= {HISTORY + name.replace("/", "|"): x for name, x in history.items()}
            about = {"step": step, "about": self._about, "leaves": _described(tree)}
            self._last = self._writer.submit(self._write, step, arrays, about)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def _write(self, step: int, arrays: Columns, about: dict[str, Any]) -> None:
        written = self._directory / f"step-{step:08}.npz"
        storage.write(written, arrays, about)
        others = [path for path in self._paths() if path != written]  # of more steps, if damaged
        for path in others[KEPT - 1 :]:
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        """The existing files, that with the most steps first."""
        # `glob` finds nothing in a directory that the first of several processes has yet to make.
        found = self._directory.glob("*.npz")
        files = [x for x in found if NAME.fullmatch(x.name) and x.is_file()]
        return sorted(files, key=_step, reverse=True)

    def restore(self, template: Tree) -> tuple[int, Tree, dict[str, np.ndarray]] | None:
        """Reads the newest intact checkpoint, and warns of damaged ones.

        Args:
            template: A tree of the same structure, shapes and dtypes.

        Returns:
            The number of steps taken, the tree bit for bit as it was saved, and the history; None
            if there is no checkpoint.

        Raises:
            InputError: If all checkpoints are damaged, or belong to another fit.
        """
        damaged = []
        for path in self._paths():
            try:
                arrays, about = storage.read(path)
            except InputError as error:
                damaged.append(error)
                continue
            for error in damaged:
                warnings.warn(f"{error}: it is passed over", stacklevel=2)
            self._check(path, about, template)
            return _step(path), _filled(template, arrays), _history(arrays)
        if damaged:
            raise InputError(
                f"`directory`: all checkpoints in {self._directory} are damaged; remove them to "
                "start again"
            )
        return None

    def _check(self, path: Path, saved: dict[str, Any], template: Any) -> None:
        """Refuses checkpoints of another fit, and says where they differ."""
        before = saved.get("about", {})
        pairs = [(name, before.get(name), now) for name, now in self._about.items()]
        leaves = zip([*saved.get("leaves", ()), None], [*_described(template), None])
        pairs += [("state", *pair) for pair in leaves]
        for name, before, now in pairs:
            if before != now:
                raise InputError(
                    f"`directory`: {path} is a checkpoint of another fit, whose {name} is "
                    f"{before!r}, not {now!r}: choose another directory"
                )


def _step(path: Path) -> int:
    """Steps taken before a checkpoint, from its content or, if that is damaged, from its name."""
    try:
        return int(storage.read_about(path)["step"])
    except (InputError, KeyError, TypeError, ValueError):
        return int(path.stem.removeprefix("step-"))


def _plain(x: Any) -> Any:
    """A leaf, or the data of a random key."""
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(x) if is_key else x


def _described(tree: Any) -> list[str]:
    """The paths, shapes and dtypes of the leaves of a tree."""
    return [
        f"{jax.tree_util.keystr(path)} {x.dtype}{list(x.shape)}"
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _filled(template: Tree, arrays: Columns) -> Tree:
    leaves, structure = jax.tree.flatten(template)
    return jax.tree.unflatten(structure, [_like(x, arrays[str(i)]) for i, x in enumerate(leaves)])


def _like(x: Any, saved: np.ndarray) -> Any:
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(x))
    return saved if isinstance(x, np.ndarray) else jnp.asarray(saved)


def _history(arrays: Columns) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(HISTORY).replace("|", "/"): x
        for name, x in arrays.items()
        if name.startswith(HISTORY)
    }

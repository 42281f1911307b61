"""Checkpoints of a fit: atomic, checked, written beside the training."""

import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jfractal import storage
from jfractal.errors import InputError

__all__ = ["Checkpoints"]

Tree = TypeVar("Tree")


@dataclass
class Checkpoints:
    """The newest checkpoints of one fit, ``step-00000100.npz``.

    A file is replaced as a whole and carries a checksum, so a process killed at any moment leaves
    the files before intact, and a damaged one is found.

    Attributes:
        directory: Where they lie; made when the first is saved.
        about: What makes the fit this one and no other, as JSON holds it.
        max_to_keep: How many are kept.
    """

    directory: Path
    about: dict[str, Any]
    max_to_keep: int = 3
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _last: Future | None = None

    def save(self, step: int, tree: Any, history: dict[str, np.ndarray]) -> None:
        """Copies a tree to the host, and writes it while the training goes on.

        Args:
            step: Steps taken.
            tree: Arrays, and random keys.
            history: Arrays by name.
        """
        self.wait()
        arrays = {f"leaf_{i}": x for i, x in enumerate(map(_plain, jax.tree.leaves(tree)))}
        arrays |= {f"history_{name.replace('/', '|')}": x for name, x in history.items()}
        if jax.process_index() == 0:
            self._last = self._writer.submit(self._write, step, arrays)

    def wait(self) -> None:
        """Waits for the last checkpoint.

        Raises:
            InputError: If it could not be written.
        """
        if self._last is not None:
            last, self._last = self._last, None
            last.result()

    def _write(self, step: int, arrays: dict[str, np.ndarray]) -> None:
        about = {"step": step, "about": self.about}
        storage.write(self.directory / f"step-{step:08}.npz", arrays, about)
        for path in self._paths()[self.max_to_keep :]:
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        """The files there are, the newest first."""
        return sorted(self.directory.glob("step-*.npz"), reverse=True)

    def restore(self, template: Tree) -> tuple[int, Tree, dict[str, np.ndarray]] | None:
        """The newest checkpoint that is whole. A damaged one is named in a warning.

        Args:
            template: A tree of the same structure, shapes and dtypes.

        Returns:
            The steps taken, the tree bit for bit as it was saved, and the history; None if there is
            no checkpoint.

        Raises:
            InputError: If all are damaged, or they are of another fit.
        """
        paths = self._paths()
        for path in paths:
            try:
                arrays, about = storage.read(path)
            except InputError as error:
                warnings.warn(f"{error}: it is passed over", stacklevel=2)
                continue
            self._check(path, about.get("about", {}))
            return about["step"], _filled(template, arrays, path), _history(arrays)
        if paths:
            raise InputError(f"`directory`: all checkpoints in {self.directory} are damaged")
        return None

    def _check(self, path: Path, before: dict[str, Any]) -> None:
        for name, now in self.about.items():
            if before.get(name) != now:
                raise InputError(
                    f"`directory`: {path} is a checkpoint of another fit, whose {name} is "
                    f"{before.get(name)!r}, not {now!r}: choose another directory"
                )


def _plain(x: Any) -> np.ndarray:
    """A leaf on the host, of however many hosts it lies on."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(x, tiled=True))
    return np.asarray(x)


def _filled(template: Tree, arrays: dict[str, np.ndarray], path: Path) -> Tree:
    leaves, structure = jax.tree.flatten(template)
    saved = [arrays.get(f"leaf_{i}") for i in range(len(leaves))]
    shapes = [None if x is None else (x.shape, x.dtype.name) for x in saved]
    expected = [(x.shape, x.dtype.name) for x in map(_plain, leaves)]
    if shapes != expected or f"leaf_{len(leaves)}" in arrays:
        raise InputError(
            f"`directory`: {path} is a checkpoint of another configuration: its arrays have other "
            "shapes or dtypes than the method's state"
        )
    return jax.tree.unflatten(structure, [_like(x, s) for x, s in zip(leaves, saved)])


def _like(x: Any, saved: Any) -> Any:
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(x))
    return jnp.asarray(saved)


def _history(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    prefix = "history_"
    return {
        name.removeprefix(prefix).replace("|", "/"): x
        for name, x in arrays.items()
        if name.startswith(prefix)
    }

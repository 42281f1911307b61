"""A store for the draws of running Markov chains: in a directory, or in memory."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfractal import storage
from jfractal.errors import InputError

__all__ = ["DrawStore"]

STATE, DRAWS = "state.npz", "draws.npy"


@dataclass
class DrawStore:
    """Draws of the weights, their statistics, and the state of the chains after the last draw.

    In a directory, ``draws.npy`` holds the weights of all draws. ``state.npz`` holds their number,
    a checksum for each block of draws, and its own checksum. It is replaced atomically after the
    draws are written, so a process that is killed loses only the draws made since then.

    Attributes:
        directory: The directory; None for memory.
        draws: float32 weights, "draws chains weights".
        statistics: float64 statistics of each draw, "draws chains".
        warmup_gradients: Number of gradients of each chain in warm-up, "chains".
        count: Number of warm-up steps and draws so far.
    """

    directory: Path | None
    about: dict[str, Any]
    draws: np.ndarray
    statistics: dict[str, np.ndarray]
    warmup_gradients: np.ndarray
    count: int = 0
    num_drawn: int = 0
    _leaves: list[np.ndarray] = field(default_factory=list)
    _blocks: list[tuple[int, str]] = field(default_factory=list)
    """Where each block of draws ends, and its checksum."""

    @classmethod
    def open(
        cls,
        directory: str | Path | None,
        *,
        shape: tuple[int, int, int],
        statistics: Sequence[str],
        about: dict[str, Any],
        at_start: np.ndarray,
    ) -> "DrawStore":
        """Opens the store of a run that has begun, or a new one.

        Args:
            directory: The directory; None for memory.
            shape: Shape of `draws`.
            statistics: Names of the statistics.
            about: What identifies this run, as JSON.
            at_start: The log joint at the start of the chains: a fingerprint of model, data and
                start.

        Raises:
            InputError: If the directory cannot be written, holds another run or files of another
                origin, or a file is damaged.
        """
        about = json.loads(json.dumps({**about, "shape": shape, "at_start": at_start.tolist()}))
        blank = {name: np.zeros(shape[:2]) for name in statistics}
        warmup_gradients = np.zeros(shape[1])
        if directory is None:
            return cls(None, about, np.empty(shape, np.float32), blank, warmup_gradients)
        directory = Path(directory)
        store = cls(directory, about, np.empty(0), blank, warmup_gradients)
        try:
            storage.discard_parts(directory)
            if (directory / STATE).exists():
                store._load(directory)
            elif (directory / DRAWS).exists():
                raise InputError(
                    f"`directory`: {directory} holds a {DRAWS} that is not of chains, without a "
                    f"{STATE}; choose another directory"
                )
            else:
                # Before there are draws: whose they are must be known.
                store._save(directory)
            store.draws = _opened(directory / DRAWS, shape, begun=store.num_drawn > 0)
        except OSError as error:
            raise InputError(
                f"`directory`: cannot write to {directory}: {error.strerror}"
            ) from error
        store._check_draws(directory)
        return store

    @property
    def bytes_per_draw(self) -> int:
        """Bytes of one draw of all chains."""
        return max(self.draws[0].nbytes, 1)

    def restore(self, state: Any) -> Any:
        """The state of the chains after the last draw, or the given state if there is no draw."""
        if not self._leaves:
            return state
        fresh, structure = jax.tree.flatten(state)
        leaves = [_like(x, saved) for x, saved in zip(fresh, self._leaves, strict=True)]
        return jax.tree.unflatten(structure, leaves)

    def keep(self, rows: dict[str, np.ndarray], state: Any, *, warming: bool) -> None:
        """Adds draws, "rows chains" each; for draws of warm-up, only the number of gradients."""
        num = len(rows["log_joint"])
        if warming:
            self.warmup_gradients += rows["num_gradients"].sum(0)
        else:
            there = slice(self.num_drawn, self.num_drawn + num)
            self.draws[there] = rows["weights"]
            for name, values in self.statistics.items():
                values[there] = rows[name]
            self.num_drawn += num
            self._blocks.append((self.num_drawn, _checksum(rows["weights"])))
        self.count += num
        if self.directory is not None:
            assert isinstance(self.draws, np.memmap)
            self.draws.flush()
            self._leaves = [_plain(x) for x in jax.tree.leaves(state)]
            self._save(self.directory)

    def _save(self, directory: Path) -> None:
        arrays = {f"statistics/{name}": values for name, values in self.statistics.items()}
        arrays |= {f"leaf/{i}": leaf for i, leaf in enumerate(self._leaves)}
        arrays["warmup_gradients"] = self.warmup_gradients
        counts = {"count": self.count, "num_drawn": self.num_drawn, "blocks": self._blocks}
        storage.write(directory / STATE, arrays, {"run": self.about, **counts})

    def _load(self, directory: Path) -> None:
        arrays, about = storage.read(directory / STATE)
        if "run" not in about:
            raise InputError(f"`directory`: {directory / STATE} is not a file of chains")
        self._check_run(about["run"])
        self.count, self.num_drawn = about["count"], about["num_drawn"]
        self._blocks = [(end, checksum) for end, checksum in about["blocks"]]
        # Those that are read cannot be written to.
        self.warmup_gradients = np.array(arrays["warmup_gradients"])
        self.statistics = {k: np.array(arrays[f"statistics/{k}"]) for k in self.statistics}
        num_leaves = sum(name.startswith("leaf/") for name in arrays)
        self._leaves = [arrays[f"leaf/{i}"] for i in range(num_leaves)]

    def _check_run(self, before: dict[str, Any]) -> None:
        """Refuses to continue another run than the one that was begun."""
        for name, now in self.about.items():
            then: Any = before.get(name)
            # Another number of threads may change the last digits.
            close = name == "at_start" and np.shape(then) == np.shape(now)
            if not (np.allclose(then, now, rtol=1e-3) if close else then == now):
                what = "log joint where the chains start" if name == "at_start" else name
                raise InputError(
                    f"`directory`: {self.directory} holds chains with another {what}: {then}, "
                    f"not {now}; choose another directory"
                )

    def _check_draws(self, directory: Path) -> None:
        first = 0
        for end, checksum in self._blocks:
            if _checksum(self.draws[first:end]) != checksum:
                raise InputError(
                    f"`directory`: {directory / DRAWS} is damaged, the checksum of draws {first} "
                    f"to {end - 1} is wrong; remove the directory to start again"
                )
            first = end


def _opened(path: Path, shape: tuple[int, ...], *, begun: bool) -> np.memmap:
    """The file of draws; a new one, unless some are counted already."""
    if not begun:
        draws = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        _allocate(path)
        return draws
    try:
        # To be read first: NumPy makes a file that is to be written to as long as it claims to be.
        draws = np.load(path, mmap_mode="r")
    except PermissionError:
        raise
    except (OSError, ValueError, EOFError, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"`directory`: {path} is missing or damaged ({reason})") from error
    if draws.shape != shape or draws.dtype != np.float32:
        raise InputError(
            f"`directory`: {path} is damaged, it must hold float32 of shape {shape}, got "
            f"{draws.dtype} of shape {draws.shape}"
        )
    return np.lib.format.open_memmap(path, "r+")


def _allocate(path: Path) -> None:
    """Reserves the space of a file: on a full disk, a write to mapped memory kills the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _checksum(draws: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(draws, np.float32).data).hexdigest()


def _plain(x: Any) -> np.ndarray:
    """A leaf as it is written to a file."""
    return np.asarray(jax.random.key_data(x) if _is_key(x) else x)


def _like(fresh: Any, saved: np.ndarray) -> Any:
    """A saved leaf in the form that the kernel needs."""
    if _is_key(fresh):
        return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(fresh))
    return jnp.asarray(saved, fresh.dtype)


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)

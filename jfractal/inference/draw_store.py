"""Where the draws of Markov chains are kept as they come: in a directory, or in memory."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfractal.errors import InputError

__all__ = ["STATISTICS", "DrawStore"]

STATISTICS = ("log_joint", "energy", "accept_prob", "num_gradients", "divergences")


@dataclass
class DrawStore:
    """Draws of the weights, what is known of each, and the chains' state after the last.

    In a directory, ``draws.npy`` holds the weights of the draws that ``state.npz`` counts; that
    file is replaced atomically after the draws are written, so a process killed at any moment
    loses the draws since, and no others.

    Attributes:
        directory: Where they lie; None for memory.
        draws: float32 weights, "draws chains weights".
        statistics: Of each draw, "draws chains", float64.
        warmup_gradients: Gradients of each chain in warm-up, "chains".
        count: Steps of warm-up and draws so far.
    """

    directory: Path | None
    about: dict[str, Any]
    draws: np.ndarray
    statistics: dict[str, np.ndarray]
    warmup_gradients: np.ndarray
    count: int = 0
    num_drawn: int = 0
    _leaves: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        directory: str | Path | None,
        *,
        shape: tuple[int, int, int],
        about: dict[str, Any],
        at_start: np.ndarray,
    ) -> "DrawStore":
        """Opens what is there of a run, or a new one.

        Args:
            directory: Where it lies; None for memory.
            shape: Of `draws`.
            about: What makes it this run and no other, as JSON holds it.
            at_start: The log joint where the chains start: a fingerprint of model, data and start.

        Raises:
            InputError: If the directory cannot be written, or holds another run.
        """
        about = json.loads(json.dumps({**about, "shape": shape, "at_start": at_start.tolist()}))
        blank = {name: np.zeros(shape[:2]) for name in STATISTICS}
        if directory is None:
            return cls(None, about, np.empty(shape, np.float32), blank, np.zeros(shape[1]))
        directory = Path(directory)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            begun = (directory / "state.npz").exists()
            draws = np.lib.format.open_memmap(
                directory / "draws.npy", "r+" if begun else "w+", np.float32, shape
            )
        except OSError as error:
            raise InputError(
                f"`directory`: cannot write to {directory}: {error.strerror}"
            ) from error
        store = cls(directory, about, draws, blank, np.zeros(shape[1]))
        if begun:
            store._load(directory)
        return store

    @property
    def bytes_per_draw(self) -> int:
        """Of one draw of all chains."""
        return max(self.draws[0].nbytes, 1)

    def restore(self, state: Any) -> Any:
        """The chains' state after the last draw; the given one, if there is none yet."""
        if not self._leaves:
            return state
        fresh, structure = jax.tree.flatten(state)
        leaves = [_like(x, saved) for x, saved in zip(fresh, self._leaves, strict=True)]
        return jax.tree.unflatten(structure, leaves)

    def keep(self, rows: dict[str, np.ndarray], state: Any, *, warming: bool) -> None:
        """Adds draws, "rows chains" each; of those of warm-up, only what they cost."""
        num = len(rows["log_joint"])
        if warming:
            self.warmup_gradients += rows["num_gradients"].sum(0)
        else:
            there = slice(self.num_drawn, self.num_drawn + num)
            self.draws[there] = rows["weights"]
            for name in STATISTICS:
                self.statistics[name][there] = rows[name]
            self.num_drawn += num
        self.count += num
        if self.directory is not None:
            self._save(self.directory, [_plain(x) for x in jax.tree.leaves(state)])

    def _save(self, directory: Path, leaves: list[np.ndarray]) -> None:
        assert isinstance(self.draws, np.memmap)
        self.draws.flush()
        content: dict[str, Any] = {
            "about": json.dumps(self.about),
            "count": self.count,
            "num_drawn": self.num_drawn,
            "warmup_gradients": self.warmup_gradients,
            **self.statistics,
            **{f"leaf_{i}": leaf for i, leaf in enumerate(leaves)},
        }
        temporary = directory / ".state.npz.part"
        with temporary.open("wb") as file:
            np.savez(file, **content)
        os.replace(temporary, directory / "state.npz")

    def _load(self, directory: Path) -> None:
        with np.load(directory / "state.npz") as saved:
            self._check(json.loads(str(saved["about"])))
            self.count, self.num_drawn = int(saved["count"]), int(saved["num_drawn"])
            self.warmup_gradients = saved["warmup_gradients"]
            self.statistics = {name: saved[name] for name in STATISTICS}
            num_leaves = sum(name.startswith("leaf_") for name in saved.files)
            self._leaves = [saved[f"leaf_{i}"] for i in range(num_leaves)]

    def _check(self, before: dict[str, Any]) -> None:
        """Is it the run that was begun?"""
        for name, now in self.about.items():
            then: Any = before.get(name)
            # Another number of threads may change the last digits.
            same = np.allclose(then, now, rtol=1e-3) if name == "at_start" else then == now
            if not same:
                what = "log joint where the chains start" if name == "at_start" else name
                raise InputError(
                    f"`directory`: {self.directory} holds chains with another {what}: {then}, "
                    f"not {now}; choose another directory"
                )


def _plain(x: Any) -> np.ndarray:
    """A leaf as NumPy can save it."""
    return np.asarray(jax.random.key_data(x) if _is_key(x) else x)


def _like(fresh: Any, saved: np.ndarray) -> Any:
    """A saved leaf as the kernel has it."""
    if _is_key(fresh):
        return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(fresh))
    return jnp.asarray(saved, fresh.dtype)


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)

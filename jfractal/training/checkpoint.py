"""Checkpoints: the only file that knows orbax."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import jax
import orbax.checkpoint as ocp

from jfractal.errors import InputError

__all__ = ["Checkpoints"]

Tree = TypeVar("Tree")


@dataclass(frozen=True)
class Checkpoints:
    """The newest checkpoints of one run. A save that is cut short leaves the older ones intact.

    Attributes:
        directory: Where they lie; made when the first is saved.
        max_to_keep: How many to keep.
    """

    directory: Path
    max_to_keep: int = 2

    def save(self, step: int, tree: object) -> None:
        """Saves a tree of arrays under a step; one that is there already stays."""
        with self._manager() as manager:
            if step not in manager.all_steps():
                manager.save(step, args=ocp.args.StandardSave(_by_path(tree)))

    def restore(self, template: Tree) -> Tree | None:
        """The newest checkpoint.

        Args:
            template: A tree of the same structure, shapes and dtypes.

        Returns:
            The tree, bit for bit as it was saved; None if there is no checkpoint.

        Raises:
            InputError: If the checkpoint is of another structure or cannot be read.
        """
        with self._manager() as manager:
            step = manager.latest_step()
            if step is None:
                return None
            leaves = _by_path(template)
            try:
                saved = manager.restore(step, args=ocp.args.StandardRestore(leaves))
            except (ValueError, KeyError, OSError) as error:
                reason = str(error).splitlines()[0]
                raise InputError(
                    f"the checkpoint {self.directory / str(step)} is damaged or of another "
                    f"configuration: {reason}"
                ) from error
        return jax.tree.unflatten(jax.tree.structure(template), [saved[path] for path in leaves])

    def _manager(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self.max_to_keep, enable_async_checkpointing=False
        )
        return ocp.CheckpointManager(self.directory.resolve(), options=options)


def _by_path(tree: object) -> dict[str, jax.Array]:
    """Leaves by name, so that orbax need not know the node types."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}

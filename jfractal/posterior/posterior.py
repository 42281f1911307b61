"""The interface of a posterior: draws, moments, and a file."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jfractal import storage
from jfractal.arguments import as_path, check_functions
from jfractal.errors import InputError
from jfractal.summary import kind
from jfractal.typing import Apply, KeyArray, Params, Variables

__all__ = ["Posterior", "check_posterior", "check_tree"]

SHOWN = 12  # leaves in a repr, so that it fits on a screen


class Posterior:
    """A distribution over the variables of a model, as a pytree.

    A subclass defines `sample`, `mean` and `variance`. It also defines `predictive` if predictions
    come from another net than that of the model. `predict` needs only `sample`, so any object with
    that method will do.
    """

    def sample(self, key: KeyArray) -> Variables:
        """One draw of variables, as `apply` takes them: ``{"params": ..., ...}``, arrays only."""
        raise NotImplementedError

    def mean(self) -> Params:
        """The mean of every weight, as a tree of arrays."""
        raise NotImplementedError

    def variance(self) -> Params:
        """The variance of every weight, as a tree of arrays."""
        raise NotImplementedError

    @property
    def references(self) -> tuple[str, ...]:
        """BibTeX keys of the papers behind the posterior, see `jf.citation`; none by default."""
        return ()

    def predictive(self, apply: Apply) -> Apply:
        """The function that a prediction runs under a draw: by default, the net itself.

        Args:
            apply: The net, ``apply(variables, x) -> outputs``.

        Returns:
            A function ``(variables, x) -> outputs`` of the variables that `sample` draws.
        """
        check_functions(apply=apply)
        return apply

    def save(self, path: str | Path) -> None:
        """Writes the posterior to one file, which `jf.load` reads in any process.

        Args:
            path: The file. If it exists, it is replaced atomically.

        Raises:
            InputError: If the file cannot be written.
        """
        storage.save(as_path("path", path), self)

    def __repr__(self) -> str:
        leaves = jax.tree_util.tree_leaves_with_path(self)
        lines = [f"  {_name(path)}: {kind(x)}" for path, x in leaves[:SHOWN]]
        if len(leaves) > SHOWN:
            lines.append(f"  … and {len(leaves) - SHOWN} more arrays")
        numbers = sum(jnp.size(x) for _, x in leaves)
        return "\n".join([f"{type(self).__name__} of {numbers:,} numbers", *lines])


def check_posterior(posterior: Any) -> None:
    """Refuses anything that cannot be drawn from.

    Raises:
        InputError: If `posterior` has no ``sample(key)``, or is a class instead of an instance.
    """
    if not callable(getattr(posterior, "sample", None)) or isinstance(posterior, type):
        kind = f"the class {posterior.__name__}" if isinstance(posterior, type) else ""
        raise InputError(
            "`posterior` must have `sample(key) -> variables`, as `Point({'params': tree})` and "
            f"`MeanField(tree)` have it, got {kind or f'a {type(posterior).__name__}'}"
        )


def check_tree(params: Any, function: str, instead: str) -> None:
    """Refuses a posterior where a function needs a tree of weights.

    Raises:
        InputError: If `params` is a posterior; the message says what to call instead.
    """
    if isinstance(params, Posterior):
        raise InputError(
            f"`params` of `{function}` must be a tree of weights, got a posterior, "
            f"{type(params).__name__}: call {instead}"
        )


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")

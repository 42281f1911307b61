"""The two passes of a model, for evaluation and for training, made from a module."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jfractal.errors import InputError
from jfractal.typing import Apply, KeyArray, Variables

__all__ = ["linen"]

# Keywords that tell training from evaluation, and their value in training.
TRAINING = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}


def linen(net: Any, *, training: str | None, rngs: Sequence[str]) -> tuple[Apply, Callable]:
    """Evaluation and training of a Linen module, see `Model.from_linen`."""
    parameters = inspect.signature(type(net).__call__).parameters
    if training is not None and training not in parameters:
        raise InputError(
            f"`training` must be a keyword of {type(net).__name__}.__call__, which takes "
            f"{', '.join(list(parameters)[1:])}, got {training!r}"
        )
    names = [training] if training is not None else [n for n in TRAINING if n in parameters]
    on = {name: TRAINING.get(name, True) for name in names[:1]}
    off = {name: not value for name, value in on.items()}

    def evaluate(variables: Variables, x: Any, **options: Any) -> Any:
        return net.apply(variables, x, **off | options)

    def train(variables: Variables, x: Any, key: KeyArray) -> tuple[Any, Variables]:
        streams = (*rngs, "posterior")
        keys = dict(zip(streams, jax.random.split(key, len(streams))))
        mutable = [name for name in variables if name != "params"]
        outputs, updates = net.apply(variables, x, mutable=mutable, rngs=keys, **on)
        return outputs, {**variables, **updates}

    return evaluate, train

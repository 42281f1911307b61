"""The fast convolution and matrix product for ordinary Flax nets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn

from jfractal import ops
from jfractal.arguments import check_functions

__all__ = ["fast"]


_OPERATIONS = {nn.Conv: "conv_general_dilated", nn.Dense: "dot_general"}


@dataclass(frozen=True)
class _Fast:
    """The function that `fast` returns, compared by value so that equal ones compile once."""

    apply: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(_swap):
            return self.apply(*args, **kwargs)


def fast(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Makes Flax's dense and convolutional layers in a function run on `jfractal.ops`.

    `flax.linen.Conv` uses `ops.conv_general_dilated`, and `flax.linen.Dense` uses
    `ops.dot_general`. Outputs are equal up to rounding. Under `vmap` over weights, Flax's
    convolution and its gradient become grouped convolutions, which are many times slower on CPU.
    Layers that were given their own operation keep it. Layers of other frameworks are not changed;
    `nnx.Conv` takes ``conv_general_dilated=jfractal.ops.conv_general_dilated``.

    Args:
        apply: Any function that applies Flax modules, e.g. ``net.apply``.

    Returns:
        A function of the same arguments. The functions for equal `apply` are equal.

    Example:
        >>> import flax.linen as nn, jax, jax.numpy as jnp, jfractal as jf
        >>> net = nn.Conv(4, (3, 3))
        >>> variables = net.init(jax.random.key(0), jnp.ones((2, 8, 8, 3)))
        >>> jf.nn.fast(net.apply)(variables, jnp.ones((2, 8, 8, 3))).shape
        (2, 8, 8, 4)
    """
    check_functions(apply=apply)
    return apply if isinstance(apply, _Fast) else _Fast(apply)


def _swap(run: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
    layer, run_layer = context.module, context.method_name == "__call__"
    for kind, operation in _OPERATIONS.items():
        if isinstance(layer, kind) and run_layer and getattr(layer, operation) is None:
            # A bound layer lives for one call of `apply`; modules are frozen to anybody else.
            object.__setattr__(layer, operation, getattr(ops, operation))
    return run(*args, **kwargs)

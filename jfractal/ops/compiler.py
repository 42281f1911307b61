"""`jax.jit` with the options of XLA that suit the operations of this library."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jfractal.arguments import check_functions

__all__ = ["compiler_options", "jit"]

# By default XLA's CPU backend hands convolutions and matrix products to a library that runs many
# of them on one core only, which two cores do up to 1.8 times faster; reductions it does best.
CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}


@cache
def compiler_options() -> dict[str, str] | None:
    """Options for an outermost ``jax.jit(..., compiler_options=...)``, for speed on CPU.

    Returns:
        Options; None on other platforms, and where this version of XLA does not know them.
    """
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=CPU_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return None
    return dict(CPU_OPTIONS)


def jit(function: Callable, **options: Any) -> Callable:
    """`jax.jit`, compiled with `compiler_options` unless it runs within another transformation.

    XLA takes options for a whole program; within somebody else's `jit` or `grad` the program is
    theirs.

    Args:
        function: What to compile.
        **options: Those of `jax.jit`.

    Returns:
        The compiled function, and as its `trace` that of `jax.jit`: a way to read its program.
    """
    check_functions(function=function)
    inner = jax.jit(function, **options)

    @cache
    def outermost() -> Callable:
        return jax.jit(function, compiler_options=compiler_options(), **options)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        run = inner if _is_traced((args, kwargs)) else outermost()
        return run(*args, **kwargs)

    vars(call)["trace"] = inner.trace
    return call


def _is_traced(args: Any) -> bool:
    """Whether this code is being traced: then even constants are tracers, or arguments are."""
    return any(isinstance(x, Tracer) for x in [jnp.zeros(()), *jax.tree.leaves(args)])

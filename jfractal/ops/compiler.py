"""`jax.jit` with XLA options that suit the operations of this library."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jfractal.arguments import check_functions
from jfractal.ops.processor import processor

__all__ = ["compiler_options", "jit"]

# By default XLA's CPU backend hands convolutions and matrix products to a library that runs many
# of them on one core only, which two cores do up to 1.8 times faster; reductions it does best.
# Only that library uses a processor's arithmetic for bfloat16. Where there is such arithmetic, the
# library gets single products too, which in float32 take it about as long.
LIBRARY, DEFAULT = "xla_cpu_experimental_ynn_fusion_type", "LIBRARY_FUSION_TYPE_REDUCE"
WITH_BFLOAT16 = f"{DEFAULT},LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"


@cache
def compiler_options() -> dict[str, str] | None:
    """Options for an outermost ``jax.jit(..., compiler_options=...)``, for speed on CPU.

    Returns:
        Options; None on other platforms, or if this version of XLA does not know them.
    """
    if jax.default_backend() != "cpu":
        return None
    options = {LIBRARY: WITH_BFLOAT16 if processor().has_bfloat16 else DEFAULT}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return None
    return options


def jit(function: Callable, **options: Any) -> Callable:
    """`jax.jit`, compiled with `compiler_options` unless it runs within another transformation.

    XLA takes options for a whole program, and within an outer `jit` or `grad` the program is not
    this function's.

    Args:
        function: The function to compile.
        **options: Options of `jax.jit`.

    Returns:
        The compiled function. Its `trace` is that of `jax.jit`, which shows its program.
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
    """Whether this code is being traced, so that constants or arguments are tracers."""
    return any(isinstance(x, Tracer) for x in [jnp.zeros(()), *jax.tree.leaves(args)])

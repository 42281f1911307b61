"""Spoiled calls of `jfractal.ops`."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jfractal import ops
from tests.spoiled.calls import Call

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
X = jnp.asarray(RNG.normal(size=(2, 4, 4, 3)), jnp.float32)
KERNEL = jnp.asarray(RNG.normal(size=(3, 3, 3, 2)), jnp.float32)
SCALE = jnp.ones((1, 1, 1, 3))
# Operations compute what they are given: NaN is NaN.
VALUES = "NaN, all NaN, inf, -inf, negative, zero, doubled, huge, half precision"


def calls() -> Iterator[Call]:
    yield Call(partial(ops.normal, shape=(2, 3)), {"key": KEY}, name="normal")
    yield Call(
        partial(ops.bernoulli, shape=(2, 3)), {"key": KEY, "p": 0.3}, {"p": "zero"}, "bernoulli"
    )
    yield Call(
        ops.max_pool,
        {"x": X},
        {"x": f"{VALUES}, a row less, a column less, booleans, an axis more"},
        may_be_nan=True,
    )
    yield Call(
        ops.maximum,
        {"x": X, "y": X},
        {"x": f"{VALUES}, booleans", "y": f"{VALUES}, booleans"},
        may_be_nan=True,
    )
    yield Call(
        ops.normalize,
        {"x": X, "scale": SCALE, "bias": SCALE, "axes": (0, 1, 2), "epsilon": 1e-5},
        {
            "x": f"{VALUES}, booleans, a row less",
            "scale": f"{VALUES}, booleans",
            "bias": f"{VALUES}, booleans",
            "axes": "a part less",
        },
        may_be_nan=True,
    )
    yield Call(ops.live_bytes, {"function": lambda: jnp.zeros(3)})
    yield Call(ops.faster_precision, {"function": lambda: jnp.zeros(3)})
    yield Call(
        partial(ops.dot_general, dimension_numbers=(((3,), (0,)), ((), ()))),
        {"lhs": X, "rhs": KERNEL[0, 0]},
        {
            "lhs": f"{VALUES}, a row less, a column less, booleans, complex, empty",
            "rhs": f"{VALUES}, a column less, booleans, complex, empty",
        },
        "dot_general",
        may_be_nan=True,
    )
    yield Call(ops.jit, {"function": lambda: jnp.zeros(3)})
    yield Call(ops.largest_batch, {"cost": lambda n: 2**22 * n, "num_examples": 100})
    yield Call(ops.even_part, {"total": 100, "limit": 30})
    yield Call(
        partial(ops.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC")),
        {"lhs": X, "rhs": KERNEL, "window_strides": (1, 1), "padding": "SAME"}
        | {"lhs_dilation": (1, 1), "rhs_dilation": (1, 1)}
        | {"feature_group_count": 1, "batch_group_count": 1},
        {
            "lhs": f"{VALUES}, a row less, empty",
            "rhs": f"{VALUES}, a row less, a column less",
            "lhs_dilation": "empty",
            "rhs_dilation": "empty",
        },
        name="conv_general_dilated",
        may_be_nan=True,
        known_as={"feature_group_count": "lhs", "batch_group_count": "lhs"},
    )
    yield Call(
        partial(ops.conv_general_dilated, X, jnp.ones((2, 4, 3, 3)), (1, 1)),
        {"padding": ((1, 1), (1, 1))},
        {"padding": "part part negative, part part zero"},
        name="conv_general_dilated(padding)",
    )

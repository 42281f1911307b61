"""Layers whose weights may be distributions: dense, convolutional, embedding.

A layer whose parameters are arrays behaves as in Flax. A layer whose parameters are `Gaussian`
leaves draws from them by the leaf's estimator (`jfractal.nn.estimators`), with the rng stream
``posterior``. A layer that is used several times (tied) is one random variable: draws are keyed by
the path of the parameter, not by the call.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from math import exp
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax.interpreters.partial_eval import JaxprTracer

from jfractal import ops
from jfractal.arguments import as_array, check_values, check_weight, described
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.nn.dtypes import check_dtypes
from jfractal.nn.estimators import draw
from jfractal.nn.fitting import fitting
from jfractal.posterior.gaussian import (
    Estimator,
    Gaussian,
    Parameterisation,
    gaussians,
    mean,
    mean_field,
)
from jfractal.typing import Array, Int, KeyArray, Params

__all__ = ["LOG_VARIANCE", "BayesConv", "BayesDense", "BayesEmbed", "Conv"]

LOG_VARIANCE: Mapping[str, Any] = MappingProxyType(
    {
        "parameterisation": "log_variance",
        "scale": exp(-1.5),
        "mean_scale": 0.1,
    }
)
"""Wide initial posteriors, ``BayesDense(10, **LOG_VARIANCE)``: log-variance -3, means ~ N(0, 0.1²).

They work for every layer here. Inside a unit, they override the unit's own kernel initialiser.
"""


class Conv(nn.Conv):
    """`nn.Conv` on `jfractal.ops.conv_general_dilated`, fast under `vmap` over its kernel."""

    conv_general_dilated: Any = ops.conv_general_dilated

    def __post_init__(self):
        check_dtypes(self)
        super().__post_init__()


class BayesDense(nn.Dense):
    """`nn.Dense` with Gaussian weights, and the same arguments.

    Parameters: ``kernel`` (inputs, features) and ``bias`` (features,), each a `Gaussian` leaf made
    by `init`. Rng stream: ``posterior``, unless the leaves have been replaced by arrays.

    Attributes:
        scale: Initial standard deviation of every weight, above 0.
        mean_scale: Initial means are N(0, mean_scale²); by default, from the layer's initialisers.
        estimator: How the layer draws from the leaves, see `Gaussian`.
        parameterisation: ``softplus`` or ``log_variance``, see `Gaussian`.
    """

    scale: float = 0.01
    mean_scale: float | None = None
    estimator: Estimator = "reparam"
    parameterisation: Parameterisation = "softplus"

    def __post_init__(self):
        check_dtypes(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Maps "*batch inputs" to "*batch features"."""
        inputs = _checked(inputs)
        with fitting(self, "inputs", inputs):
            return _bayesian(self, nn.Dense, "dot_general", ops.dot_general)(inputs)


class BayesConv(Conv):
    """`nn.Conv` with Gaussian weights, and the same arguments except `mask`.

    Parameters: ``kernel`` (*window, inputs, features) and ``bias`` (features,), each a `Gaussian`
    leaf made by `init`. Rng stream: ``posterior``, unless the leaves have been replaced by arrays.

    Attributes:
        scale: Initial standard deviation of every weight, above 0.
        mean_scale: Initial means are N(0, mean_scale²); by default, from the layer's initialisers.
        estimator: How the layer draws from the leaves, see `Gaussian`.
        parameterisation: ``softplus`` or ``log_variance``, see `Gaussian`.
    """

    scale: float = 0.01
    mean_scale: float | None = None
    estimator: Estimator = "reparam"
    parameterisation: Parameterisation = "softplus"

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Maps "batch *space inputs" to "batch *space features"."""
        inputs = _checked(inputs, np.size(self.kernel_size))
        with fitting(self, "inputs", inputs):
            return _bayesian(self, Conv, "conv_general_dilated", ops.conv_general_dilated)(inputs)


class BayesEmbed(nn.Embed):
    """`nn.Embed` with a Gaussian table, and the same arguments.

    Parameters: ``embedding`` (tokens, features), a `Gaussian` leaf made by `init`. Rng stream:
    ``posterior``, unless the leaf has been replaced by an array. In a lookup, ``local_reparam``
    draws rows instead of the table. ``flipout`` is refused, because tokens have no signs to flip.

    Attributes:
        scale: Initial standard deviation of every weight, above 0.
        mean_scale: Initial means are N(0, mean_scale²); by default, from the layer's initialiser.
        estimator: How the layer draws from the leaf, see `Gaussian`.
        parameterisation: ``softplus`` or ``log_variance``, see `Gaussian`.
    """

    scale: float = 0.01
    mean_scale: float | None = None
    estimator: Estimator = "reparam"
    parameterisation: Parameterisation = "softplus"

    def __post_init__(self):
        check_dtypes(self)
        super().__post_init__()

    def setup(self):
        """Makes the table."""
        check_counts(num_embeddings=self.num_embeddings, features=self.features)
        init = _gaussian_init(self, self.embedding_init)
        shape = (self.num_embeddings, self.features)
        self.embedding = self.param("embedding", init, shape, self.param_dtype)

    def __call__(self, inputs: Int[Array, "*batch"]) -> Array:
        """Maps tokens "*batch" to "*batch features".

        Raises:
            InputError: If the estimator is ``flipout``.
        """
        inputs = _checked(inputs)
        if not jnp.issubdtype(inputs.dtype, jnp.integer):
            raise InputError(f"`inputs` must be integers, the tokens, got {described(inputs)}")
        size = self.num_embeddings
        check_values("inputs", inputs, f"in [0, {size})", lambda t: (t >= 0) & (t < size))
        table, key = self._table()
        lookup = self._flax("__call__")
        match table:
            case Gaussian(estimator="flipout"):
                raise InputError(
                    "`estimator` of an embedding must be another than 'flipout', which flips the "
                    "signs of inputs: tokens have none"
                )
            case Gaussian(estimator="local_reparam"):
                assert key is not None
                return jax.tree.map(partial(lookup, inputs), table).sample(key)
        return draw(lambda x, w: lookup(x[..., 0], w), inputs[..., None], table, key)

    def attend(self, query: Array) -> Array:
        """Inner products of "*batch features" with every row of the table: "*batch tokens"."""
        table, key = self._table()
        return draw(self._flax("attend"), query, table, key)

    def _table(self) -> tuple[Array | Gaussian, KeyArray | None]:
        table = mean(self.embedding) if self.is_initializing() else self.embedding
        return table, _keys(self, table)[0]

    def _flax(self, method: str) -> Callable[[Array, Array], Array]:
        """A method of the layer of Flax as a function of its input and the table."""
        own = {f.name: getattr(self, f.name) for f in fields(nn.Embed) if f.init}
        options: dict[str, Any] = own | {"parent": None, "name": None}
        layer: Any = nn.Embed(**options)
        return lambda x, w: layer.apply({"params": {"embedding": w}}, x, method=method)


def _bayesian(layer: Any, base: type[nn.Module], operation: str, linear: Callable) -> nn.Module:
    """The layer's `base` with Gaussian initialisers, and estimators around its one operation.

    In Flax's layers, the operation and the type promotion can be replaced. Everything else, from
    padding to precision, stays Flax's.
    """
    check_counts(features=layer.features)
    options = {f.name: getattr(layer, f.name) for f in fields(base) if f.init}
    inner = base(
        **options
        | {
            "kernel_init": _gaussian_init(layer, layer.kernel_init),
            "bias_init": _gaussian_init(layer, layer.bias_init),
            "promote_dtype": partial(_promote_dtype, layer),
            operation: partial(_estimate, layer, getattr(layer, operation) or linear),
            "name": None,
            "parent": layer,
        }
    )
    nn.share_scope(layer, inner)
    return inner


def _checked(inputs: Any, space: int = 0) -> Array:
    """Inputs as an array with at least one example and at least one feature."""
    inputs = jnp.asarray(as_array("inputs", inputs))
    if inputs.ndim <= space or not inputs.size:
        axes = "one of features" + f", behind {space} of space" * bool(space)
        raise InputError(f"`inputs` must have no empty axis, and {axes}, got shape {inputs.shape}")
    return inputs


def _gaussian_init(layer: Any, mean_init: Callable) -> Callable:
    if layer.mean_scale is not None:
        check_weight(mean_scale=layer.mean_scale)
        mean_init = nn.initializers.normal(layer.mean_scale)

    def init(key: KeyArray, shape: tuple[int, ...], dtype: Any) -> Params:
        return mean_field(
            mean_init(key, shape, dtype),
            scale=layer.scale,
            estimator=layer.estimator,
            parameterisation=layer.parameterisation,
        )

    return init


def _promote_dtype(layer: nn.Module, x: Array, kernel: Any, bias: Any, *, dtype: Any) -> tuple:
    """Flax's type promotion, except for Gaussian leaves, which are left to `_estimate`."""
    x, *promoted = promote_dtype(x, *mean((kernel, bias)), dtype=dtype)
    if layer.is_initializing():  # only shapes matter then, and no key is asked for
        return x, *promoted
    if isinstance(kernel, Gaussian):
        promoted[0] = kernel
    if isinstance(bias, Gaussian):
        promoted[1] = jnp.zeros_like(promoted[1])
    return x, *promoted


def _estimate(
    layer: Any, linear: Callable, x: Array, kernel: Any, *args: Any, **kwargs: Any
) -> Array:
    """The layer's operation and its bias, each drawn by the estimator of its leaf."""

    def multiply(x: Array, w: Array) -> Array:
        return linear(x, w.astype(x.dtype), *args, **kwargs)

    def shift(x: Array, b: Array) -> Array:
        return x * b.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))

    if layer.is_initializing():
        return multiply(x, kernel)
    bias = layer.get_variable("params", "bias") if layer.use_bias else None
    key_kernel, key_bias = _keys(layer, (kernel, bias))
    y = draw(multiply, x, kernel, key_kernel)
    if not isinstance(bias, Gaussian):
        return y  # Flax adds it
    # A bias is a kernel on an input that is constant.
    return y + draw(shift, jnp.ones((*y.shape[:-1], 1), y.dtype), bias, key_bias)


def _keys(layer: nn.Module, leaves: Params) -> tuple[KeyArray | None, KeyArray | None]:
    """Two keys, which depend on the path of the layer and not on the call, so that ties hold."""
    estimators = {leaf.estimator for leaf in gaussians(leaves)}
    if not estimators:
        return None, None
    scope = layer.scope
    assert scope is not None
    path = "/".join(layer.path) or type(layer).__name__
    if not layer.has_rng("posterior"):
        raise InputError(
            f"the weights of {path} are Gaussian: give `apply` rngs={{'posterior': key}}, or draw "
            "them first with `sample(params, key)`"
        )
    # Flax's scan runs a layer once more, to see what it makes, and throws the results away.
    rng: Any = scope.rngs["posterior"]
    is_trial = isinstance(rng.rng, JaxprTracer)
    if "local_reparam" in estimators and not is_trial:
        if scope.rng_counters["posterior"] > 0:
            raise InputError(
                f"{path} is used more than once in a pass: 'local_reparam' draws outputs and "
                "cannot let two uses share their weights; use another estimator"
            )
        layer.make_rng("posterior")  # counts the use
    key_kernel, key_bias = jax.random.split(rng.as_jax_rng())
    return key_kernel, key_bias

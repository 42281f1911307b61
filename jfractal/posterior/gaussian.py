"""The Gaussian leaf: a weight that is a distribution instead of an array.

The parameters of a Bayesian net are the tree of the deterministic net, with `Gaussian` nodes for
uncertain weights. All other leaves stay arrays (point estimates). Everything here is a pure
function of such a tree.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from jfractal import ops
from jfractal.arguments import (
    as_array,
    check_choice,
    check_functions,
    check_key,
    check_positive,
    described,
)
from jfractal.errors import InputError
from jfractal.posterior.noise import normals
from jfractal.posterior.posterior import check_tree
from jfractal.posterior.routes import Routes
from jfractal.posterior.softplus import inverse_softplus, log_softplus, softplus
from jfractal.storage import storable
from jfractal.typing import Array, KeyArray, Params

__all__ = [
    "Estimator",
    "Gaussian",
    "Parameterisation",
    "Where",
    "check_weights",
    "everywhere",
    "gaussians",
    "inverse_softplus",
    "map_gaussians",
    "mean",
    "mean_field",
    "named_leaves",
    "sample",
    "variance",
]

Estimator = Literal["reparam", "local_reparam", "flipout", "antithetic", "per_example"]
Parameterisation = Literal["softplus", "log_variance"]
Where = Callable[[str, Array], bool]
"""Picks leaves by path and by value (or mean); paths look like ``block1/conv/kernel``."""


def everywhere(path: str, leaf: Array) -> bool:
    """Picks every leaf."""
    return True


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian over one weight array, ``w = mean + std(rho) · ε``, ε ~ N(0, 1).

    Attributes:
        mean: Means.
        rho: Unbounded parameters of the standard deviations, of the shape of `mean`.
        estimator: How a layer draws from the leaf in training: ``reparam`` (one draw of the
            weights for the whole batch), or an estimator of `jfractal.nn.estimators`, which only
            `BayesDense`, `BayesConv` and `BayesEmbed` support.
        parameterisation: How rho gives the standard deviations: ``softplus`` (std = softplus(rho))
            or ``log_variance`` (std = e^{rho/2}).

    Source: Blundell et al., "Weight uncertainty in neural networks", ICML 2015, §3.2.
    """

    # `Any`, for JAX rebuilds trees with shapes and other stand-ins where arrays were.
    mean: Any
    rho: Any
    estimator: Estimator = field(default="reparam", metadata={"static": True})
    parameterisation: Parameterisation = field(default="softplus", metadata={"static": True})

    def __post_init__(self):
        check_choice("estimator", self.estimator, get_args(Estimator))
        check_choice("parameterisation", self.parameterisation, get_args(Parameterisation))

    @property
    def std(self) -> Array:
        """Standard deviations."""
        return _STD[self.parameterisation](self.rho)

    @property
    def log_std(self) -> Array:
        """Log of the standard deviations, finite even if these underflow."""
        return _LOG_STD[self.parameterisation](self.rho)

    @property
    def wide(self) -> "Gaussian":
        """This leaf, converted to at least float32 so that sums over many weights stay accurate."""
        dtype = jnp.promote_types(self.mean.dtype, jnp.float32)
        return replace(self, mean=self.mean.astype(dtype), rho=self.rho.astype(dtype))

    def sample(self, key: KeyArray) -> Array:
        """One draw of the weights, of the shape and dtype of `mean`."""
        check_key("key", key)
        return self.at(ops.normal(key, self.mean.shape, self.mean.dtype))

    def at(self, noise: Array) -> Array:
        """The weights `noise` standard deviations away from the mean."""
        return self.mean + self.std * self._alike("noise", noise)

    def _alike(self, name: str, x: Array) -> Array:
        """An array of the shape of the leaf."""
        x = jnp.asarray(as_array(name, x))
        if x.shape != self.mean.shape:
            raise InputError(
                f"`{name}` must have the shape of the leaf, {self.mean.shape}, got {x.shape}"
            )
        return x

    def log_prob(self, w: Array) -> Array:
        """Elementwise log density at `w`, in nats."""
        return jax.scipy.stats.norm.logpdf(self._alike("w", w), self.mean, self.std)

    def __jax_array__(self) -> Array:
        """Raises an error, because a distribution is not an array."""
        raise InputError(
            f"a Gaussian weight (estimator {self.estimator!r}) reached an operation that needs an "
            "array: call `sample(params, key)` first, and use estimators other than 'reparam' in "
            "BayesDense, BayesConv and BayesEmbed only"
        )


def _is_gaussian(x: Any) -> bool:
    return isinstance(x, Gaussian)


def _is_distribution(x: Any) -> bool:
    return isinstance(x, Gaussian | Routes)


# From rho to the standard deviation, to its log, and back.
_STD = {"softplus": softplus, "log_variance": lambda rho: jnp.exp(rho / 2)}
_LOG_STD = {"softplus": log_softplus, "log_variance": lambda rho: rho / 2}
_RHO = {"softplus": inverse_softplus, "log_variance": lambda std: 2 * jnp.log(std)}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(params: Params) -> list[tuple[str, Any]]:
    """The leaves of a tree and their paths, ``block1/conv/kernel``; a distribution is one leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(params, is_leaf=_is_distribution)
    return [(_name(path), leaf) for path, leaf in leaves]


def check_weights(params: Params, name: str = "params") -> None:
    """Refuses anything but a tree of floating-point weights.

    Raises:
        InputError: If there are no leaves, or one is an integer, a boolean, a key, or not an array.
    """
    leaves = named_leaves(params)
    if not leaves:
        raise InputError(f"`{name}` must hold at least one array, got {described(params)}")
    for path, leaf in leaves:
        for x in jax.tree.leaves(leaf):
            if not jnp.issubdtype(getattr(x, "dtype", type(x)), jnp.floating):
                raise InputError(
                    f"`{name}` must be floating-point arrays, got {described(x)} at '{path}'"
                )


def gaussians(params: Params, where: Where = everywhere) -> list[Gaussian]:
    """The Gaussian leaves that ``where(path, mean)`` picks, in the order of the tree."""
    return [x for path, x in named_leaves(params) if _is_gaussian(x) and where(path, x.mean)]


def map_gaussians(
    function: Callable[[Gaussian], Any], params: Params, where: Where = everywhere
) -> Params:
    """Replaces the Gaussian leaves that `where` picks by ``function(leaf)``, and no others."""

    def replaced(path: Any, x: Any) -> Any:
        return function(x) if _is_gaussian(x) and where(_name(path), x.mean) else x

    return jax.tree_util.tree_map_with_path(replaced, params, is_leaf=_is_gaussian)


def mean_field(
    params: Params,
    *,
    scale: float = 0.01,
    where: Where = everywhere,
    estimator: Estimator = "reparam",
    parameterisation: Parameterisation = "softplus",
) -> Params:
    """Turns a tree of arrays into a mean-field posterior centred on it.

    ``q(w) = Π_i N(w_i; params_i, scale²)``. It works on the parameters of any Flax model, freshly
    initialised or trained.

    Args:
        params: Weights. If a picked leaf is Gaussian already, its mean is used.
        scale: Initial standard deviation of every weight, above 0.
        where: ``where(path, leaf)`` picks the leaves that become Gaussian; the others stay as they
            are. Paths look like ``block1/conv/kernel``.
        estimator: How layers draw from these leaves. Only `BayesDense`, `BayesConv` and
            `BayesEmbed` support estimators other than ``reparam``.
        parameterisation: ``softplus`` or ``log_variance``, see `Gaussian`.

    Returns:
        The same tree with `Gaussian` nodes instead of the picked arrays.

    Raises:
        InputError: If `scale` is not positive, or `estimator` or `parameterisation` is unknown.

    Example:
        Paths make a net partially Bayesian::

            params = fractal.init(key, images)["params"]
            jf.mean_field(params, where=lambda path, leaf: path.startswith("head/"))  # last layer
            jf.mean_field(params, where=lambda path, leaf: "column2_" in path)  # one column
            jf.mean_field(params, where=lambda path, leaf: path.endswith("kernel"))  # no biases
    """
    check_tree(params, "mean_field", "it with `posterior.mean()`")
    check_positive(scale=scale)
    check_functions(where=where)
    check_choice("estimator", estimator, get_args(Estimator))
    check_choice("parameterisation", parameterisation, _RHO)
    check_weights(params)
    if isinstance(params, dict) and "batch_stats" in params:
        raise InputError(
            "`params` must hold weights alone, got batch statistics at 'batch_stats': give "
            "`variables['params']`"
        )

    def lift(path: Any, leaf: Any) -> Any:
        if isinstance(leaf, Routes):
            return leaf
        mean = leaf.mean if _is_gaussian(leaf) else jnp.asarray(leaf)
        if not where(_name(path), mean):
            return leaf
        rho = _RHO[parameterisation](jnp.full(mean.shape, scale, mean.dtype))
        return Gaussian(mean, rho, estimator, parameterisation)

    return jax.tree_util.tree_map_with_path(lift, params, is_leaf=_is_distribution)


def sample(
    params: Params, key: KeyArray, *, where: Callable[[Gaussian], bool] = lambda leaf: True
) -> Params:
    """Draws a tree of arrays, ``w ~ q``: one network, in which tied weights are drawn once.

    Args:
        params: A tree with Gaussian leaves.
        key: Random key.
        where: ``where(leaf)`` picks the Gaussian leaves to draw; the others stay as they are.

    Returns:
        The tree with the picked Gaussian leaves replaced by a draw.
    """
    check_tree(params, "sample", "`posterior.sample(key)`")
    check_weights(params)
    check_key("key", key)
    check_functions(where=where)
    noise = iter(normals(key, [leaf.mean for leaf in gaussians(params) if where(leaf)]))
    return map_gaussians(lambda leaf: leaf.at(next(noise)) if where(leaf) else leaf, params)


def mean(params: Params) -> Params:
    """The tree of means: the network at the centre of the posterior."""
    check_tree(params, "mean", "`posterior.mean()`")
    check_weights(params)
    return map_gaussians(lambda leaf: leaf.mean, params)


def variance(params: Params) -> Params:
    """The tree of variances, e.g. for the mass matrix of `nuts`; 0 for leaves that are arrays."""
    check_tree(params, "variance", "`posterior.variance()`")
    check_weights(params)
    zeros = jax.tree.map(
        lambda x: x if _is_gaussian(x) else jnp.zeros_like(x), params, is_leaf=_is_gaussian
    )
    return map_gaussians(lambda leaf: leaf.std**2, zeros)

"""A method: three pure functions that turn a model and batches into a posterior."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jfractal.arguments import check_finite, check_key, described, naming
from jfractal.concrete import concrete
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.model import Model
from jfractal.posterior.gaussian import check_weights, mean
from jfractal.posterior.posterior import Posterior, check_tree
from jfractal.typing import Array, Int, KeyArray, Params, PyTree, Scalar, Variables

__all__ = [
    "Descent",
    "Info",
    "Method",
    "Start",
    "Update",
    "check_model",
    "count_data",
    "descent",
    "started",
]

Info: TypeAlias = dict[str, Scalar]
"""Scalars of a step by name: ``loss`` and its parts, in nats per example, and metrics."""

Start: TypeAlias = Params | Variables | Callable[[KeyArray], Params | Variables]
"""Weights, or all variables of a model, or a function of a random key that draws either."""


class Update(Protocol):
    """One step: ``update(state, batch, key) -> (state, info)``."""

    def __call__(
        self, state: Any, batch: Batch, key: KeyArray, num_data: int | None = None
    ) -> tuple[Any, Info]:
        """Takes a step.

        Args:
            state: From `Method.init`, or from the step before.
            batch: Inputs and targets, ``(x, y)``.
            key: Random key of this step.
            num_data: Number N of examples in the data set. By default, the batch is all the data.

        Returns:
            The next state, and the metrics of the step by name.
        """
        ...


class Method(NamedTuple):
    """An inference method as pure functions, to jit, vmap, scan and shard as you like.

    Attributes:
        name: Name of the method in tables and messages.
        model: The model that it fits.
        init: ``init(params, key) -> state``. `params` are weights, all variables of the model, or a
            function of a key that draws either.
        update: ``update(state, batch, key, num_data=None) -> (state, info)``, see `Update`.
        posterior: ``posterior(state) -> Posterior``.
        references: BibTeX keys of the papers behind the method, see `jf.citation`.
        num_members: Number of members of an ensemble; None for any other method.

    Example:
        ::

            method = jf.variational(model, optax.adam(1e-3))
            state, update = method.init(params, key), jax.jit(method.update)
            for step, batch in enumerate(batches):
                key_step = jax.random.fold_in(key, step)
                state, info = update(state, batch, key_step, num_data=len(x))
            posterior = method.posterior(state)
    """

    name: str
    model: Model
    init: Callable[[Start, KeyArray], Any]
    update: Update
    posterior: Callable[[Any], Posterior]
    references: tuple[str, ...] = ()
    num_members: int | None = None

    def __repr__(self) -> str:
        return f"Method({self.name!r}, {self.model!r})"


def started(params: Start, key: KeyArray) -> tuple[Params, Variables]:
    """The starting point of a method: the weights, and the other collections of the model.

    Args:
        params: Weights, or all variables of the model, or a function of a key that draws
            either.
        key: Random key, for a function that draws.

    Raises:
        InputError: If there are no weights, or one is not a floating-point array.
    """
    check_key("key", key)
    check_tree(params, "init", "`posterior.mean()` for a tree")
    # A tree may be callable too, as an Equinox module is.
    if callable(params) and jax.tree_util.all_leaves([params]):
        params = params(key)
    rest: Variables = {}
    if isinstance(params, dict) and "params" in params:
        rest = {name: tree for name, tree in params.items() if name != "params"}
        params = params["params"]
    check_weights(params)
    for x in jax.tree.leaves(mean(params)):
        check_finite("params", x)
    return jax.tree.map(jnp.asarray, params), rest


def count_data(batch: Batch, num_data: int | None) -> int:
    """The number N of examples in the data set that a batch is part of.

    Raises:
        InputError: If `batch` is not a batch, or `num_data` is smaller than the batch.
    """
    with naming("batch"):
        size = batch_size(batch)
    if num_data is None:
        return size
    known = concrete(num_data)
    if known is not None:
        check_counts(0, num_data=num_data)
        if known < size:
            raise InputError(
                f"`num_data` must be at least {size}, the size of the batch, because it is the "
                f"size of the whole data set, got {num_data}"
            )
    return num_data


class Descent(NamedTuple):
    """State of a method that descends a loss.

    Attributes:
        step: Steps taken.
        params: Weights; leaves may be Gaussian.
        variables: The other collections of the model.
        opt_state: State of the optimizer.
    """

    step: Int[Array, ""]
    params: Params
    variables: Variables
    opt_state: PyTree


def descent(
    name: str,
    model: Model,
    optimizer: optax.GradientTransformation,
    loss: Callable[..., tuple[Scalar, tuple[Info, Variables]]],
    posterior: Callable[[Descent], Posterior],
    *,
    lift: Callable[[Params], Params] = mean,
    references: tuple[str, ...] = (),
) -> Method:
    """The method that minimises ``loss(params, model, state, batch, key, num_data)`` in `params`.

    Args:
        name: Name of the method.
        model: The model to fit.
        optimizer: An optax optimizer.
        loss: Returns ``(loss, (info, variables))``: nats per example, metrics, and the variables
            after the pass.
        posterior: ``posterior(state)``, the posterior learned so far.
        lift: Transforms the weights before the first step. By default, Gaussian leaves are replaced
            by their means.
        references: BibTeX keys of the papers that it implements, see `jf.citation`.

    Raises:
        InputError: If `model` is not a model, or `optimizer` not an optax optimizer.
    """
    check_model(model)
    if not isinstance(optimizer, optax.GradientTransformation) or not all(map(callable, optimizer)):
        raise InputError(
            "`optimizer` must be one of optax, such as `optax.adam(1e-3)`, got "
            f"{described(optimizer)}"
        )

    def init(params: Start, key: KeyArray) -> Descent:
        weights, variables = started(params, key)
        weights = lift(weights)
        return Descent(jnp.zeros((), jnp.int32), weights, variables, optimizer.init(weights))

    def update(
        state: Descent, batch: Batch, key: KeyArray, num_data: int | None = None
    ) -> tuple[Descent, Info]:
        check_key("key", key)
        num_data = count_data(batch, num_data)
        key_route, key_loss = jax.random.split(key)

        def step(model: Model):
            slope = jax.grad(loss, has_aux=True)
            return slope(state.params, model, state, batch, key_loss, num_data)

        gradient, (info, variables) = model.choose(key_route, step)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return Descent(state.step + 1, params, variables, opt_state), info

    return Method(name, model, init, update, posterior, references)


def check_model(model: Any) -> None:
    """Refuses anything but a model.

    Raises:
        InputError: If `model` is, for example, a net or its `apply`.
    """
    if not isinstance(model, Model):
        raise InputError(
            "`model` must be a `jf.Model(net.apply, prior=..., likelihood=...)`, got a "
            f"{type(model).__name__}"
        )

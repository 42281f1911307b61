"""What a training step minimises, on one batch of images."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import optax

from jfractal.errors import InputError
from jfractal.inference.elbo import elbo
from jfractal.posterior.likelihoods import Categorical
from jfractal.posterior.priors import PriorLike
from jfractal.training.kl_weight import Schedule
from jfractal.typing import Array, Int, KeyArray, Params, Scalar, Variables

__all__ = [
    "Loss",
    "Objective",
    "cross_entropy",
    "every_route",
    "negative_elbo",
    "partitioned",
]


class Loss(NamedTuple):
    """The value to minimise and what is worth logging.

    Attributes:
        value: In nats per example.
        metrics: Scalars by name.
        variables: The model's other collections after the batch.
    """

    value: Scalar
    metrics: dict[str, Scalar]
    variables: Variables


class Objective(Protocol):
    """A loss of a model on a batch, along a route of its columns."""

    def __call__(
        self,
        params: Params,
        variables: Variables,
        batch: tuple[Array, Array],
        key: KeyArray,
        route: int | None,
        step: int | Int[Array, ""],
    ) -> Loss:
        """The loss of `params` on a batch of raw images and labels, at a step of the training."""
        ...


def _check_rate(drop_path: float) -> None:
    if not 0 <= drop_path < 1:
        raise InputError(f"`drop_path` must be in [0, 1), got {drop_path}")


def _route_options(route: int | None, drop_path: float, key: KeyArray) -> dict[str, Any]:
    key_path, key_dropout = jax.random.split(key)
    options = {"column": route} if route is not None else {"drop_path": drop_path}
    rngs = {"drop_path": key_path, "dropout": key_dropout}
    return {"train": True, "mutable": ["batch_stats"], "rngs": rngs, **options}


def cross_entropy(
    net: nn.Module, prepare: Callable[[KeyArray, Array], Array], *, drop_path: float
) -> Objective:
    """Mean cross-entropy of a deterministic net.

    Args:
        net: A net that takes ``train``, ``column`` and ``drop_path``, such as `FractalNet`.
        prepare: ``prepare(key, images)`` augments and standardises a batch, on device.
        drop_path: Rate of local drop-path, in [0, 1).

    Returns:
        An `Objective`.

    Raises:
        InputError: If `drop_path` is out of range.
    """
    _check_rate(drop_path)

    def loss(params, variables, batch, key, route, step) -> Loss:
        key_images, key_route = jax.random.split(key)
        images, labels = prepare(key_images, batch[0]), batch[1]
        options = _route_options(route, drop_path, key_route)
        logits, updates = net.apply({"params": params, **variables}, images, **options)
        value = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        accuracy = (logits.argmax(-1) == labels).mean()
        return Loss(value, {"loss": value, "accuracy": accuracy}, {**variables, **updates})

    return loss


def negative_elbo(
    net: nn.Module,
    prepare: Callable[[KeyArray, Array], Array],
    *,
    drop_path: float,
    prior: PriorLike,
    num_data: int,
    kl_weight: float | Schedule = 1.0,
) -> Objective:
    """Negative evidence lower bound of a Bayesian net, per example of the data set.

    Args:
        net: As for `cross_entropy`, with Gaussian weights.
        prepare: As for `cross_entropy`.
        drop_path: Rate of local drop-path.
        prior: Prior over the Gaussian leaves.
        num_data: Size of the training set.
        kl_weight: Factor of the KL: a temperature, or a schedule of `jfractal.training.kl_weight`.

    Returns:
        An `Objective`.

    Raises:
        InputError: If `drop_path` is out of range.
    """
    _check_rate(drop_path)

    def loss(params, variables, batch, key, route, step) -> Loss:
        key_images, key_route, key_elbo = jax.random.split(key, 3)
        images, labels = prepare(key_images, batch[0]), batch[1]
        bound = elbo(
            net.apply,
            params,
            (images, labels),
            key_elbo,
            prior=prior,
            likelihood=Categorical(),
            num_data=num_data,
            kl_weight=kl_weight(step) if callable(kl_weight) else kl_weight,
            variables=variables,
            **_route_options(route, drop_path, key_route),
        )
        accuracy = (bound.outputs.argmax(-1) == labels[None]).mean()
        metrics = {"loss": -bound.value, "nll": bound.nll, "kl": bound.kl, "accuracy": accuracy}
        return Loss(-bound.value, metrics, {**variables, **bound.updates})

    return loss


def every_route(objective: Objective, *, columns: int) -> Objective:
    """The objective of the joined net and of every column at once, on the same batch.

    ``L = L_joined + (1/C) Σ_c L_column c``, with tied weights: what the authors of FractalNet run
    in place of drawing a column ("global" drop-path), at the cost of two joined passes. Train it
    with a `DropPath` of ``global_rate=0``.

    Args:
        objective: The loss along one route.
        columns: Columns C of the net.

    Returns:
        An `Objective`; its metrics are those of the joined net.

    Raises:
        InputError: If `columns` is smaller than 1.

    Source: Larsson et al., ICLR 2017, §3, and the authors' code.
    """
    _check_columns(columns)

    def loss(params, variables, batch, key, route, step) -> Loss:
        parts = [(1.0, batch), *[(1 / columns, batch)] * columns]
        return _over_routes(objective, parts, params, variables, key, step)

    return loss


def partitioned(objective: Objective, *, columns: int) -> Objective:
    """The objective of the joined net on one half of a batch, and of every column on its share.

    ``L = ½ L_joined(first half) + 1/(2C) Σ_c L_column c(part c)``: global drop-path drawn for the
    examples rather than for the batch, in fixed shares, so that every route runs densely and every
    step trains all of them, at the cost of one draw. Train it with a `DropPath` of
    ``global_rate=0``.

    Args:
        objective: The loss along one route.
        columns: Columns C of the net.

    Returns:
        An `Objective`; its metrics are those of the joined net.

    Raises:
        InputError: If `columns` is smaller than 1, or a batch cannot be divided into 2·C parts.
    """
    _check_columns(columns)

    def loss(params, variables, batch, key, route, step) -> Loss:
        size = len(batch[1])
        if size % (2 * columns):
            raise InputError(f"`batch_size` must be a multiple of {2 * columns}, got {size}")
        ends = range(size // 2, size + 1, size // (2 * columns))
        bounds = pairwise((0, *ends))
        shares = [tuple(x[start:end] for x in batch) for start, end in bounds]
        parts = [(len(share[1]) / size, share) for share in shares]
        return _over_routes(objective, parts, params, variables, key, step)

    return loss


def _check_columns(columns: int) -> None:
    if columns < 1:
        raise InputError(f"`columns` must be at least 1, got {columns}")


def _over_routes(
    objective: Objective,
    parts: Sequence[tuple[float, tuple[Array, Array]]],
    params: Params,
    variables: Variables,
    key: KeyArray,
    step: int | Int[Array, ""],
) -> Loss:
    """The weighted sum of the losses of the joined net and the columns, each on its examples."""
    (weight, batch), *columns = parts
    joined = objective(params, variables, batch, key, None, step)
    value, variables = weight * joined.value, joined.variables
    for column, (weight, batch) in enumerate(columns, start=1):
        own = jax.random.fold_in(key, column)
        alone = objective(params, variables, batch, own, column, step)
        value, variables = value + weight * alone.value, alone.variables
    return Loss(value, joined.metrics, variables)

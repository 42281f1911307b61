"""Training steps of nets, ready to be timed: each call is one step and waits for it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jfractal.training.objective import Objective

import jfractal as jf
from jfractal import ops
from jfractal.nn import BlockNet
from jfractal.training import TrainState, cross_entropy, negative_elbo
from jfractal.typing import Array, KeyArray

__all__ = [
    "LAPTOP_WIDTHS",
    "NUM_CLASSES",
    "PAPER_WIDTHS",
    "Training",
    "bayesian",
    "deterministic",
    "images",
    "update",
]

LAPTOP_WIDTHS = (16, 32, 64, 128, 128)
PAPER_WIDTHS = (64, 128, 256, 512, 512)
NUM_CLASSES = 10
NUM_DATA = 50_000  # which the KL is spread over

Batch = tuple[Array, Array]


def images(num: int, size: int = 32) -> Batch:
    """Noise, standardised, and labels: arithmetic takes as long on any images."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num, size, size, 3)).astype(np.float32)
    return jax.device_put((x, rng.integers(NUM_CLASSES, size=num)))


def unchanged(key: KeyArray, x: Array) -> Array:
    """In place of augmentation."""
    return x


def deterministic(net: BlockNet, drop_path: float = 0.0) -> Objective:
    """Cross-entropy."""
    return cross_entropy(net, unchanged, drop_path=drop_path)


def bayesian(net: BlockNet) -> Objective:
    """The evidence lower bound."""
    prior = jf.priors.Gaussian(0.1)
    return negative_elbo(net, unchanged, drop_path=0.0, prior=prior, num_data=NUM_DATA)


def update(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    *,
    route: int | None = None,
) -> TrainState:
    """One step of an optimiser."""
    key = jax.random.fold_in(jax.random.key(0), state.step)

    def value(params: Any) -> tuple[Array, Any]:
        loss = objective(params, state.variables, batch, key, route, state.step)
        return loss.value, loss.variables

    gradient, variables = jax.grad(value, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    return replace(
        state,
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        variables=variables,
        opt_state=opt_state,
    )


class Training:
    """A net in training; calling it takes one step on the same batch."""

    def __init__(
        self,
        net: BlockNet,
        objective: Objective,
        batch: Batch,
        *,
        optimizer: optax.GradientTransformation | None = None,
    ):
        self.optimizer = optimizer or optax.sgd(1e-3, momentum=0.9, nesterov=True)
        self.batch = batch
        variables = jax.jit(net.init)(jax.random.key(0), batch[0][:1])
        self.state = TrainState.create(variables, self.optimizer)
        step = partial(update, objective, self.optimizer)
        self.step = ops.jit(step, static_argnames="route", donate_argnums=0)

    def __call__(self, route: int | None = None) -> None:
        self.state = jax.block_until_ready(self.step(self.state, self.batch, route=route))

    def along(self, route: int | None) -> Callable[[], None]:
        """The step that runs one column alone, or for None the joined net."""
        return partial(self, route)

"""jfractal beside what a user of JAX writes by hand, with Flax, optax and NumPyro alone."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import optax
from numpyro.contrib.module import random_flax_module
from numpyro.infer import SVI, TraceMeanField_ELBO
from numpyro.infer.autoguide import AutoNormal

import jfractal as jf
from benchmarks.row import Row
from benchmarks.timing import interleaved, row_of_seconds
from benchmarks.training import NUM_CLASSES, NUM_DATA, SGD, Scale, Training, fractal_net, images
from jfractal.typing import Array

__all__ = ["ROWS"]

KEY = jax.random.key(0)
CATEGORICAL = jf.likelihoods.Categorical()

State = tuple[Any, optax.OptState]


class MLP(nn.Module):
    """A user's perceptron."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps images to logits."""
        x = x.reshape(len(x), -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(400)(x))
        return nn.Dense(NUM_CLASSES)(x)


class CNN(nn.Module):
    """A user's convolutional net, which knows nothing of jfractal."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps images to logits."""
        for features in (32, 64, 64):
            x = nn.relu(nn.Conv(features, (3, 3), dtype=self.dtype)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(NUM_CLASSES, dtype=self.dtype)(x.reshape(len(x), -1))


def step_by_hand(net: nn.Module, state: State, batch: tuple[Array, Array]) -> State:
    """One step of maximum likelihood."""
    params, opt_state = state
    x, labels = batch

    def loss(params: Any) -> Array:
        logits = jnp.asarray(net.apply(params, x), jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    updates, opt_state = SGD.update(jax.grad(loss)(params), opt_state)
    return optax.apply_updates(params, updates), opt_state


def start_by_hand(net: nn.Module, x: Array, key: Array) -> State:
    """Weights and the state of the optimiser."""
    params = net.init(key, x[:1])
    return params, SGD.init(params)


class Stepping:
    """A loop by hand: each call is one step and waits for it."""

    def __init__(self, step: Callable[[Any], Any], state: Any):
        self.step, self.state = jax.jit(step, donate_argnums=0), state

    def __call__(self) -> None:
        self.state = jax.block_until_ready(self.step(self.state))


def svi(scale: Scale) -> Row:
    """A step of Bayes by Backprop, in steps of NumPyro's SVI with an AutoNormal guide."""
    net, (x, labels) = MLP(), images(scale.batch)
    model = jf.Model(net.apply, prior=jf.priors.Gaussian(1.0), likelihood=CATEGORICAL)
    ours = Training(jf.variational(model, optax.adam(1e-3)), net, (x, labels))

    def in_numpyro(x: Array, labels: Array) -> None:
        apply = random_flax_module("net", net, dist.Normal(0.0, 1.0), input_shape=x.shape)
        with numpyro.plate("data", NUM_DATA, subsample_size=len(x)):
            y: Any = dist.Categorical(logits=apply(x))
            numpyro.sample("y", y, obs=labels)

    guide = AutoNormal(in_numpyro, init_scale=0.01)
    inference = SVI(in_numpyro, guide, optax.adam(1e-3), TraceMeanField_ELBO())
    state = inference.init(KEY, x, labels)
    other = Stepping(lambda state: inference.update(state, x, labels)[0], state)
    times = interleaved({"ours": ours, "other": other}, budget=scale.budget)
    return row_of_seconds("svi_vs_numpyro", times, at_most=1.05)


def ensemble(scale: Scale) -> Row:
    """A step of an ensemble of 8 perceptrons, in steps of the vmapped loop of optax."""
    net, batch, num = MLP(), images(scale.batch), 8
    ours = Training(jf.ensemble(_maximum_likelihood(net), num), net, batch)
    start = jax.vmap(partial(start_by_hand, net, batch[0]))(jax.random.split(KEY, num))
    step = jax.vmap(partial(step_by_hand, net), in_axes=(0, None))
    other = Stepping(lambda state: step(state, batch), start)
    times = interleaved({"ours": ours, "other": other}, budget=scale.budget)
    return row_of_seconds("ensemble_vs_optax", times, at_most=1.05)


def _maximum_likelihood(net: nn.Module) -> jf.Method:
    model = jf.Model(net.apply, prior=jf.priors.Flat(), likelihood=CATEGORICAL)
    return jf.maximum_a_posteriori(model, SGD)


def fit(scale: Scale) -> Row:
    """An epoch of `jf.fit` on a fractal net, in epochs of the loop of optax on the same net."""
    net, num = fractal_net(scale, norm="group"), 32 * scale.batch
    x, labels = images(num)
    start = jax.jit(partial(start_by_hand, net, x))
    step = jax.jit(partial(step_by_hand, net), donate_argnums=0)
    take = jax.jit(lambda rows: (x[rows], labels[rows]))

    def by_hand() -> None:
        state = start(KEY)
        for rows in jax.random.permutation(KEY, num).reshape(-1, scale.batch):
            state = step(state, take(rows))
        jax.block_until_ready(state)

    method = _maximum_likelihood(net)
    params = jax.jit(net.init)(KEY, x[:1])
    by_fit = lambda: jax.block_until_ready(
        jf.fit(method, params, (x, labels), KEY, num_epochs=1, batch_size=scale.batch).state
    )
    times = interleaved({"ours": by_fit, "other": by_hand}, budget=2 * scale.budget)
    return row_of_seconds("fit_vs_optax", times, at_most=1.05)


def plain_cnn_elbo(scale: Scale) -> Row:
    """A step of the ELBO with 4 draws of a plain Flax CNN, in 4 steps of optax on the same net."""
    net, batch, num_samples = CNN(scale.dtype), images(scale.batch), 4
    model = jf.Model(net.apply, prior=jf.priors.Gaussian(0.1), likelihood=CATEGORICAL)
    ours = Training(jf.variational(model, SGD, num_samples=num_samples), net, batch)
    step = partial(step_by_hand, net, batch=batch)
    other = Stepping(step, start_by_hand(net, batch[0], KEY))
    times = interleaved({"ours": ours, "other": other}, budget=scale.budget)
    return row_of_seconds("plain_cnn_elbo", times, per=num_samples, at_most=1.2)


def plain_cnn_predict(scale: Scale) -> Row:
    """Prediction by 32 draws of a plain Flax CNN, in forward passes of the same net."""
    net, (x, _), num_samples = CNN(scale.dtype), images(scale.num_images), 32
    variables = net.init(KEY, x[:1])
    posterior = jf.MeanField(jf.mean_field(variables["params"], scale=0.01))
    forward = jax.jit(net.apply)
    times = interleaved(
        {
            "ours": lambda: jax.block_until_ready(
                jf.predict(net.apply, posterior, x, KEY, num_samples=num_samples)
            ),
            "other": lambda: jax.block_until_ready(forward(variables, x)),
        },
        budget=scale.budget,
    )
    return row_of_seconds("plain_cnn_predict", times, per=num_samples, at_most=1.2)


ROWS: dict[str, Callable[[Scale], Row]] = {
    "svi_vs_numpyro": svi,
    "ensemble_vs_optax": ensemble,
    "fit_vs_optax": fit,
    "plain_cnn_elbo": plain_cnn_elbo,
    "plain_cnn_predict": plain_cnn_predict,
}

"""Small problems whose posterior Hamiltonian Monte Carlo can sample: a net, data and a prior."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments._perceptron import Perceptron, start
from experiments._source import SourceConfig
from jfractal import data
from jfractal.nn import BlockNet, DenseUnit, LearnedNoise
from jfractal.typing import Array, KeyArray, Params

__all__ = ["DataConfig", "ModelConfig", "Problem", "problems"]


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Digits of 8×8 pixels, and a table for regression."""

    num_train: int = 200
    """Training images."""
    num_train_conv: int = 100
    """Training images of the net of convolutions, whose gradients are the dearest."""
    num_test: int = 360
    """Test images."""
    table: str = "wine"
    """UCI set, by its first standard split."""


@dataclass(frozen=True)
class ModelConfig:
    """The nets and their prior."""

    columns: int = 3
    """Columns of the fractal nets' blocks."""
    width: int = 8
    """Features of each unit of the fractal nets of dense units."""
    conv_columns: int = 2
    """Columns of the fractal net of convolutions."""
    conv_widths: tuple[int, ...] = (16,)
    """Channels of each of its blocks."""
    conv_norm: Literal["frn", "group", "layer", "none"] = "frn"
    """Its normalisation, without batch statistics."""
    prior_scale: float = 2.0
    """Standard deviation of the prior of the weights of a unit with one input; with n, 1/√n of
    it."""
    table_prior_scale: float = 1.0
    """The same of the net for regression, whose chains do not mix under a wider prior."""


class Problem(NamedTuple):
    """A posterior and where to predict by it."""

    about: str
    """The data, in words."""
    dataset: str
    """What they are."""
    requested: str
    """What they stand in for, if they do; else the same."""
    net: Any
    model: jf.Model
    data: tuple[Array, Array]
    start: Callable[[KeyArray], Params]
    """Draws arrays to start from."""
    x_test: Array
    y_test: Array
    last_layer: str
    """First part of the paths of the last layer's weights."""
    block_net: BlockNet | None
    """The net, or the part of it, that has columns."""
    noise: str = ""
    """Path of the weight that is a noise; in a regression."""

    @property
    def num_params(self) -> int:
        """Number of weights."""
        return num_params(self.start)


def num_params(start: Callable[[KeyArray], Params]) -> int:
    """Number of weights that `start` draws."""
    return sum(w.size for w in jax.tree.leaves(jax.eval_shape(start, jax.random.key(0))))


def problems(config: DataConfig, model: ModelConfig) -> dict[str, Callable[[], Problem]]:
    """The problems by name."""
    dense = partial(DenseUnit, dense=jf.BayesDense)
    dense_net = partial(
        jf.FractalNet, columns=model.columns, widths=(model.width,), norm="none", unit=dense
    )
    conv_net = partial(
        jf.FractalNet,
        columns=model.conv_columns,
        widths=model.conv_widths,
        norm=model.conv_norm,
        conv=jf.BayesConv,
    )
    few = replace(config, num_train=config.num_train_conv)
    prior = jf.priors.FanIn(model.prior_scale)
    return {
        "dense fractal": lambda: of_digits(_flat(digits(config)), dense_net(10), prior),
        "perceptron": lambda: of_digits(
            _flat(digits(config)), as_large(dense_net(10), 64, 10), prior
        ),
        "conv fractal": lambda: of_digits(_rows(digits(few)), conv_net(10), prior),
        "regression": lambda: of_table(
            config, dense_net(1), jf.priors.FanIn(model.table_prior_scale)
        ),
    }


class Examples(NamedTuple):
    """Training and test data."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def digits(config: DataConfig) -> Examples:
    """Standardised images, the training images drawn once and for all."""
    source = data.load_images("digits")
    limits = len(source.train_images), len(source.test_images)
    if not 1 <= config.num_train <= limits[0] or not 1 <= config.num_test <= limits[1]:
        raise jf.InputError(
            f"`num_train` must be from 1 to {limits[0]} and `num_test` from 1 to {limits[1]}, "
            f"got {config.num_train} and {config.num_test}"
        )
    some = np.random.RandomState(0).permutation(limits[0])[: config.num_train]
    mean, std = data.channel_moments(source.train_images)
    return Examples(
        data.standardise(source.train_images[some], mean, std),
        jnp.asarray(source.train_labels[some]),
        data.standardise(source.test_images[: config.num_test], mean, std),
        jnp.asarray(source.test_labels[: config.num_test]),
    )


def _flat(examples: Examples) -> Examples:
    flat = lambda images: images.reshape(len(images), -1)
    return examples._replace(x=flat(examples.x), x_test=flat(examples.x_test))


def _rows(examples: Examples) -> Examples:
    """Sequences: an image read row by row, its pixels the channels."""
    rows = lambda images: images[..., 0]
    return examples._replace(x=rows(examples.x), x_test=rows(examples.x_test))


def as_large(net: nn.Module, num_features: int, num_outputs: int) -> Perceptron:
    """The perceptron of one hidden layer that has about as many weights as another net."""
    size = num_params(start(net, jnp.zeros((1, num_features))))
    hidden = round((size - num_outputs) / (num_features + 1 + num_outputs))
    return Perceptron((max(hidden, 1),), num_outputs)


def of_digits(examples: Examples, net: Any, prior: jf.priors.Prior) -> Problem:
    """The posterior of a classifier of digits."""
    x, y, x_test, y_test = examples
    model = jf.Model(net.apply, prior=prior, likelihood=jf.likelihoods.Categorical())
    block_net = net if isinstance(net, BlockNet) else None
    last_layer = "output" if block_net is None else "head"
    name = "digits (scikit-learn)"
    about = f"{len(x)} of scikit-learn's digits, {len(x_test)} for the test"
    return Problem(
        about,
        name,
        name,
        net,
        model,
        (x, y),
        start(net, x),
        x_test,
        y_test,
        last_layer,
        block_net,
    )


def of_table(config: DataConfig, block_net: BlockNet, prior: jf.priors.Prior) -> Problem:
    """The posterior of a regression with one learned noise, all standardised."""
    source = data.load_regression(config.table, strict=config.strict)
    train, test = (rows[0] for rows in data.standard_splits(len(source.targets), 1))
    columns = np.concatenate([source.features, source.targets[:, None]], axis=1)
    mean, std = columns[train].mean(0), columns[train].std(0)
    columns = jnp.asarray((columns - mean) / np.where(std > 1e-6, std, 1), jnp.float32)
    x, y = columns[:, :-1], columns[:, -1:]
    net = LearnedNoise(block_net)
    likelihood = jf.likelihoods.HeteroscedasticGaussian()
    model = jf.Model(net.apply, prior=prior, likelihood=likelihood)
    about = f"{source.name}: {len(train)} rows, {len(test)} for the test"
    last_layer, noise = "net/head", "rho"
    return Problem(
        f"{about}. {source.note}".rstrip(". "),
        source.name,
        source.requested if source.note else source.name,
        net,
        model,
        (x[train], y[train]),
        start(net, x),
        x[test],
        y[test],
        last_layer,
        block_net,
        noise,
    )

"""Small problems whose posterior Hamiltonian Monte Carlo can sample: a net, data and a prior."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments._perceptron import Perceptron, start
from experiments.ranges import Columns, Count, Interval, OneOf, Positive, Some
from experiments.settings import Settings, SourceConfig
from jfractal import data
from jfractal.nn import BlockNet, DenseUnit, LearnedNoise
from jfractal.typing import Array, KeyArray, Params

TrainSize = Annotated[int, Interval(1, 1437, "[]")]  # of scikit-learn's 1,797 digits
TestSize = Annotated[int, Interval(1, 360, "[]")]
TABLES = OneOf(
    [
        "boston",
        "concrete",
        "energy",
        "kin8nm",
        "naval",
        "power",
        "protein",
        "wine",
        "yacht",
        "diabetes",
    ]
)
Table = Annotated[str, TABLES]


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Digits of 8×8 pixels, and a table for regression."""

    num_train: TrainSize = 200  # Training images.
    # Training images of the net of convolutions, whose gradients are the dearest.
    num_train_conv: TrainSize = 100
    num_test: TestSize = 360  # Test images.
    table: Table = "wine"  # UCI set, by its first standard split.


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The nets and their prior."""

    columns: Columns = 3  # Columns of the fractal nets' blocks.
    width: Count = 8  # Features of each unit of the fractal nets of dense units.
    conv_columns: Columns = 2  # Columns of the fractal net of convolutions.
    conv_widths: Some[Count] = (16,)  # Channels of each of its blocks.
    # Its normalisation, without batch statistics.
    conv_norm: Literal["frn", "group", "layer", "none"] = "frn"
    # Standard deviation of the prior of the weights of a unit with one input; with n, 1/√n of it.
    prior_scale: Positive = 2.0
    # The same of the net for regression, whose chains do not mix under a wider prior.
    table_prior_scale: Positive = 1.0


class Problem(NamedTuple):
    """A posterior and where to predict by it."""

    net: Any
    model: jf.Model
    data: tuple[Array, Array]  # for training
    start: Callable[[KeyArray], Params]  # draws arrays to start from
    x_test: Array
    y_test: Any = None
    last_layer: str = ""  # first part of the paths of the last layer's weights
    block_net: BlockNet | None = None  # the net, or the part of it, that has columns
    noise: str = ""  # path of the weight that is a noise; in a regression
    about: str = ""  # the data, in words
    dataset: str = ""  # what they are
    requested: str = ""  # what they stand in for, if they do; else the same

    @property
    def num_params(self) -> int:
        """Number of weights."""
        return num_params(self.start)


def num_params(start: Callable[[KeyArray], Params]) -> int:
    """Number of weights that `start` draws."""
    return sum(w.size for w in jax.tree.leaves(jax.eval_shape(start, jax.random.key(0))))


PROBLEMS = ("dense fractal", "perceptron", "conv fractal", "regression")


def problems(config: DataConfig, model: ModelConfig) -> dict[str, Callable[[], Problem]]:
    """The `PROBLEMS` by name."""
    dense = partial(DenseUnit, dense=jf.BayesDense)
    options = {"columns": model.columns, "widths": (model.width,), "norm": "none", "unit": dense}
    dense_net = partial(jf.FractalNet, **options)
    conv_net = jf.FractalNet(
        10,
        columns=model.conv_columns,
        widths=model.conv_widths,
        norm=model.conv_norm,
        conv=jf.BayesConv,
    )
    perceptron = partial(as_large, dense_net(10), 64, 10)
    prior, table_prior = map(jf.priors.FanIn, (model.prior_scale, model.table_prior_scale))
    flat = lambda images: images.reshape(len(images), -1)
    rows = lambda images: images[..., 0]  # an image read row by row, its pixels the channels
    few = config.num_train_conv
    return {
        "dense fractal": lambda: of_digits(config, config.num_train, flat, dense_net(10), prior),
        "perceptron": lambda: of_digits(config, config.num_train, flat, perceptron(), prior),
        "conv fractal": lambda: of_digits(config, few, rows, conv_net, prior),
        "regression": lambda: of_table(config, dense_net(1), table_prior),
    }


def as_large(net: nn.Module, num_features: int, num_outputs: int) -> Perceptron:
    """The perceptron of one hidden layer that has about as many weights as another net."""
    size = num_params(start(net, jnp.zeros((1, num_features))))
    hidden = round((size - num_outputs) / (num_features + 1 + num_outputs))
    return Perceptron((max(hidden, 1),), num_outputs)


def of_digits(
    config: DataConfig,
    num_train: int,
    read: Callable[[Array], Array],
    net: Any,
    prior: jf.priors.Prior,
) -> Problem:
    """The posterior of a classifier of digits, the training images drawn once and for all."""
    source = data.load_images("digits")
    some = np.random.RandomState(0).permutation(len(source.train_images))[:num_train]
    mean, std = data.channel_moments(source.train_images)
    standardise = lambda images: read(data.standardise(images, mean, std))
    x = standardise(source.train_images[some])
    name = "digits (scikit-learn)"
    return Problem(
        about=f"{num_train} of scikit-learn's digits, {config.num_test} for the test",
        dataset=name,
        requested=name,
        net=net,
        model=jf.Model(net.apply, prior=prior, likelihood=jf.likelihoods.Categorical()),
        data=(x, jnp.asarray(source.train_labels[some])),
        start=start(net, x),
        x_test=standardise(source.test_images[: config.num_test]),
        y_test=jnp.asarray(source.test_labels[: config.num_test]),
        last_layer="head" if isinstance(net, BlockNet) else "output",
        block_net=net if isinstance(net, BlockNet) else None,
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
    about = f"{source.name}: {len(train)} rows, {len(test)} for the test. {source.note}"
    return Problem(
        about=about.rstrip(". "),
        dataset=source.name,
        requested=source.requested if source.note else source.name,
        net=net,
        model=jf.Model(net.apply, prior=prior, likelihood=likelihood),
        data=(x[train], y[train]),
        start=start(net, x),
        x_test=x[test],
        y_test=y[test],
        last_layer="net/head",
        block_net=block_net,
        noise="rho",
    )

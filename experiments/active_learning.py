"""Which labels to buy: BALD and BatchBALD by a Bayesian net against random choice.

A net starts from a few labelled images and asks for more, several at a time, out of a pool. BALD
takes those whose label and weights share most information (Houlsby et al., 2011; Gal, Islam &
Ghahramani, ICML 2017), one by one; BatchBALD those whose labels together do (Kirsch, van Amersfoort
& Gal, NeurIPS 2019), so that no two say the same; random choice is the rival. The mean field is
fitted anew after each purchase; all seeds are trained in one program. Figures: docs/results.md.
Laptop: 3.5 minutes of processor time.

    make experiment NAME=active_learning
    make experiment NAME=active_learning ARGS="--data.name mnist --data.num-pool 4000"
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm.auto import tqdm

import jfractal as jf
from experiments import report
from experiments._images import ImageSet, flat
from experiments._methods import computed_in
from experiments._perceptron import Perceptron, classifier, start
from experiments.report import Outcome, Section
from experiments.rows import Rows
from experiments.run import Run, SeedsOptions
from experiments.settings import (
    Count,
    NotNegative,
    Positive,
    Precision,
    Settings,
    SourceConfig,
    presets,
    require,
)
from jfractal import metrics
from jfractal.data import ImageData
from jfractal.training import scan
from jfractal.typing import Array, KeyArray


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Which images, and how many may be asked for."""

    name: ImageSet = "digits"  # Data set: digits, mnist, fashion_mnist or cifar10.
    num_pool: Count = 1000  # Training images to choose from, drawn anew for each seed.
    num_start: Count = 20  # Images labelled at the start, at random.
    num_bought: Count = 10  # Labels bought at a time.
    num_rounds: Count = 10  # Times that labels are bought.

    def __post_init__(self):
        super().__post_init__()
        require(
            self.num_labels <= self.num_pool,
            f"`num_pool` must be at least {self.num_labels}, all that are labelled in the end, "
            f"got {self.num_pool}",
        )

    @property
    def num_labels(self) -> int:
        """Labels in the end."""
        return self.num_start + self.num_bought * self.num_rounds


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The network and its posterior."""

    hidden: tuple[Count, ...] = (100,)  # Units of each hidden layer (ReLU).
    scale: Positive = 0.05  # Initial standard deviation of every weight.
    prior_scale: Positive = 0.3  # Standard deviation of the Gaussian prior.
    kl_weight: NotNegative = 0.1  # Factor of the KL.
    num_samples: Count = 50  # Draws of the weights for a prediction.


@dataclass(frozen=True)
class TrainConfig(Settings):
    """The fit after each purchase, from the start, on all labels there are."""

    num_steps: Count = 500  # Steps of Adam on the full data.
    learning_rate: Positive = 3e-3  # Highest learning rate; it falls to 0 along a cosine.
    precision: Precision = "float32"  # In which the net computes while it is trained.


@dataclass(frozen=True)
class Config(SeedsOptions):
    """Settings of `active_learning`."""

    num_seeds: Count = 5  # Runs of each strategy, side by side.
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()


PRESETS = presets(
    Config(),
    paper={
        "num_seeds": 10,
        "data": {"name": "mnist", "num_pool": 10_000, "num_rounds": 28},
        "model": {"hidden": (400,)},
    },
    quick={
        "num_seeds": 2,
        "data": {"num_pool": 60, "num_bought": 3, "num_rounds": 1},
        "model": {"hidden": (8,), "num_samples": 4},
        "train": {"num_steps": 5},
    },
)

Strategy = Callable[[Array, KeyArray, int], Array]
"""From log probabilities of the unlabelled, "samples pool classes", to the indices to buy."""


def random(log_probs: Array, key: KeyArray, number: int) -> Array:
    """Any, with equal chances."""
    return jax.random.choice(key, log_probs.shape[1], (number,), replace=False)


def bald(log_probs: Array, key: KeyArray, number: int) -> Array:
    """Those of the largest mutual information of label and weights."""
    return jax.lax.top_k(metrics.epistemic_entropy(log_probs), number)[1]


def batch_bald(log_probs: Array, key: KeyArray, number: int) -> Array:
    """Those whose labels together tell most."""
    return metrics.batch_bald(log_probs, key, num_chosen=number)[0]


STRATEGIES: Mapping[str, Strategy] = {"random": random, "BALD": bald, "BatchBALD": batch_bald}


def run(config: Config, run: Run) -> Outcome:
    """Buys labels by every strategy."""
    source = jf.data.load_images(config.data.name, strict=config.data.strict)
    require(
        config.data.num_pool <= len(source.train_images),
        f"`num_pool` must be at most {len(source.train_images)}, all images there are, "
        f"got {config.data.num_pool}",
    )
    curve = run.sweep(partial(buy, config, Learner(config, source)), strategy=STRATEGIES)
    rows, most = Rows(), config.data.num_labels
    for strategy in STRATEGIES:
        for seed in range(config.num_seeds):
            along = curve.values("accuracy", strategy=strategy, seed=seed)
            lead = along.mean() - curve.values("accuracy", strategy="random", seed=seed).mean()
            figures = {"accuracy": along[-1], "mean_accuracy": along.mean(), "lead": lead}
            rows.add(figures, strategy=strategy, seed=seed)
    names = {
        "accuracy": f"accuracy at {most} labels",
        "mean_accuracy": "mean over all purchases",
        "lead": "lead over random",
    }
    section = Section(
        "Accuracy by labels",
        f"Means over {config.num_seeds} seeds and their standard errors. The mean over all "
        "purchases is the area below the curve; its lead over random choice is paired, as every "
        "strategy has the same pools and starts.",
        report.table(rows, names, by=("strategy",)),
        [report.curves(curve, "labels", "accuracy", by="strategy", ylabel="test accuracy")],
    )
    rows.add({"num_labels": most})
    return Outcome.of(source, rows, section)


class Learner:
    """Fits a posterior to labelled images and predicts with it, for all seeds at once."""

    def __init__(self, config: Config, source: ImageData):
        self.config = config
        mean, std = jf.data.channel_moments(source.train_images)
        read = lambda images: flat(jf.data.standardise(images, mean, std))
        self.images, self.labels = read(source.train_images), jnp.asarray(source.train_labels)
        self.test_images, self.test_labels = read(source.test_images), source.test_labels
        self.net = Perceptron(config.model.hidden, len(source.class_names))
        settings, train = config.model, config.train
        self.method = jf.variational(
            computed_in(train.precision, classifier(self.net, settings.prior_scale)),
            optax.adam(optax.cosine_decay_schedule(train.learning_rate, train.num_steps)),
            kl_weight=settings.kl_weight,
            scale=settings.scale,
        )
        self.fit = jf.ops.jit(jax.vmap(self._fit))
        self.predict = jf.ops.jit(jax.vmap(self._predict))

    def _fit(self, chosen: Array, key: KeyArray) -> jf.Posterior:
        data = self.images[chosen], self.labels[chosen]
        begin, steps = start(self.net, self.images), self.config.train.num_steps
        return scan(self.method, begin, data, key, num_steps=steps)[0]

    def _predict(self, posterior: jf.Posterior, x: Array, key: KeyArray) -> Array:
        number = self.config.model.num_samples
        return jf.predict(self.net.apply, posterior, x, key, num_samples=number).samples

    def accuracy(self, posterior: jf.Posterior, keys: Array) -> np.ndarray:
        """On the test images, for each seed."""
        test = jnp.broadcast_to(self.test_images, (len(keys), *self.test_images.shape))
        samples = self.predict(posterior, test, keys)
        return np.array(
            [metrics.accuracy(jf.Prediction.of(s).probs, self.test_labels) for s in samples]
        )


def buy(config: Config, learner: Learner, strategy: str) -> Rows:
    """Test accuracy of each seed after each purchase."""
    data, rows = config.data, Rows()
    choose = jax.jit(
        jax.vmap(lambda samples, key: STRATEGIES[strategy](samples, key, data.num_bought))
    )
    keys = jax.random.split(jax.random.key(config.seed), config.num_seeds)
    order = jax.vmap(lambda key: jax.random.permutation(key, len(learner.images)))(keys)
    chosen, rest = jnp.split(order[:, : data.num_pool], [data.num_start], axis=1)
    for purchase in tqdm(range(data.num_rounds + 1), desc=strategy, unit="purchase"):
        draw = jax.vmap(
            lambda key, purchase=purchase: jax.random.split(jax.random.fold_in(key, purchase), 3)
        )(keys)
        posterior = learner.fit(chosen, draw[:, 0])
        for seed, accuracy in enumerate(learner.accuracy(posterior, draw[:, 1])):
            rows.add({"accuracy": accuracy}, labels=chosen.shape[1], seed=seed)
        unlabelled = learner.predict(posterior, learner.images[rest], draw[:, 1])
        bought = choose(unlabelled, draw[:, 2])
        chosen = jnp.concatenate([chosen, jnp.take_along_axis(rest, bought, axis=1)], axis=1)
        rest = jax.vmap(lambda rest, bought: jnp.delete(rest, bought, assume_unique_indices=True))(
            rest, bought
        )
    return rows

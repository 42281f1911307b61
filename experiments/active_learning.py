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
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm.auto import tqdm

import jfractal as jf
from experiments import report
from experiments._perceptron import Perceptron, classifier, start
from experiments._source import SourceConfig
from experiments.report import Outcome, Section
from experiments.rows import Rows
from experiments.run import Run, SeedsOptions
from jfractal import metrics
from jfractal.data import ImageData
from jfractal.training import scan
from jfractal.typing import Array, KeyArray


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Which images, and how many may be asked for."""

    name: str = "digits"
    """Data set: digits, mnist, fashion_mnist or cifar10."""
    num_pool: int = 1000
    """Training images to choose from, drawn anew for each seed."""
    num_start: int = 20
    """Images labelled at the start, at random."""
    num_bought: int = 10
    """Labels bought at a time."""
    num_rounds: int = 10
    """Times that labels are bought."""


@dataclass(frozen=True)
class ModelConfig:
    """The network and its posterior."""

    hidden: tuple[int, ...] = (100,)
    """Units of each hidden layer (ReLU)."""
    scale: float = 0.05
    """Initial standard deviation of every weight."""
    prior_scale: float = 0.3
    """Standard deviation of the Gaussian prior."""
    kl_weight: float = 0.1
    """Factor of the KL."""
    num_samples: int = 50
    """Draws of the weights for a prediction."""


@dataclass(frozen=True)
class TrainConfig:
    """The fit after each purchase, from the start, on all labels there are."""

    num_steps: int = 500
    """Steps of Adam on the full data."""
    learning_rate: float = 3e-3
    """Highest learning rate; it falls to 0 along a cosine."""


@dataclass(frozen=True)
class Config(SeedsOptions):
    """Settings of `active_learning`."""

    num_seeds: int = 5
    """Runs of each strategy, side by side."""
    data: DataConfig = field(default_factory=DataConfig)
    """The images."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """The optimisation."""


LAPTOP = Config()
PRESETS = {
    "laptop": LAPTOP,
    "paper": Config(
        preset="paper",
        num_seeds=10,
        data=DataConfig(name="mnist", num_pool=10_000, num_rounds=28),
        model=ModelConfig(hidden=(400,)),
    ),
    "quick": replace(
        LAPTOP,
        quick=True,
        num_seeds=2,
        data=DataConfig(num_pool=60, num_bought=3, num_rounds=1),
        model=ModelConfig(hidden=(8,), num_samples=4),
        train=TrainConfig(num_steps=5),
    ),
}

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
    _check(config.data, source)
    learner = Learner(config, source)
    labels = config.data.num_start + config.data.num_bought * np.arange(config.data.num_rounds + 1)
    accuracy = {
        name: run.once(partial(buy, config, run, learner, name), strategy=name)
        for name in STRATEGIES
    }
    rows, curve = Rows(), Rows()
    for name, values in accuracy.items():
        for seed, of_seed in enumerate(values):
            lead = of_seed.mean() - accuracy["random"][seed].mean()
            figures = {"accuracy": of_seed[-1], "mean_accuracy": of_seed.mean(), "lead": lead}
            rows.add(figures, strategy=name, seed=seed)
            for number, value in zip(labels.tolist(), of_seed):
                curve.add({"accuracy": value}, strategy=name, labels=number, seed=seed)
    names = {
        "accuracy": f"accuracy at {labels[-1]} labels",
        "mean_accuracy": "mean over all purchases",
        "lead": "lead over random",
    }
    section = Section(
        "Accuracy by labels",
        f"{source.note}\n\nMeans over {config.num_seeds} seeds and their standard errors. The mean "
        "over all purchases is the area below the curve; its lead over random choice is paired, "
        "as every strategy has the same pools and starts.",
        report.table(rows, names, by=("strategy",)),
        [
            report.curves(
                curve,
                "labels",
                "accuracy",
                by="strategy",
                xlabel="labels",
                ylabel="test accuracy",
            )
        ],
    )
    rows.add({"num_labels": int(labels[-1])})
    return Outcome(source.name, source.requested, rows, [section])


def _check(config: DataConfig, source: ImageData) -> None:
    bought = config.num_start + config.num_bought * config.num_rounds
    if not bought <= config.num_pool <= len(source.train_images):
        raise jf.InputError(
            f"`num_pool` must be between {bought}, all that are labelled in the end, and "
            f"{len(source.train_images)}, all there are, got {config.num_pool}"
        )


class Learner:
    """Fits a posterior to labelled images and predicts with it, for all seeds at once."""

    def __init__(self, config: Config, source: ImageData):
        self.config = config
        mean, std = jf.data.channel_moments(source.train_images)
        flat = lambda images: jf.data.standardise(images, mean, std).reshape(len(images), -1)
        self.images, self.labels = flat(source.train_images), jnp.asarray(source.train_labels)
        self.test_images, self.test_labels = flat(source.test_images), source.test_labels
        self.net = Perceptron(config.model.hidden, len(source.class_names))
        settings, steps = config.model, config.train.num_steps
        self.method = jf.variational(
            classifier(self.net, settings.prior_scale),
            optax.adam(optax.cosine_decay_schedule(config.train.learning_rate, steps)),
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


def buy(config: Config, run: Run, learner: Learner, name: str) -> np.ndarray:
    """Test accuracy after each purchase, "seeds purchases"."""
    data, strategy = config.data, STRATEGIES[name]
    choose = jax.jit(jax.vmap(lambda samples, key: strategy(samples, key, data.num_bought)))
    keys = jax.random.split(jax.random.key(config.seed), config.num_seeds)
    order = jax.vmap(lambda key: jax.random.permutation(key, len(learner.images)))(keys)
    chosen, rest = jnp.split(order[:, : data.num_pool], [data.num_start], axis=1)
    accuracies = []
    for purchase in tqdm(range(data.num_rounds + 1), desc=name, unit="purchase"):
        draw = jax.vmap(
            lambda key, purchase=purchase: jax.random.split(jax.random.fold_in(key, purchase), 3)
        )(keys)
        posterior = learner.fit(chosen, draw[:, 0])
        accuracies.append(learner.accuracy(posterior, draw[:, 1]))
        row = {"strategy": name, "step": chosen.shape[1]}
        run.log({**row, "accuracy": float(np.mean(accuracies[-1]))})
        unlabelled = learner.predict(posterior, learner.images[rest], draw[:, 1])
        bought = choose(unlabelled, draw[:, 2])
        chosen = jnp.concatenate([chosen, jnp.take_along_axis(rest, bought, axis=1)], axis=1)
        rest = jax.vmap(lambda rest, bought: jnp.delete(rest, bought, assume_unique_indices=True))(
            rest, bought
        )
    return np.array(accuracies).T

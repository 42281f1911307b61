"""Which labels to buy: BALD and BatchBALD by a Bayesian net against random choice.

A net starts from a few labelled images and asks for more labels, several at a time, from a pool.
BALD takes the images whose label shares the most information with the weights (Houlsby et al.,
2011; Gal, Islam & Ghahramani, ICML 2017), each judged separately. BatchBALD takes the images whose
labels share the most information together (Kirsch, van Amersfoort & Gal, NeurIPS 2019), so that no
two are redundant. Random choice is the baseline. The mean field is fitted again after each
purchase, and all seeds are trained in one program. Results: docs/results.md. Laptop: 3.5 minutes of
processor time.

    make experiment NAME=active_learning
    make experiment NAME=active_learning ARGS="--data.name mnist --data.num-pool 4000"
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from tqdm.auto import tqdm

import jfractal as jf
from experiments import report
from experiments._images import ImageSet, flat
from experiments._methods import computed_in
from experiments._perceptron import Perceptron, classifier, start
from experiments.ranges import Count, NotNegative, Positive, Precision
from experiments.report import Outcome, Section, highest
from experiments.rows import Rows
from experiments.run import Run, VmappedSeedsOptions
from experiments.settings import Settings, SourceConfig, presets, require
from jfractal import metrics
from jfractal.data import ImageData
from jfractal.training import scan
from jfractal.typing import Array, KeyArray


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Which images, and how many may be asked for."""

    name: ImageSet = "digits"  # Data set: digits, mnist, fashion_mnist, cifar10 or cifar100.
    num_pool: Count = 1000  # Training images to choose from, drawn anew for each seed.
    num_start: Count = 20  # Images labelled at the start, at random.
    num_bought: Count = 10  # Labels bought at a time.
    num_rounds: Count = 10  # Times that labels are bought.

    def __post_init__(self):
        super().__post_init__()
        least = f"{self.num_labels}, all that are labelled in the end"
        what = f"`num_pool` must be at least {least}, got {self.num_pool}"
        require(self.num_labels <= self.num_pool, what)

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
class Config(VmappedSeedsOptions):
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

FINDING = highest("accuracy", "strategy", of="test accuracy with all labels bought")

# From log probabilities of the unlabelled, "samples pool classes", to indices to buy: any, those of
# most mutual information of label and weights, or those whose labels together tell most.
STRATEGIES: Mapping[str, Callable[[Array, KeyArray, int], Array]] = {
    "random": lambda x, key, number: jax.random.choice(key, x.shape[1], (number,), replace=False),
    "BALD": lambda x, key, number: jax.lax.top_k(metrics.epistemic_entropy(x), number)[1],
    "BatchBALD": lambda x, key, number: metrics.batch_bald(x, key, num_chosen=number)[0],
}


def run(config: Config, run: Run) -> Outcome:
    """Buys labels by every strategy."""
    source = jf.data.load_images(config.data.name, strict=config.data.strict)
    most, wanted = len(source.train_images), config.data.num_pool
    require(wanted <= most, f"`num_pool` must be at most {most}, all there are, got {wanted}")
    curve = run.sweep(partial(buy, config, source), strategy=STRATEGIES)
    rows = Rows()
    for strategy in STRATEGIES:
        for seed in range(config.num_seeds):
            along = curve.values("accuracy", strategy=strategy, seed=seed)
            lead = along.mean() - curve.values("accuracy", strategy="random", seed=seed).mean()
            figures = {"accuracy": along[-1], "mean_accuracy": along.mean(), "lead": lead}
            rows.add(figures, strategy=strategy, seed=seed)
    section = Section(
        "Accuracy by labels",
        f"Means over {config.num_seeds} seeds and their standard errors: the accuracy with "
        f"{config.data.num_labels} labels, the mean over all purchases, which is the area below "
        "the curve, and its lead over random choice. The lead is paired, as every strategy has the "
        "same pools and starts.",
        report.table(rows, ("accuracy", "mean_accuracy", "lead"), by=("strategy",)),
        [report.curves(curve, "labels", "accuracy", by="strategy", ylabel="test accuracy")],
    )
    rows.add({"num_labels": config.data.num_labels})
    return Outcome.of(source, rows, section)


def buy(config: Config, source: ImageData, strategy: str) -> Rows:
    """Test accuracy of each seed after each purchase."""
    data, rows = config.data, Rows()
    turn = jf.ops.jit(jax.vmap(turn_of(config, source, strategy)))
    keys = jax.random.split(jax.random.key(config.seed), config.num_seeds)
    order = jax.vmap(lambda key: jax.random.permutation(key, len(source.train_images)))(keys)
    chosen, rest = jnp.split(order[:, : data.num_pool], [data.num_start], axis=1)
    for purchase in tqdm(range(data.num_rounds + 1), desc=strategy, unit="purchase", disable=None):
        keys_turn = jax.vmap(jax.random.fold_in, (0, None))(keys, purchase)
        labels = chosen.shape[1]
        accuracies, chosen, rest = turn(keys_turn, chosen, rest)
        for seed, accuracy in enumerate(accuracies):
            rows.add({"accuracy": float(accuracy)}, labels=labels, seed=seed)
    return rows


def turn_of(config: Config, source: ImageData, strategy: str) -> Callable[..., Any]:
    """Fits to the images chosen so far, tests, and moves what it buys from the rest to them."""
    mean, std = jf.data.channel_moments(source.train_images)
    read = lambda images: flat(jf.data.standardise(images, mean, std))
    images, x_test = read(source.train_images), read(source.test_images)
    labels, y_test = jnp.asarray(source.train_labels), jnp.asarray(source.test_labels)
    model, train = config.model, config.train
    net = Perceptron(model.hidden, len(source.class_names))
    method = jf.variational(
        computed_in(train.precision, classifier(net, model.prior_scale)),
        optax.adam(optax.cosine_decay_schedule(train.learning_rate, train.num_steps)),
        kl_weight=model.kl_weight,
        scale=model.scale,
    )

    def turn(key: KeyArray, chosen: Array, rest: Array) -> tuple[Array, Array, Array]:
        key_fit, key_ask, key_buy = jax.random.split(key, 3)
        known = images[chosen], labels[chosen]
        posterior, _ = scan(method, start(net, images), known, key_fit, num_steps=train.num_steps)
        ask = lambda x: jf.predict(net.apply, posterior, x, key_ask, num_samples=model.num_samples)
        accuracy = metrics.accuracy(ask(x_test).probs, y_test)
        bought = STRATEGIES[strategy](ask(images[rest]).samples, key_buy, config.data.num_bought)
        chosen = jnp.concatenate([chosen, rest[bought]])
        return accuracy, chosen, jnp.delete(rest, bought, assume_unique_indices=True)

    return turn

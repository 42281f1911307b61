"""Does Bayes regularise? The gap between training and test, against the number of images.

Bayes by Backprop was proposed as a regulariser (Blundell et al., ICML 2015, §1). Here that claim is
a test: one net, trained by maximum a posteriori, by a mean field with the same prior, and by
maximum likelihood, on more and more images, with the same number of steps throughout. Figures:
docs/results.md. Laptop: 2.4 minutes of processor time.

    make experiment NAME=overfitting
    make experiment NAME=overfitting ARGS="--data.name fashion_mnist"
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

import jfractal as jf
from experiments import report
from experiments._methods import FitConfig, recipes
from experiments._perceptron import Perceptron, classifier, predict, start
from experiments._routes import scores
from experiments._source import SourceConfig
from experiments.report import Outcome, Section
from experiments.rows import Rows
from experiments.run import Run, SeedsOptions
from jfractal.data import ImageData

METHODS = ("maximum likelihood", "MAP", "mean field")
FLAT = 1e3  # standard deviation of a prior that says nothing


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Which images, and how many."""

    name: str = "mnist"
    """Data set: mnist, fashion_mnist or digits."""
    sizes: tuple[int, ...] = (100, 300, 1000, 3000)
    """Numbers of training images; the smaller sets are parts of the larger."""
    num_test: int = 5000
    """Test images."""


@dataclass(frozen=True)
class Config(SeedsOptions):
    """Settings of `overfitting`."""

    num_steps: int = 1000
    """Gradient steps of each run."""
    hidden: tuple[int, ...] = (200,)
    """Units of each hidden layer (ReLU)."""
    prior_scale: float = 0.1
    """Standard deviation of the Gaussian prior of MAP and of the mean field."""
    data: DataConfig = field(default_factory=DataConfig)
    """The images."""
    fit: FitConfig = field(default_factory=lambda: FitConfig(batch_size=100))
    """The methods; ``num_epochs`` follows from ``num_steps``."""


LAPTOP = Config()
PRESETS = {
    "laptop": LAPTOP,
    "paper": replace(
        LAPTOP,
        preset="paper",
        num_steps=50_000,
        hidden=(400, 400),
        data=DataConfig(sizes=(100, 300, 1000, 3000, 10_000, 30_000, 60_000), num_test=10_000),
    ),
    "quick": replace(
        LAPTOP,
        quick=True,
        num_seeds=2,
        num_steps=3,
        hidden=(8,),
        data=DataConfig(name="digits", sizes=(20, 40), num_test=50),
        fit=FitConfig(batch_size=20, num_samples=2),
    ),
}


def run(config: Config, run: Run) -> Outcome:
    """Trains at every size, tests on training and on test images."""
    source = jf.data.load_images(config.data.name, strict=config.data.strict)
    largest = max(config.data.sizes)
    if largest > len(source.train_images):
        raise jf.InputError(
            f"`sizes` must not exceed the {len(source.train_images)} training images, got {largest}"
        )
    rows = Rows()
    for size in tqdm(config.data.sizes, unit="size"):
        for seed in range(config.num_seeds):
            found = run.once(partial(one, config, source, size, seed), step=size, seed=seed)
            for method, figures in found.items():
                rows.add(figures, method=method, size=size, seed=seed)
    axis = Rows([{**row, "log10": float(np.log10(row["size"]))} for row in rows])
    names = {
        "nll": "test NLL (nats)",
        "nll_gap": "gap of NLL",
        "error": "test error",
        "error_gap": "gap of error",
    }
    pictures = [
        report.curves(
            axis, "log10", metric, xlabel="log10 of the number of training images", ylabel=label
        )
        for metric, label in names.items()
    ]
    section = Section(
        "Training against test",
        f"{source.note}\n\n{config.num_steps:,} steps of every run, {config.num_seeds} seeds. The "
        "gap is the figure on test images less the same on the training images.",
        report.table(rows, names, by=("size", "method"), digits=3),
        pictures,
    )
    return Outcome(source.name, source.requested, rows, [section])


def one(config: Config, source: ImageData, size: int, seed: int) -> dict[str, Any]:
    """All methods on one training set: test figures, and how far they are from training."""
    random = np.random.default_rng((config.seed, seed))
    train = random.permutation(len(source.train_images))[:size]
    test = random.permutation(len(source.test_images))[: config.data.num_test]
    mean, std = jf.data.channel_moments(source.train_images)
    flat = lambda images: jf.data.standardise(images, mean, std).reshape(len(images), -1)
    data = flat(source.train_images[train]), jnp.asarray(source.train_labels[train])
    parts = [data, (flat(source.test_images[test]), jnp.asarray(source.test_labels[test]))]
    net = Perceptron(config.hidden, len(source.class_names))
    key_fit, key_test = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), seed))
    batch_size = min(config.fit.batch_size, size)
    epochs = max(config.num_steps * batch_size // size, 1)
    settings = replace(config.fit, num_epochs=epochs, batch_size=batch_size)
    rows = {}
    for method in METHODS:
        scale = FLAT if method == "maximum likelihood" else config.prior_scale
        fits = recipes(settings, classifier(net, scale), start(net, data[0]), size)
        posterior = fits["mean field" if method == "mean field" else "MAP"](data, key_fit)
        draws = config.fit.num_samples
        trained, tested = (
            scores(predict(net, posterior, x, key_test, num_samples=draws), y) for x, y in parts
        )
        rows[method] = {
            "nll": tested["nll"],
            "nll_gap": tested["nll"] - trained["nll"],
            "error": 1 - tested["accuracy"],
            "error_gap": trained["accuracy"] - tested["accuracy"],
        }
    return rows

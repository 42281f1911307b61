"""Does Bayes regularise? The gap between training and test, against the number of images.

Bayes by Backprop was proposed as a regulariser (Blundell et al., ICML 2015, §1). This experiment
tests that claim: one net is trained by maximum a posteriori, by a mean field with the same prior,
and by maximum likelihood, on more and more images, with the same number of steps throughout.
Results: docs/results.md. Laptop: 2.4 minutes of processor time.

    make experiment NAME=overfitting
    make experiment NAME=overfitting ARGS="--data.name fashion_mnist"
"""

from dataclasses import dataclass, replace
from functools import partial

import jax

import jfractal as jf
from experiments import _images as images
from experiments import report
from experiments._images import ImageSet
from experiments._methods import FitConfig, recipes
from experiments._perceptron import Perceptron, classifier, start, test
from experiments.ranges import Choices, Count, Positive
from experiments.report import Outcome, Section, lowest
from experiments.rows import Rows
from experiments.run import Run, SeedsOptions
from experiments.settings import SourceConfig, presets
from jfractal.data import ImageData

METHODS = ("maximum likelihood", "MAP", "mean field")
FIGURES = ("nll", "nll_gap", "error", "error_gap")
FLAT = 1e3  # standard deviation of a prior that says nothing


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Which images, and how many."""

    name: ImageSet = "mnist"  # Data set: mnist, fashion_mnist, digits, cifar10 or cifar100.
    # Numbers of training images; the smaller sets are parts of the larger.
    sizes: Choices[Count] = (100, 300, 1000, 3000)
    num_test: Count = 5000  # Test images.


@dataclass(frozen=True)
class Config(SeedsOptions):
    """Settings of `overfitting`."""

    num_steps: Count = 1000  # Gradient steps of each run.
    hidden: tuple[Count, ...] = (200,)  # Units of each hidden layer (ReLU).
    # Standard deviation of the Gaussian prior of MAP and of the mean field.
    prior_scale: Positive = 0.1
    data: DataConfig = DataConfig()
    fit: FitConfig = FitConfig(batch_size=100)  # `num_epochs` follows from `num_steps`.


PRESETS = presets(
    Config(),
    paper={
        "num_steps": 50_000,
        "hidden": (400, 400),
        "data": {"sizes": (100, 300, 1000, 3000, 10_000, 30_000, 60_000), "num_test": 10_000},
    },
    quick={
        "num_seeds": 2,
        "num_steps": 3,
        "hidden": (8,),
        "data": {"name": "digits", "sizes": (20, 40), "num_test": 50},
        "fit": {"batch_size": 20, "num_samples": 2},
    },
)

FINDING = lowest("nll", "method", of="test NLL", per="size")


def run(config: Config, run: Run) -> Outcome:
    """Trains at every size, tests on training and on test images."""
    source = jf.data.load_images(config.data.name, strict=config.data.strict)
    seeds = range(config.num_seeds)
    rows = run.sweep(partial(one, config, source), size=config.data.sizes, seed=seeds)
    section = Section(
        "Training against test",
        f"{config.num_steps:,} steps of every run, {config.num_seeds} seeds. All figures are of "
        "test images; a gap is the figure on test images less the same on the training images.",
        report.table(rows, FIGURES, by=("size", "method"), digits=3),
        [report.curves(rows, "size", of, xlabel="training images", log10=True) for of in FIGURES],
    )
    return Outcome.of(source, rows, section)


def one(config: Config, source: ImageData, size: int, seed: int) -> Rows:
    """All methods on one training set: test figures, and how far they are from training."""
    drawn = images.draw(source, size, config.data.num_test, (config.seed, seed))
    data = images.flat(drawn.x), drawn.y
    parts = {"train": data, "test": (images.flat(drawn.x_test), drawn.y_test)}
    net = Perceptron(config.hidden, len(source.class_names))
    key_fit, key_test = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), seed))
    batch_size = min(config.fit.batch_size, size)
    epochs = max(config.num_steps * batch_size // size, 1)
    settings = replace(config.fit, num_epochs=epochs, batch_size=batch_size)
    rows = Rows()
    for method in METHODS:
        scale = FLAT if method == "maximum likelihood" else config.prior_scale
        fits = recipes(settings, classifier(net, scale), start(net, data[0]), size)
        posterior = fits["mean field" if method == "mean field" else "MAP"](data, key_fit)
        draws = config.fit.num_samples
        scores = {
            part: test(net, posterior, x, y, key_test, num_samples=draws)
            for part, (x, y) in parts.items()
        }
        figures = {
            "nll": scores["test"]["nll"],
            "nll_gap": scores["test"]["nll"] - scores["train"]["nll"],
            "error": 1 - scores["test"]["accuracy"],
            "error_gap": scores["train"]["accuracy"] - scores["test"]["accuracy"],
        }
        rows.add(figures, method=method)
    return rows

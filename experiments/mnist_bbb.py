"""Bayes by Backprop on MNIST: Blundell's tables 1 and 2, and the methods that came after.

The net has two hidden layers on raw pixels (divided by 126), as in Blundell et al., ICML 2015,
§5.1. Table 1 is the test error of plain training, dropout, and Bayes by Backprop with a Gaussian
and with a scale-mixture prior. It adds local reparameterisation, IVON and a deep ensemble, trained
on the same batches. Table 2 removes the weights with the smallest ratio of mean to standard
deviation. Then whole units are removed, which leaves a smaller net that is timed. Settings were
chosen on the validation images. Results: docs/results.md. Laptop: 10 minutes on one CPU core.

    make experiment NAME=mnist_bbb
    make experiment NAME=mnist_bbb ARGS="--preset paper"    # 3 × 600 epochs; needs a GPU or TPU
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments import _perceptron as perceptron
from experiments import report
from experiments._images import ImagesConfig, Split, load
from experiments._methods import METHODS, FitConfig, recipes
from experiments._perceptron import Perceptron, start
from experiments._pruning import smaller_perceptrons, units_section, weights_section
from experiments.ranges import Choices, Count, Level, OneOf, Positive
from experiments.report import Outcome, Section, lowest
from experiments.rows import Rows
from experiments.run import Run, SeedsOptions
from experiments.settings import Settings, presets
from jfractal.typing import Array, KeyArray

MIXTURE = "mean field, scale mixture"
PUBLISHED = {"MAP": 1.83, "MC dropout": 1.51, "mean field": 1.82, MIXTURE: 1.36}
PUBLISHED_PRUNED = {0.0: 1.24, 0.5: 1.24, 0.75: 1.24, 0.95: 1.29, 0.98: 1.39}
Method = Annotated[str, OneOf([*METHODS, MIXTURE])]


@dataclass(frozen=True)
class PriorConfig(Settings):
    """Gaussian prior of all methods, and the scale mixture of one."""

    scale: Positive = 0.3  # Standard deviation of the Gaussian.
    pi: Level = 0.75  # Share of the wide component of the mixture.
    scale1: Positive = 0.37  # Standard deviation of the wide component.
    scale2: Positive = 0.0025  # Standard deviation of the narrow one.


@dataclass(frozen=True)
class Config(SeedsOptions):
    """Settings of `mnist_bbb`."""

    hidden: tuple[Count, ...] = (400, 400)  # Units of each hidden layer (ReLU).
    # What to compare: what is published, and what came after.
    methods: Choices[Method] = (*PUBLISHED, "mean field, local", "IVON", "ensemble")
    data: ImagesConfig = ImagesConfig(name="mnist", num_validation=1000)
    prior: PriorConfig = PriorConfig()
    fit: FitConfig = FitConfig(num_epochs=40, scale=0.03)


PRESETS = presets(
    Config(),
    paper={"data": {"num_validation": 10_000}, "fit": {"num_epochs": 600, "scale": 0.02}},
    quick={
        "num_seeds": 2,
        "hidden": (8, 8),
        "methods": ("MAP", MIXTURE, "ensemble"),
        "data": {"num_train": 120, "num_test": 60, "num_validation": 20},
        "fit": {"num_epochs": 2, "batch_size": 20, "num_samples": 2, "num_members": 2},
    },
)

FINDING = lowest(
    "error_percent", "method", without=[f"{method}, published" for method in PUBLISHED]
)


def run(config: Config, run: Run) -> Outcome:
    """Fits every method with every seed, tests, prunes."""
    source = load(config.data, config.seed)
    split = Split.of(source, config.data.num_validation, config.seed)
    net = Perceptron(config.hidden, len(source.class_names))
    compute = partial(one, config, net, fits_of(config, net, split), split)
    rows = run.sweep(compute, method=config.methods, seed=range(config.num_seeds))
    for method, percent in PUBLISHED.items():
        rows.add({"error_percent": percent}, method=f"{method}, published")
    for fraction, percent in PUBLISHED_PRUNED.items():
        rows.add({"published_percent": percent}, removed=f"{fraction:.0%}")
    pruned = (weights_section(rows), units_section(rows)) if MIXTURE in config.methods else ()
    return Outcome.of(source, rows, error_section(config, split, rows), *pruned)


def pixels(images: np.ndarray) -> Array:
    """Images as the paper's net reads them: flat, in [0, 255 / 126]."""
    return jnp.asarray(images.reshape(len(images), -1), jnp.float32) / 126


def fits_of(
    config: Config, net: Perceptron, split: Split
) -> Mapping[str, Callable[[KeyArray], jf.Posterior]]:
    """Each method, compiled once for all seeds."""
    data = pixels(split.train[0]), jnp.asarray(split.train[1])

    def with_prior(prior: jf.priors.Prior) -> Mapping[str, Any]:
        model = jf.Model(net.apply, prior=prior, likelihood=jf.likelihoods.Categorical())
        return recipes(config.fit, model, start(net, data[0]), len(data[0]))

    given = config.prior
    mixture = with_prior(jf.priors.ScaleMixture(given.pi, given.scale1, given.scale2))
    fits = {**with_prior(jf.priors.Gaussian(given.scale)), MIXTURE: mixture["mean field"]}
    return {name: partial(jf.ops.jit(fits[name]), data) for name in config.methods}


def one(
    config: Config, net: Perceptron, fits: Mapping[str, Any], split: Split, method: str, seed: int
) -> Rows:
    """One method with one seed: its figures and how long it took; what pruning leaves of it."""
    key = jax.random.split(jax.random.key(config.seed), config.num_seeds)[seed]
    test = partial(perceptron.test, net, key=key, num_samples=config.fit.num_samples)
    began = perf_counter()
    posterior = jax.block_until_ready(fits[method](key))
    figures, rows = {"seconds": perf_counter() - began}, Rows()
    for part, (images, labels) in (("validation_", split.validation), ("", split.test)):
        scores = test(posterior, pixels(images), labels)
        figures[f"{part}error_percent"] = 100 * (1 - scores["accuracy"])
        figures |= {f"{part}{name}": scores[name] for name in ("nll", "ece")}
    rows.add(figures)
    if method == MIXTURE:
        images, labels = split.test
        for fraction in PUBLISHED_PRUNED:
            left = jf.MeanField(jf.prune(posterior.params, fraction))
            error = 100 * (1 - test(left, pixels(images), labels)["accuracy"])
            rows.add({"pruned_error_percent": error}, removed=f"{fraction:.0%}")
        rows.extend(smaller_perceptrons(net, posterior, pixels(images), labels))
    return rows


def error_section(config: Config, split: Split, rows: Rows) -> Section:
    """Table 1."""
    names = ("error_percent", "validation_error_percent", "nll", "ece", "seconds")
    return Section(
        "Test error",
        f"{len(split.train[0]):,} training images, {config.fit.num_epochs} epochs, hidden layers "
        f"of {' and '.join(map(str, config.hidden))} units, means over {config.num_seeds} seeds "
        "with their standard errors; seconds of a fit, the first with its compilation. Published: "
        "Blundell et al., table 1, with 50,000 training images and 600 epochs.",
        report.table(rows.where(removed=None, units_out=None), names, digits=3),
        [report.intervals(rows, "error_percent")],
    )

"""Bayes by Backprop on MNIST: Blundell's tables 1 and 2, and the methods that came after.

A net of two hidden layers on raw pixels (divided by 126), as in Blundell et al., ICML 2015, §5.1.
Table 1 is the test error of plain training, dropout, and Bayes by Backprop with a Gaussian and with
a scale-mixture prior; beside them stand local reparameterisation, IVON and a deep ensemble, trained
on the same batches. Table 2 removes the weights whose means are smallest for their standard
deviations; then whole units go, which leaves a smaller net that is timed. Settings were chosen on
the validation images. Figures: docs/results.md. Laptop: 10 minutes on one CPU core.

    make experiment NAME=mnist_bbb
    make experiment NAME=mnist_bbb ARGS="--preset paper"    # 3 × 600 epochs; needs a GPU or TPU
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

import jfractal as jf
from experiments import report
from experiments._images import ImagesConfig, Split, load
from experiments._methods import FitConfig, chosen, recipes
from experiments._perceptron import Perceptron, predict, start
from experiments._routes import scores
from experiments.report import Outcome, Section
from experiments.rows import Rows
from experiments.run import Run, SeedsOptions
from jfractal import metrics
from jfractal.typing import Array, KeyArray

PUBLISHED = {
    "MAP": 1.83,
    "MC dropout": 1.51,
    "mean field": 1.82,
    "mean field, scale mixture": 1.36,
}
PRUNED = "mean field, scale mixture"
UNIT_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 0.9)
FRACTIONS = (0.0, 0.5, 0.75, 0.95, 0.98)
PUBLISHED_PRUNED = (1.24, 1.24, 1.24, 1.29, 1.39)


@dataclass(frozen=True)
class PriorConfig:
    """Gaussian prior of all methods, and the scale mixture of one."""

    scale: float = 0.3
    """Standard deviation of the Gaussian."""
    pi: float = 0.75
    """Share of the wide component of the mixture."""
    scale1: float = 0.37
    """Standard deviation of the wide component."""
    scale2: float = 0.0025
    """Standard deviation of the narrow one."""


@dataclass(frozen=True)
class Config(SeedsOptions):
    """Settings of `mnist_bbb`."""

    hidden: tuple[int, ...] = (400, 400)
    """Units of each hidden layer (ReLU)."""
    methods: tuple[str, ...] = (
        "MAP",
        "MC dropout",
        "mean field",
        "mean field, scale mixture",
        "mean field, local",
        "IVON",
        "ensemble",
    )
    """What to compare, by the names of the report's table."""
    data: ImagesConfig = field(
        default_factory=lambda: ImagesConfig(name="mnist", num_validation=1000)
    )
    """The images."""
    prior: PriorConfig = field(default_factory=PriorConfig)
    """The priors."""
    fit: FitConfig = field(default_factory=lambda: FitConfig(num_epochs=40, scale=0.03))
    """The methods."""


LAPTOP = Config()
PRESETS = {
    "laptop": LAPTOP,
    "paper": replace(
        LAPTOP,
        preset="paper",
        data=ImagesConfig(name="mnist", num_validation=10_000),
        fit=FitConfig(num_epochs=600),
    ),
    "quick": replace(
        LAPTOP,
        quick=True,
        num_seeds=2,
        hidden=(8, 8),
        methods=("MAP", "mean field, scale mixture", "ensemble"),
        data=ImagesConfig(name="mnist", num_train=120, num_test=60, num_validation=20),
        fit=FitConfig(num_epochs=2, batch_size=20, num_samples=2, num_members=2),
    ),
}


def run(config: Config, run: Run) -> Outcome:
    """Fits every method with every seed, tests, prunes."""
    source = load(config.data, config.seed)
    split = Split.of(source, config.data.num_validation, config.seed)
    net = Perceptron(config.hidden, len(source.class_names))
    keys = jax.random.split(jax.random.key(config.seed), config.num_seeds)
    fits, rows = fits_of(config, net, split), Rows()
    for method in config.methods:
        for seed, key in enumerate(tqdm(keys, desc=method, unit="seed")):
            compute = partial(one, config, net, method, fits[method], split, key)
            found = run.once(compute, method=method, step=seed)
            rows.add(found["test"], method=method, seed=seed)
            for share, figures in found.get("pruned", {}).items():
                rows.add(figures, removed=share, seed=seed)
            for share, figures in found.get("smaller", {}).items():
                rows.add(figures, units_out=share, seed=seed)
    for method, percent in PUBLISHED.items():
        rows.add({"error_percent": percent}, method=f"{method}, published")
    return Outcome(source.name, source.requested, rows, sections(config, split, rows))


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
    gaussian = with_prior(jf.priors.Gaussian(given.scale))
    mixture = with_prior(jf.priors.ScaleMixture(given.pi, given.scale1, given.scale2))
    fits = {**gaussian, "mean field, scale mixture": mixture["mean field"]}
    return {
        name: partial(jf.ops.jit(fit), data) for name, fit in chosen(fits, config.methods).items()
    }


def one(
    config: Config,
    net: Perceptron,
    method: str,
    fit: Callable[[KeyArray], jf.Posterior],
    split: Split,
    key: KeyArray,
) -> dict[str, Any]:
    """One method with one seed: its figures and how long it took; what pruning leaves of it."""
    began = perf_counter()
    posterior = jax.block_until_ready(fit(key))
    figures = {"seconds": perf_counter() - began}
    for part, (images, labels) in (("validation_", split.validation), ("", split.test)):
        prediction = predict(
            net, posterior, pixels(images), key, num_samples=config.fit.num_samples
        )
        of = scores(prediction, labels)
        figures |= {f"{part}error_percent": 100 * (1 - of["accuracy"])}
        figures |= {f"{part}{name}": of[name] for name in ("nll", "ece")}
    found: dict[str, Any] = {"test": figures}
    if method == PRUNED:
        found["pruned"] = prune(config, net, posterior, split, key)
        found["smaller"] = dict(shrink(net, posterior, split))
    return found


def prune(
    config: Config, net: Perceptron, posterior: Any, split: Split, key: KeyArray
) -> dict[str, dict[str, float]]:
    """Test error after removing each share of the weights, beside the published one."""
    found = {}
    for fraction, published in zip(FRACTIONS, PUBLISHED_PRUNED):
        left, x = jf.MeanField(jf.prune(posterior.params, fraction)), pixels(split.test[0])
        prediction = predict(net, left, x, key, num_samples=config.fit.num_samples)
        error = 100 * (1 - scores(prediction, split.test[1])["accuracy"])
        found[f"{fraction:.0%}"] = {"pruned_error_percent": error, "published_percent": published}
    return found


def shrink(net: Perceptron, posterior: Any, split: Split) -> Iterator[tuple[str, dict[str, float]]]:
    """Hidden units, test error and milliseconds for 1,000 images after units are taken out.

    Of one net, the means. The times are taken in rounds, so that what else the machine does slows
    all sizes alike.
    """
    layers = [f"hidden{i}" for i in range(1, len(net.hidden) + 1)]
    images = pixels(split.test[0])
    forwards, rows = [], []
    for fraction in UNIT_FRACTIONS:
        params = jf.mean(jf.nn.prune_units(posterior.params, [*layers, "output"], fraction))
        hidden = tuple(len(params[layer]["bias"]) for layer in layers)
        small = jf.ops.jit(partial(Perceptron(hidden, net.num_outputs).apply, {"params": params}))
        error = 1 - metrics.accuracy(jax.nn.softmax(small(images)), split.test[1])
        rows.append({"units": sum(hidden), "smaller_error_percent": 100 * float(error)})
        forwards.append(small)
    times = [[milliseconds(forward, images[:1000]) for forward in forwards] for _ in range(20)]
    for fraction, row, time in zip(UNIT_FRACTIONS, rows, np.median(times[1:], axis=0)):
        yield f"{fraction:.0%}", {**row, "milliseconds": float(time)}


def milliseconds(forward: Callable[[Array], Any], images: Array) -> float:
    """Of one pass, from the device and back."""
    began = perf_counter()
    jax.block_until_ready(forward(images))
    return 1e3 * (perf_counter() - began)


def sections(config: Config, split: Split, rows: Rows) -> list[Section]:
    """Table 1, table 2, and what smaller nets cost."""
    names = {
        "error_percent": "test error (%)",
        "validation_error_percent": "validation error (%)",
        "nll": "NLL (nats)",
        "ece": "ECE",
        "seconds": "seconds",
    }
    pruned = {"pruned_error_percent": "test error (%)", "published_percent": "published (%)"}
    smaller = {
        "units": "hidden units left",
        "smaller_error_percent": "test error (%)",
        "milliseconds": "milliseconds",
    }
    parts = [
        Section(
            "Test error",
            f"{split.source.note}\n\n{len(split.train[0]):,} training images, "
            f"{config.fit.num_epochs} epochs, hidden layers of "
            f"{' and '.join(map(str, config.hidden))} units, means over {config.num_seeds} seeds "
            "with their standard errors; seconds of a fit, the first with its compilation. "
            "Published: Blundell et al., table 1, with 50,000 training images and 600 epochs.",
            report.table(rows, names, digits=3),
            [
                report.intervals(
                    rows, "error_percent", xlabel="test error (%), mean ± standard error"
                )
            ],
        )
    ]
    if PRUNED in config.methods:
        parts += [
            Section(
                "Pruning by signal-to-noise",
                "Of the net with the scale-mixture prior, the weights of the smallest |mean| / "
                "standard deviation are set to 0, over all layers together. Published: table 2, "
                "1,200 units.",
                report.table(rows, pruned, by=("removed",), digits=2),
            ),
            Section(
                "Smaller nets",
                "The hidden units of the smallest signal-to-noise, of their weights in and out "
                "together, are taken out layer by layer, and a net of the rest is built from the "
                "means. Time of one pass over 1,000 images.",
                report.table(rows, smaller, by=("units_out",), digits=2),
            ),
        ]
    return parts

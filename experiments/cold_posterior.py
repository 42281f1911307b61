"""Are cold posteriors better, and is augmentation why? A temperature sweep for VI and SGHMC.

Wenzel et al. (ICML 2020) found that Bayesian nets predict better with ``p(D, w)^{1/T}`` at
temperatures T far below 1. Izmailov et al. (ICML 2021) found no such effect without data
augmentation. Here the posterior of a small net is sampled by SGHMC at T, and fitted by a mean field
with the KL weighted by T. Both use the images as they are, and shifted copies of each. The copies
of an image share its likelihood, so that they add no evidence. Results: docs/results.md. Laptop: 6
minutes of processor time.

    make experiment NAME=cold_posterior
    make experiment NAME=cold_posterior ARGS="--data.name fashion_mnist"
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp

import jfractal as jf
from experiments import _images as images
from experiments import report
from experiments._images import ImageSet
from experiments._methods import FitConfig, recipes
from experiments._perceptron import Perceptron, start, test
from experiments._routes import SCORES
from experiments.ranges import Choices, Count, Natural, Positive
from experiments.report import Outcome, Section, lowest
from experiments.run import Run, SeedsOptions
from experiments.settings import SourceConfig, presets
from jfractal.data import ImageData
from jfractal.typing import Array, Float, Int

# Methods by name, and whether they have the shifted copies.
METHODS = {
    "mean field": ("mean field", False),
    "SGHMC": ("SGHMC", False),
    "mean field, augmented": ("mean field", True),
    "SGHMC, augmented": ("SGHMC", True),
}


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Which images, and how many."""

    name: ImageSet = "mnist"  # Data set: mnist, fashion_mnist, digits, cifar10 or cifar100.
    num_train: Count = 2000  # Training images, drawn anew for each seed.
    num_test: Count = 5000  # Test images.
    num_copies: Count = 8  # Shifted copies of each image, where there is augmentation.
    pixels: Natural = 2  # Largest shift, each way.


@dataclass(frozen=True)
class Config(SeedsOptions):
    """Settings of `cold_posterior`."""

    temperatures: Choices[Positive] = (0.001, 0.01, 0.1, 1.0, 3.0)  # What to sweep; 1 is Bayes.
    num_steps: Count = 1500  # Gradient steps of each run.
    hidden: tuple[Count, ...] = (100,)  # Units of each hidden layer (ReLU).
    prior_scale: Positive = 0.3  # Standard deviation of the Gaussian prior.
    data: DataConfig = DataConfig()
    fit: FitConfig = FitConfig(batch_size=100)  # `num_epochs` follows from `num_steps`.


PRESETS = presets(
    Config(),
    paper={
        "num_seeds": 5,
        "num_steps": 100_000,
        "temperatures": (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0),
        "hidden": (400, 400),
        "data": {"num_train": 50_000, "num_test": 10_000},
    },
    quick={
        "num_seeds": 1,
        "temperatures": (0.1, 1.0),
        "num_steps": 4,
        "hidden": (8,),
        "data": {"name": "digits", "num_train": 40, "num_test": 50, "num_copies": 2, "pixels": 1},
        "fit": {"batch_size": 20, "num_samples": 2},
    },
)

FINDING = lowest("nll", "temperature", "method", of="test NLL")


@dataclass(frozen=True)
class SharedCategorical(jf.likelihoods.Categorical):
    """Class labels of images of which there are several copies: together they count as one."""

    num_copies: int = 1

    def log_likelihood(
        self, outputs: Float[Array, "batch classes"], targets: Int[Array, " batch"]
    ) -> Float[Array, " batch"]:
        """``log softmax(outputs)[target] / num_copies``, in nats per copy."""
        return super().log_likelihood(outputs, targets) / self.num_copies


def run(config: Config, run: Run) -> Outcome:
    """Sweeps the temperature."""
    source = jf.data.load_images(config.data.name, strict=config.data.strict)
    rows = run.sweep(
        partial(one, config, source),
        temperature=config.temperatures,
        method=METHODS,
        seed=range(config.num_seeds),
    )
    section = Section(
        "Temperature",
        f"{config.data.num_train:,} training images, means over {config.num_seeds} seeds ± "
        "standard errors.",
        report.table(rows, SCORES, by=("method", "temperature")),
        [
            report.curves(rows, "temperature", of, ylabel=f"test {report.label(of)}", log10=True)
            for of in ("accuracy", "nll")
        ],
    )
    return Outcome.of(source, rows, section)


def one(
    config: Config, source: ImageData, temperature: float, method: str, seed: int
) -> dict[str, float]:
    """One method at one temperature: accuracy, NLL (nats per image) and ECE on test images."""
    recipe, is_augmented = METHODS[method]
    data, num_train = config.data, config.data.num_train
    drawn = images.draw(source, num_train, data.num_test, (config.seed, seed))
    x, y, copies = drawn.x, drawn.y, data.num_copies if is_augmented else 1
    if is_augmented:
        keys = jax.random.split(jax.random.key(seed), copies)
        shifted = [jf.data.random_shift(key, x, pixels=data.pixels) for key in keys]
        x, y = jnp.concatenate(shifted), jnp.tile(y, copies)
    x, x_test = images.flat(x), images.flat(drawn.x_test)
    net = Perceptron(config.hidden, len(source.class_names))
    prior, likelihood = jf.priors.Gaussian(config.prior_scale), SharedCategorical(num_copies=copies)
    model = jf.Model(net.apply, prior=prior, likelihood=likelihood)
    settings = replace(
        config.fit,
        num_epochs=max(config.num_steps * config.fit.batch_size // len(x), 1),
        kl_weight=temperature,
        temperature=temperature,
        # Its loss is that of a copy, which counts for so much less.
        sghmc_rate=copies * config.fit.sghmc_rate,
    )
    key_fit, key_test = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), seed))
    posterior = recipes(settings, model, start(net, x), len(x))[recipe]((x, y), key_fit)
    draws = config.fit.num_samples
    return test(net, posterior, x_test, drawn.y_test, key_test, num_samples=draws)

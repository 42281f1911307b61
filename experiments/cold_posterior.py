"""Are cold posteriors better, and is augmentation why? A temperature sweep for VI and SGHMC.

Wenzel et al. (ICML 2020) found that Bayesian nets predict better at temperatures T far below 1, of
``p(D, w)^{1/T}``; Izmailov et al. (ICML 2021) found no such effect without data augmentation. Here
the posterior of a small net is sampled by SGHMC at T, and fitted by a mean field with the KL
weighted by T, with the images as they are and with shifted copies of each, among which the
likelihood of an image is shared, so that copies add no evidence. Figures: docs/results.md. Laptop:
6 minutes of processor time.

    make experiment NAME=cold_posterior
    make experiment NAME=cold_posterior ARGS="--data.name fashion_mnist"
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

import jfractal as jf
from experiments import report
from experiments._methods import FitConfig, recipes
from experiments._perceptron import Perceptron, predict, start
from experiments._routes import scores
from experiments._source import SourceConfig
from experiments.report import Outcome, Section
from experiments.rows import Rows
from experiments.run import Run, SeedsOptions
from jfractal.data import ImageData
from jfractal.typing import Array, Float, Int, KeyArray

METHODS = ("mean field", "SGHMC")


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Which images, and how many."""

    name: str = "mnist"
    """Data set: mnist, fashion_mnist or digits."""
    num_train: int = 2000
    """Training images, drawn anew for each seed."""
    num_test: int = 5000
    """Test images."""
    num_copies: int = 8
    """Shifted copies of each image, where there is augmentation."""
    pixels: int = 2
    """Largest shift, each way."""


@dataclass(frozen=True)
class Config(SeedsOptions):
    """Settings of `cold_posterior`."""

    temperatures: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 3.0)
    """What to sweep; 1 is Bayes."""
    num_steps: int = 1500
    """Gradient steps of each run."""
    hidden: tuple[int, ...] = (100,)
    """Units of each hidden layer (ReLU)."""
    prior_scale: float = 0.3
    """Standard deviation of the Gaussian prior."""
    data: DataConfig = field(default_factory=DataConfig)
    """The images."""
    fit: FitConfig = field(default_factory=lambda: FitConfig(batch_size=100, sghmc_rate=0.02))
    """The methods; ``num_epochs`` follows from ``num_steps``."""

    def __post_init__(self):
        super().__post_init__()
        if not self.temperatures or min(self.temperatures) <= 0:
            raise jf.InputError(
                f"`temperatures` must be one or more numbers above 0, got {self.temperatures}"
            )


LAPTOP = Config()
PRESETS = {
    "laptop": LAPTOP,
    "paper": replace(
        LAPTOP,
        preset="paper",
        num_seeds=5,
        num_steps=100_000,
        temperatures=(1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0),
        hidden=(400, 400),
        data=DataConfig(num_train=50_000, num_test=10_000),
    ),
    "quick": replace(
        LAPTOP,
        quick=True,
        num_seeds=1,
        temperatures=(0.1, 1.0),
        num_steps=4,
        hidden=(8,),
        data=DataConfig(name="digits", num_train=40, num_test=50, num_copies=2, pixels=1),
        fit=FitConfig(batch_size=20, num_samples=2),
    ),
}


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
    if not config.data.num_train <= len(source.train_images):
        raise jf.InputError(
            f"`num_train` must not exceed the {len(source.train_images)} training images, "
            f"got {config.data.num_train}"
        )
    rows = Rows()
    grid = list(product((False, True), config.temperatures, METHODS, range(config.num_seeds)))
    for augmented, temperature, method, seed in tqdm(grid, unit="run"):
        figures = run.once(
            partial(one, config, source, method, temperature, augmented=augmented, seed=seed),
            method=method,
            augmented=augmented,
            temperature=temperature,
            step=seed,
        )
        name = f"{method}, augmented" if augmented else method
        rows.add(figures, method=name, temperature=temperature, seed=seed)
    axis = Rows([{**row, "log10": float(np.log10(row["temperature"]))} for row in rows])
    names = {"accuracy": "accuracy", "nll": "NLL (nats)", "ece": "ECE"}
    pictures = [
        report.curves(axis, "log10", of, xlabel="log10 of the temperature", ylabel=f"test {label}")
        for of, label in names.items()
        if of != "ece"
    ]
    section = Section(
        "Temperature",
        f"{source.note}\n\n{config.data.num_train:,} training images, means over "
        f"{config.num_seeds} seeds ± standard errors.",
        report.table(rows, names, by=("method", "temperature")),
        pictures,
    )
    return Outcome(source.name, source.requested, rows, [section])


def one(
    config: Config,
    source: ImageData,
    method: str,
    temperature: float,
    *,
    augmented: bool,
    seed: int,
) -> dict[str, float]:
    """One method at one temperature: accuracy, NLL (nats per image) and ECE on test images."""
    x, y, x_test, y_test = examples(config.data, source, (config.seed, seed), augmented=augmented)
    copies = config.data.num_copies if augmented else 1
    net = Perceptron(config.hidden, len(source.class_names))
    prior, likelihood = jf.priors.Gaussian(config.prior_scale), SharedCategorical(num_copies=copies)
    settings = replace(
        config.fit,
        num_epochs=max(config.num_steps * config.fit.batch_size // len(x), 1),
        kl_weight=temperature,
        temperature=temperature,
        # Its loss is that of a copy, which counts for so much less.
        sghmc_rate=copies * config.fit.sghmc_rate,
    )
    key_fit, key_test = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), seed))
    model = jf.Model(net.apply, prior=prior, likelihood=likelihood)
    fits = recipes(settings, model, start(net, x), len(x))
    posterior = fits[method]((x, y), key_fit)
    draws = config.fit.num_samples
    return scores(predict(net, posterior, x_test, key_test, num_samples=draws), y_test)


def examples(
    config: DataConfig, source: ImageData, seed: tuple[int, int], *, augmented: bool
) -> tuple[Array, Array, Array, np.ndarray]:
    """Flat training images (or shifted copies of them), their labels, and test images."""
    random = np.random.default_rng(seed)
    train = random.permutation(len(source.train_images))[: config.num_train]
    test = random.permutation(len(source.test_images))[: config.num_test]
    mean, std = jf.data.channel_moments(source.train_images)
    standardise = lambda images: jf.data.standardise(images, mean, std)
    images, labels = standardise(source.train_images[train]), source.train_labels[train]
    if augmented:
        keys = jax.random.split(jax.random.key(seed[1]), config.num_copies)
        shift: Callable[[KeyArray], Array] = lambda key: jf.data.random_shift(
            key, images, pixels=config.pixels
        )
        images = jnp.concatenate([shift(key) for key in keys])
        labels = np.tile(labels, config.num_copies)
    flat = lambda images: images.reshape(len(images), -1)
    return (
        flat(images),
        jnp.asarray(labels),
        flat(standardise(source.test_images[test])),
        source.test_labels[test],
    )

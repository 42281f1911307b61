"""Does Bayes regularise? The gap between training and test, against the number of images.

Bayes by Backprop was proposed as a regulariser (Blundell et al., "Weight uncertainty in neural
networks", ICML 2015, §1: "regularises the weights by minimising a compression cost"). Here is that
claim as a test: one net, trained by maximum a posteriori and by mean-field variational inference
with the same prior, and by maximum likelihood with a prior so wide that it says nothing, on more
and more images, with the same number of steps throughout.

Laptop, 10,000 images of MNIST to draw from, 2.4 minutes of processor time. Test NLL in nats, and in
brackets the gap to the training images, means of 3 seeds (standard errors of 0.02 at most from
1,000 images on, of 0.11 below):

    training images          100            300            1,000          3,000
    maximum likelihood   0.961 (0.961)  0.674 (0.674)  0.420 (0.418)  0.254 (0.245)
    MAP                  1.815 (0.310)  0.887 (0.243)  0.480 (0.164)  0.297 (0.108)
    mean field           1.937 (0.289)  0.969 (0.212)  0.529 (0.138)  0.338 (0.085)

So it regularises: the gap is the smallest, at every size. But it does not help here: with this
prior (standard deviation 0.1, the same for MAP) both fit the training images so much less well that
they are worse on the test images too, though less and less so.

    make experiment NAME=overfitting
    make experiment NAME=overfitting ARGS="--data.name fashion_mnist"
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

import jfractal as jf
from experiments._methods import FitConfig, recipes
from experiments._perceptron import Perceptron
from experiments._seeds import SeedsOptions, mean_curve, shown, with_errors
from experiments._source import SourceConfig
from experiments.report import Outcome, Section, Table
from experiments.run import Run
from jfractal import metrics, viz
from jfractal.data import ImageData
from jfractal.typing import Array, KeyArray, Params

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

Figures = dict[str, np.ndarray]  # by name, "sizes seeds"


def run(config: Config, run: Run) -> Outcome:
    """Trains at every size, tests on training and on test images."""
    source = jf.data.load_images(config.data.name, strict=config.data.strict)
    largest = max(config.data.sizes)
    if largest > len(source.train_images):
        raise jf.InputError(
            f"`sizes` must not exceed the {len(source.train_images)} training images, got {largest}"
        )
    figures = {name: {"train": [], "test": []} for name in METHODS}
    for size in tqdm(config.data.sizes, unit="size"):
        rows = [
            run.once(partial(one, config, source, size, seed), step=size, seed=seed)
            for seed in range(config.num_seeds)
        ]
        for name in METHODS:
            for part in ("train", "test"):
                figures[name][part].append([row[name][part] for row in rows])
    return Outcome(
        {
            "dataset": source.name,
            "dataset_requested": source.requested,
            **with_errors(
                {
                    f"{of}_gap_{name.replace(' ', '_')}_{size}": values
                    for of in ("nll", "error")
                    for name in METHODS
                    for size, values in zip(config.data.sizes, gaps(figures[name], of))
                }
            ),
        },
        [gap_section(config, run, source, figures)],
    )


def one(config: Config, source: ImageData, size: int, seed: int) -> dict[str, Any]:
    """All methods on one training set."""
    random = np.random.default_rng((config.seed, seed))
    train = random.permutation(len(source.train_images))[:size]
    test = random.permutation(len(source.test_images))[: config.data.num_test]
    mean, std = jf.data.channel_moments(source.train_images)
    flat = lambda images: jf.data.standardise(images, mean, std).reshape(len(images), -1)
    parts = {
        "train": (flat(source.train_images[train]), jnp.asarray(source.train_labels[train])),
        "test": (flat(source.test_images[test]), jnp.asarray(source.test_labels[test])),
    }
    net = Perceptron(config.hidden, len(source.class_names))
    key_fit, key_test = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), seed))
    rows = {}
    for name, fit in fits(config, net, parts["train"]).items():
        posterior = fit(key_fit)
        rows[name] = {
            part: scores(config, net, posterior, *examples, key_test)
            for part, examples in parts.items()
        }
    numbers = {f"nll_{name} ({part})": rows[name][part]["nll"] for name in rows for part in parts}
    return {**rows, **numbers}


def fits(
    config: Config, net: Perceptron, data: tuple[Array, Array]
) -> Mapping[str, Callable[[KeyArray], jf.Posterior]]:
    """The three ways to train."""
    batch_size = min(config.fit.batch_size, len(data[0]))
    epochs = max(config.num_steps * batch_size // len(data[0]), 1)
    settings = replace(config.fit, num_epochs=epochs, batch_size=batch_size)

    def init(key: KeyArray) -> Params:
        return jf.mean(net.init(key, data[0][:1])["params"])

    def with_prior(scale: float) -> Mapping[str, Any]:
        prior, likelihood = jf.priors.Gaussian(scale), jf.likelihoods.Categorical()
        return recipes(settings, jf.LogJoint(net.apply, data, prior, likelihood), init)

    given = with_prior(config.prior_scale)
    return {
        "maximum likelihood": with_prior(FLAT)["MAP"],
        "MAP": given["MAP"],
        "mean field": given["mean field"],
    }


def scores(
    config: Config, net: Perceptron, posterior: jf.Posterior, x: Array, y: Array, key: KeyArray
) -> dict[str, float]:
    """NLL (nats per image) and error of the posterior predictive."""
    number = 1 if isinstance(posterior, jf.Point) else config.fit.num_samples
    prediction = jf.predict(net.apply, posterior, x, key, num_samples=number, batch_size=1000)
    return {
        "nll": float(metrics.nll(prediction.log_probs, y)),
        "error": 1 - float(metrics.accuracy(prediction.probs, y)),
    }


def values(figures: Mapping[str, Any], part: str, of: str) -> np.ndarray:
    """One figure, "sizes seeds"."""
    return np.array([[row[of] for row in rows] for rows in figures[part]])


def gaps(figures: Mapping[str, Any], of: str) -> np.ndarray:
    """Test less training, "sizes seeds"."""
    return values(figures, "test", of) - values(figures, "train", of)


def gap_section(config: Config, run: Run, source: ImageData, figures: Mapping[str, Any]) -> Section:
    """Gap and test figures against the number of images."""
    sizes = list(config.data.sizes)
    pictures = []
    for of, label in (("nll", "NLL (nats per image)"), ("error", "error")):
        for what, series in (
            ("gap", {name: gaps(figures[name], of) for name in METHODS}),
            ("test", {name: values(figures[name], "test", of) for name in METHODS}),
        ):
            figure = viz.curves(
                {name: mean_curve(np.log10(sizes).tolist(), v.T) for name, v in series.items()},
                xlabel="log10 of the number of training images",
                ylabel=f"{label}, test less training" if what == "gap" else f"test {label}",
            )
            caption = f"{label}: test less training" if what == "gap" else f"Test {label}"
            caption += ", mean over seeds ± standard error."
            pictures.append((run.figure(f"{of}_{what}", figure), caption))
    rows = []
    for i, size in enumerate(sizes):
        for name in METHODS:
            cells = [
                shown(v)
                for of in ("nll", "error")
                for v in (values(figures[name], "test", of)[i], gaps(figures[name], of)[i])
            ]
            rows.append([size, name, *cells])
    names = ["test NLL (nats)", "gap of NLL", "test error", "gap of error"]
    return Section(
        "Training against test",
        f"{source.note}\n\n{config.num_steps:,} steps of every run, {config.num_seeds} seeds. The "
        "gap is the figure on test images less the same on the training images.",
        Table(["training images", "method", *names], rows),
        figures=pictures,
    )

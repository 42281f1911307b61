"""Does it know what it does not know? Every method on strange images and on spoilt ones.

Two questions as in Ovadia et al., NeurIPS 2019. Out-of-distribution images: a net trained on
Fashion-MNIST sees MNIST, and a net trained on eight classes of CIFAR-10 sees the other two; the
entropy of its prediction should tell them apart (AUROC, AUPR, FPR at 95 % recall). Corrupted
images: test images rotated or covered by noise; accuracy falls, and confidence should fall with it
(ECE). A small fractal net of dense units on the pixels; the same start, batches and steps for every
method. Figures: docs/results.md. Laptop: 18 minutes on one CPU core.

    make experiment NAME=ood
    make experiment NAME=ood ARGS="--problems fashion_mnist --num-seeds 5"
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage
from tqdm.auto import tqdm

import jfractal as jf
from experiments import report
from experiments._images import Split
from experiments._methods import FitConfig, chosen, recipes
from experiments._perceptron import classifier, predict, start
from experiments._routes import scores
from experiments._source import SourceConfig
from experiments.report import Outcome, Section, is_version
from experiments.rows import Rows
from experiments.run import Run, SeedsOptions
from jfractal import metrics
from jfractal.data import ImageData
from jfractal.nn import DenseUnit
from jfractal.typing import Array, KeyArray

COVERAGE = 0.8


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """How many images."""

    num_train: int = 3500
    """Training images, validation images among them."""
    num_test: int = 1000
    """Test images, and at most as many strange ones."""
    num_validation: int = 500
    """Training images held out."""
    held_out: tuple[int, ...] = (3, 9)
    """Classes of CIFAR-10 left out of training (3 is cat, 9 is truck)."""
    angles: tuple[float, ...] = (15, 30, 60, 90)
    """Degrees that test images are rotated by."""
    noises: tuple[float, ...] = (0.1, 0.2, 0.4)
    """Standard deviation of noise on test images, of whose range 1 is the whole."""


@dataclass(frozen=True)
class ModelConfig:
    """The fractal net."""

    columns: int = 2
    """Columns of every block."""
    widths: tuple[int, ...] = (200, 100)
    """Features of each block."""
    prior_scale: float = 0.3
    """Standard deviation of the Gaussian prior."""


@dataclass(frozen=True)
class Config(SeedsOptions):
    """Settings of `ood`."""

    problems: tuple[str, ...] = ("fashion_mnist", "cifar10")
    """fashion_mnist: against MNIST; cifar10: against its held-out classes."""
    methods: tuple[str, ...] = (
        "MAP",
        "MC dropout",
        "mean field",
        "mean field, flipout",
        "IVON",
        "ensemble",
        "SWAG",
        "Laplace, last layer",
        "SGLD",
        "SGHMC",
    )
    """What to compare."""
    data: DataConfig = field(default_factory=DataConfig)
    """The images."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The net."""
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            num_epochs=20,
            batch_size=64,
            learning_rate=1e-3,
            kl_weight=0.1,
            temperature=0.1,
            dropout_rate=0.1,
            num_samples=16,
        )
    )
    """The methods."""


LAPTOP = Config()
PRESETS = {
    "laptop": LAPTOP,
    "paper": replace(
        LAPTOP,
        preset="paper",
        data=DataConfig(num_train=50_000, num_test=10_000, num_validation=5000),
        model=ModelConfig(columns=3, widths=(400, 400)),
        fit=replace(LAPTOP.fit, num_epochs=100, num_samples=32),
    ),
    "quick": replace(
        LAPTOP,
        quick=True,
        problems=("digits",),
        num_seeds=1,
        methods=("MAP", "mean field", "ensemble"),
        data=DataConfig(num_train=80, num_test=40, num_validation=10, angles=(90,), noises=(0.5,)),
        model=ModelConfig(widths=(8,)),
        fit=FitConfig(num_epochs=1, batch_size=20, num_samples=2, num_members=2),
    ),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """Images to learn, and strange ones."""

    title: str
    split: Split
    strange: np.ndarray
    requested: str


def run(config: Config, run: Run) -> Outcome:
    """Every problem in turn."""
    problems = [PROBLEMS[name](config) for name in _known(config.problems)]
    rows, sections = Rows(), []
    for problem in problems:
        of_problem = compare(config, run, problem)
        rows.rows += of_problem.rows
        sections += report_on(config, problem, of_problem)
    datasets = ", ".join(problem.split.source.name for problem in problems)
    requested = ", ".join(asked_for(problem.split.source) for problem in problems)
    return Outcome(datasets, requested, rows, sections)


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := set(names) - set(PROBLEMS):
        raise jf.InputError(
            f"`problems` must be out of {', '.join(PROBLEMS)}, got {min(unknown)!r}"
        )
    return names


def asked_for(source: ImageData) -> str:
    """The name of the images, if they are a part or a version of those requested."""
    return source.name if is_version(source.name, source.requested) else source.requested


# Problems


def against_another(name: str, other: str, config: Config) -> Problem:
    """Images of one set, and of another that has their shape."""
    load = partial(jf.data.load_images, strict=config.data.strict)
    inside, outside = load(name), load(other)
    split = split_of(config.data, inside, config.seed)
    strange = outside.test_images[: config.data.num_test]
    return Problem(f"{inside.name} against {outside.name}", split, strange, name)


def against_held_out(name: str, classes: tuple[int, ...], config: Config) -> Problem:
    """Images of some classes of a set, and of the others."""
    source = jf.data.load_images(name, strict=config.data.strict)
    known, unknown = jf.data.hold_out_classes(source, classes)
    names = " and ".join(source.class_names[c] for c in classes)
    split = split_of(config.data, known, config.seed)
    return Problem(f"{known.name} against {names}", split, unknown[: config.data.num_test], name)


PROBLEMS: Mapping[str, Callable[[Config], Problem]] = {
    "fashion_mnist": partial(against_another, "fashion_mnist", "mnist"),
    "cifar10": lambda config: against_held_out("cifar10", config.data.held_out, config),
    "digits": lambda config: against_held_out("digits", config.data.held_out, config),
}


def split_of(config: DataConfig, source: ImageData, seed: int) -> Split:
    """As many images as the settings say, or as there are."""
    num_train = min(config.num_train, len(source.train_images))
    num_test = min(config.num_test, len(source.test_images))
    few = jf.data.subset(source, num_train=num_train, num_test=num_test, seed=seed)
    return Split.of(few, config.num_validation, seed)


# Methods


def compare(config: Config, run: Run, problem: Problem) -> Rows:
    """Fits and tests every method with every seed."""
    split = problem.split
    net = jf.FractalNet(
        len(split.source.class_names),
        columns=config.model.columns,
        widths=config.model.widths,
        unit=partial(DenseUnit, dense=jf.BayesDense),
        norm="none",  # there are no batch statistics of sampled weights
    )
    data = pixels(split, split.train[0]), jnp.asarray(split.train[1])
    model = classifier(net, config.model.prior_scale)
    fits = recipes(config.fit, model, start(net, data[0]), len(data[0]), last_layer="head")
    rows = Rows()
    for method, recipe in chosen(fits, config.methods).items():
        fit = jf.ops.jit(recipe)
        for seed in tqdm(range(config.num_seeds), desc=f"{problem.requested}, {method}"):
            key = jax.random.fold_in(jax.random.key(config.seed), seed)
            compute = lambda key=key, fit=fit: test(config, net, fit(data, key), problem, key)
            of = {"problem": problem.requested, "method": method, "step": seed}
            found = run.once(compute, **of)
            fields = {"problem": problem.requested, "method": method, "seed": seed}
            rows.add(found["images"], **fields)
            for kind, amounts in found["spoilt"].items():
                for amount, figures in amounts.items():
                    rows.add(
                        {f"{kind}_{of}": value for of, value in figures.items()},
                        amount=float(amount),
                        **fields,
                    )
    return rows


def test(
    config: Config, net: Any, posterior: jf.Posterior, problem: Problem, key: KeyArray
) -> dict[str, Any]:
    """What a posterior is worth on familiar, strange and spoilt images."""
    split, labels = problem.split, problem.split.test[1]
    ask = lambda images: predict(
        net, posterior, pixels(split, images), key, num_samples=config.fit.num_samples
    )
    inside, outside = ask(split.test[0]), ask(problem.strange)
    correct = inside.probs.argmax(-1) == jnp.asarray(labels)
    spoilt = {
        kind: {"0": scores(inside, labels)}
        | {str(amount): scores(ask(spoil(split.test[0], amount)), labels) for amount in amounts}
        for kind, (spoil, amounts) in spoilers(config.data).items()
    }
    images = {
        **scores(inside, labels),
        "auroc": metrics.auroc(inside.entropy, outside.entropy),
        "auroc_epistemic": metrics.auroc(inside.epistemic, outside.epistemic),
        "aupr": metrics.aupr(inside.entropy, outside.entropy),
        "fpr95": metrics.fpr95(inside.entropy, outside.entropy),
        "aurc": metrics.aurc(inside.entropy, correct),
        "selective_accuracy": metrics.selective_accuracy(
            inside.entropy, correct, coverage=COVERAGE
        ),
    }
    return {"images": {name: float(value) for name, value in images.items()}, "spoilt": spoilt}


def pixels(split: Split, images: np.ndarray) -> Array:
    """Standardised images as a dense net reads them."""
    return split.standardise(images).reshape(len(images), -1)


def spoilers(config: DataConfig) -> dict[str, tuple[Callable[..., np.ndarray], tuple[float, ...]]]:
    """Ways to spoil images, and how far."""
    return {"rotation": (rotated, config.angles), "noise": (noisy, config.noises)}


def rotated(images: np.ndarray, degrees: float) -> np.ndarray:
    """Images turned about their centre, bilinear, with zeros for what was outside."""
    turned = ndimage.rotate(images.astype(np.float32), degrees, axes=(1, 2), reshape=False, order=1)
    return np.clip(turned, 0, 255).astype(np.uint8)


def noisy(images: np.ndarray, scale: float) -> np.ndarray:
    """Images with Gaussian noise on every pixel."""
    noise = np.random.default_rng(0).normal(0, 255 * scale, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


# Report


def report_on(config: Config, problem: Problem, rows: Rows) -> list[Section]:
    """One row for each method: familiar images, strange ones, spoilt ones."""
    familiar = {
        "accuracy": "accuracy",
        "nll": "NLL (nats)",
        "ece": "ECE",
        "aurc": "AURC",
        "selective_accuracy": f"accuracy on the surest {COVERAGE:.0%}",
    }
    strange = {
        "auroc": "AUROC",
        "auroc_epistemic": "AUROC, epistemic",
        "aupr": "AUPR",
        "fpr95": "FPR95",
    }
    xlabels = {"rotation": "rotation (degrees)", "noise": "noise (share of the range)"}
    curves = [
        report.curves(rows, "amount", f"{kind}_{of}", xlabel=xlabels[kind], ylabel=label)
        for kind in xlabels
        for of, label in (("accuracy", "test accuracy"), ("ece", "ECE"))
    ]
    split = problem.split
    return [
        Section(
            f"Familiar images: {split.source.name}",
            f"{split.source.note}\n\n{len(split.train[0]):,} training images and "
            f"{len(split.test[0]):,} test images, means ± standard errors over the seeds 0 to "
            f"{config.num_seeds - 1}. AURC is the error rate averaged over all shares of the "
            "surest images.",
            report.table(rows, familiar, digits=3),
        ),
        Section(
            f"Strange images: {problem.title}",
            f"{len(split.test[0]):,} test images and {len(problem.strange):,} strange ones, which "
            "are to be found by the entropy of the prediction, or by its epistemic part (one net "
            "has none, and nothing to find them by: 0.5).",
            report.table(rows, strange, digits=3),
            [
                report.intervals(
                    rows, "auroc", xlabel="AUROC of strange images, mean ± standard error"
                )
            ],
        ),
        Section(f"Spoilt images: {split.source.name}", pictures=curves),
    ]

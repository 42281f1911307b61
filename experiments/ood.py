"""Does it know what it does not know? Every method on unknown and on corrupted images.

It asks two questions, as Ovadia et al., NeurIPS 2019. Out-of-distribution images: a net trained on
Fashion-MNIST sees MNIST, and a net trained on eight classes of CIFAR-10 sees the other two. The
entropy of its prediction should separate them (AUROC, AUPR, FPR at 95 % recall). Corrupted images:
test images are rotated or covered by noise. Accuracy falls, and confidence should fall with it
(ECE). The net is a small fractal net of dense units on the pixels, with the same start, batches and
steps for every method. Results: docs/results.md. Laptop: 18 minutes on one CPU core.

    make experiment NAME=ood
    make experiment NAME=ood ARGS="--problems fashion_mnist --num-seeds 5"
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

import jfractal as jf
from experiments import report
from experiments._images import Split, flat, some
from experiments._methods import FitConfig, Method, recipes, without
from experiments._perceptron import classifier, predict, start
from experiments._routes import scores
from experiments.ranges import Choices, Columns, Count, Natural, OneOf, Positive, Some
from experiments.report import Outcome, Section, highest, is_version
from experiments.report.words import listed
from experiments.rows import Rows
from experiments.run import Run, SeedsOptions
from experiments.settings import Settings, SourceConfig, presets
from jfractal import metrics
from jfractal.nn import DenseUnit
from jfractal.typing import Array

COVERAGE = 0.8
PROBLEMS = {"fashion_mnist": "mnist", "cifar10": None, "digits": None}
"""Sets to learn, and the set that strange images are of; None for their held-out classes."""


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """How many images."""

    num_train: Count = 3500  # Training images, validation images among them.
    num_test: Count = 1000  # Test images, and at most as many strange ones.
    num_validation: Count = 500  # Training images held out.
    # Classes of CIFAR-10 left out of training (3 is cat, 9 is truck).
    held_out: Choices[Natural] = (3, 9)
    angles: Choices[float] = (15, 30, 60, 90)  # Degrees that test images are rotated by.
    # Standard deviation of noise on test images, of whose range 1 is the whole.
    noises: Choices[Positive] = (0.1, 0.2, 0.4)


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The fractal net."""

    columns: Columns = 2  # Columns of every block.
    widths: Some[Count] = (200, 100)  # Features of each block.
    prior_scale: Positive = 0.3  # Standard deviation of the Gaussian prior.


@dataclass(frozen=True)
class Config(SeedsOptions):
    """Settings of `ood`."""

    # fashion_mnist: against MNIST; cifar10 and digits: against their held-out classes.
    problems: Choices[Annotated[str, OneOf(PROBLEMS)]] = ("fashion_mnist", "cifar10")
    # What to compare.
    methods: Choices[Method] = without(
        "mean field, local",
        "mean field, antithetic",
        "mean field, per example",
        "Laplace, full",
        "Laplace, diagonal",
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    fit: FitConfig = FitConfig(
        num_epochs=20,
        batch_size=64,
        kl_weight=0.1,
        temperature=0.1,
        dropout_rate=0.1,
        num_samples=16,
    )


PRESETS = presets(
    Config(),
    paper={
        "data": {"num_train": 50_000, "num_test": 10_000, "num_validation": 5000},
        "model": {"columns": 3, "widths": (400, 400)},
        "fit": {"num_epochs": 100, "num_samples": 32},
    },
    quick={
        "problems": ("digits",),
        "num_seeds": 1,
        "methods": ("MAP", "mean field", "ensemble"),
        "data": {
            "num_train": 80,
            "num_test": 40,
            "num_validation": 10,
            "angles": (90,),
            "noises": (0.5,),
        },
        "model": {"widths": (8,)},
        "fit": {"num_epochs": 1, "batch_size": 20, "num_samples": 2, "num_members": 2},
    },
)

FINDING = highest("auroc", "method", of="AUROC of familiar against strange images", per="problem")


class Problem:
    """Images to learn, strange ones, and every method compiled once for all seeds."""

    def __init__(self, config: Config, name: str):
        """A set against another that has its shape, or some of its classes against the others."""
        load = partial(jf.data.load_images, strict=config.data.strict)
        data, source, other = config.data, load(name), PROBLEMS[name]
        if other is not None:
            outside = load(other)
            against, strange = outside.name, outside.test_images
        else:
            against = " and ".join(source.class_names[c] for c in data.held_out)
            source, strange = jf.data.hold_out_classes(source, data.held_out)
        few = some(source, data.num_train, data.num_test, config.seed)
        self.config, self.title = config, f"{source.name} against {against}"
        self.split = Split.of(few, data.num_validation, config.seed)
        self.strange = strange[: data.num_test]
        is_same = is_version(few.name, few.requested)
        self.requested = few.name if is_same else few.requested
        self.net = jf.FractalNet(
            self.split.num_classes,
            columns=config.model.columns,
            widths=config.model.widths,
            unit=partial(DenseUnit, dense=jf.BayesDense),
            norm="none",  # there are no batch statistics of sampled weights
        )
        x, y = self.pixels(self.split.train[0]), jnp.asarray(self.split.train[1])
        model, begin = classifier(self.net, config.model.prior_scale), start(self.net, x)
        fits = recipes(config.fit, model, begin, len(x), last_layer="head")
        self.fits = {of: partial(jf.ops.jit(fits[of]), (x, y)) for of in config.methods}

    def pixels(self, images: np.ndarray) -> Array:
        """Standardised images as a dense net reads them."""
        return flat(self.split.standardise(images))

    def test(self, *, method: str, seed: int, **of: str) -> Rows:
        """What a posterior is worth on familiar, strange and spoilt images."""
        config, (familiar, labels) = self.config, self.split.test
        key, draws = jax.random.fold_in(jax.random.key(config.seed), seed), config.fit.num_samples
        posterior = self.fits[method](key)
        ask = lambda images: predict(
            self.net, posterior, self.pixels(images), key, num_samples=draws
        )
        inside, outside = ask(familiar), ask(self.strange)
        correct = inside.probs.argmax(-1) == jnp.asarray(labels)
        selective = metrics.selective_accuracy(inside.entropy, correct, coverage=COVERAGE)
        figures = {
            **scores(inside, labels),
            "auroc": metrics.auroc(inside.entropy, outside.entropy),
            "auroc_epistemic": metrics.auroc(inside.epistemic, outside.epistemic),
            "aupr": metrics.aupr(inside.entropy, outside.entropy),
            "fpr95": metrics.fpr95(inside.entropy, outside.entropy),
            "aurc": metrics.aurc(inside.entropy, correct),
            "selective_accuracy": selective,
        }
        rows = Rows.of({name: float(value) for name, value in figures.items()})
        spoilers = {"rotation": (rotated, config.data.angles), "noise": (noisy, config.data.noises)}
        for kind, (spoil, amounts) in spoilers.items():
            for amount in (0.0, *amounts):
                prediction = ask(spoil(familiar, amount)) if amount else inside
                spoilt = scores(prediction, labels)
                rows.add({f"{kind}_{of}": spoilt[of] for of in spoilt}, amount=float(amount))
        return rows


def run(config: Config, run: Run) -> Outcome:
    """Every problem in turn."""
    rows, sections, seeds = Rows(), [], range(config.num_seeds)
    problems = {name: Problem(config, name) for name in config.problems}
    for name, problem in problems.items():
        found = run.sweep(problem.test, problem=[name], method=config.methods, seed=seeds)
        rows.extend(found)
        sections += report_on(config, problem, found)
    datasets = listed(problem.split.source.name for problem in problems.values())
    requested = listed(problem.requested for problem in problems.values())
    return Outcome(datasets, requested, rows, sections)


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
    familiar = ("accuracy", "nll", "ece", "aurc", "selective_accuracy")
    strange = ("auroc", "auroc_epistemic", "aupr", "fpr95")
    xlabels = {"rotation": "rotation (degrees)", "noise": "noise (share of the range)"}
    curves = [
        report.curves(rows, "amount", f"{kind}_{of}", xlabel=xlabel, ylabel=report.label(of))
        for kind, xlabel in xlabels.items()
        for of in ("accuracy", "ece")
    ]
    split = problem.split
    return [
        Section(
            f"Familiar images: {split.source.name}",
            f"{split.source.note}\n\n{len(split.train[0]):,} training images and "
            f"{len(split.test[0]):,} test images, means ± standard errors over the seeds 0 to "
            f"{config.num_seeds - 1}. AURC is the error rate averaged over all shares of the "
            f"surest images; the selective accuracy is that on the surest {COVERAGE:.0%}.",
            report.table(rows, familiar, digits=3),
        ),
        Section(
            f"Strange images: {problem.title}",
            f"{len(split.test[0]):,} test images and {len(problem.strange):,} strange ones, which "
            "are to be found by the entropy of the prediction, or by its epistemic part (one net "
            "has none, and nothing to find them by: 0.5).",
            report.table(rows, strange, digits=3),
            [report.intervals(rows, "auroc")],
        ),
        Section(f"Spoilt images: {split.source.name}", pictures=curves),
    ]

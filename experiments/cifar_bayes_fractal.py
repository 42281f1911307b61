"""Bayesian fractal nets on CIFAR-10: what they know, and whether they know that they do not.

Every weight of a FractalNet (Larsson et al., ICLR 2017) is a Gaussian, trained on the evidence
lower bound by Bayes by Backprop (Blundell et al., ICML 2015) or by IVON (Shen et al., ICML 2024),
beside the same net without a posterior. Two classes are left out of training. The entropy of a
prediction splits into an aleatoric part (every sampled network is unsure) and an epistemic part
(they disagree). The epistemic part should tell images of the unknown classes from the others, and
better than the total entropy does, and than that of a single net.

    make experiment NAME=cifar_bayes_fractal
    make experiment NAME=cifar_bayes_fractal ARGS="--data.held-out 0 1"

The recipe is that of `cifar_fractal` without its smoothed labels, with norms over groups, which
have no statistics that would belong to one draw of the weights. Bayes by Backprop moves means by
Muon and standard deviations by Adam. Both posteriors are cold: the KL has a factor below 1. At
factor 1, all labels together are worth fewer nats than the weights cost to encode, so the
mean-field optimum is close to the prior (see `digits_fractal`). Images for choices are validation
images, and training images of the unknown classes; test images chose nothing.

What was tried (seed 0, 8 draws, validation images; the deterministic net has an AUROC of 0.619 and
77.7 % of them right): the mean field has an epistemic AUROC of 0.656 and a total one of 0.621, at
78.3 %. With join inputs dropped in every draw, too, at a rate of 0.15, its epistemic AUROC falls to
0.618; that of the deterministic net asked so is 0.621. IVON, untuned, is at 54.8 % after as many
steps, with 0.632 and 0.640. Laptop: 40 minutes on one CPU core with other work beside it. Figures:
docs/results.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

import jfractal as jf
from experiments import _images as images
from experiments import _nets as nets
from experiments import _routes as routes
from experiments import report
from experiments._images import DataConfig, Split
from experiments._nets import PosteriorConfig
from experiments._pruning import QUANTILES, is_kernel, stds
from experiments.ranges import Choices, Natural
from experiments.report import Outcome, Picture, Section, highest
from experiments.rows import Rows, slug
from experiments.run import Run, SeedsOptions
from experiments.settings import presets
from jfractal import metrics, viz
from jfractal.progress import doing

ENTROPIES = {"total": "entropy", "aleatoric": "aleatoric", "epistemic": "epistemic"}
POINT = "deterministic"
PARTS = ("known", "unknown")
JUDGED = ("accuracy", "nll", "ece", *(f"auroc_{of}" for of in ENTROPIES))
JUDGED += ("above_total", "above_deterministic")


@dataclass(frozen=True)
class HeldOutConfig(DataConfig):
    """Which images, and which classes are unknown to the net."""

    # Classes left out of training (of CIFAR-10: 3 is cat, 9 is truck).
    held_out: Choices[Natural] = (3, 9)


@dataclass(frozen=True)
class Config(nets.Config, SeedsOptions):
    """Settings of `cifar_bayes_fractal`."""

    data: HeldOutConfig = HeldOutConfig()
    methods: Choices[Literal["mean field", "IVON"]] = ("mean field",)  # Posteriors to compare.
    posterior: PosteriorConfig = PosteriorConfig(scale=0.01)  # The mean field.
    ivon: PosteriorConfig = PosteriorConfig(method="ivon", kl_weight=0.1)

    def by_method(self) -> dict[str, PosteriorConfig]:
        """The posteriors to compare."""
        known = {"mean field": self.posterior, "IVON": self.ivon}
        return {method: known[method] for method in self.methods}


RECIPE = {**nets.RECIPE, "model": {**nets.RECIPE["model"], "norm": "group"}}
SHARP = {"train": {"label_smoothing": 0.0, "num_epochs": 4}}
QUICK = {**nets.QUICK, "num_seeds": 1, "methods": ("mean field", "IVON")}
QUICK |= {"posterior": {"num_samples": 4}, "ivon": {"num_samples": 4}}
PRESETS = presets(Config().but(**RECIPE).but(**nets.SMALL).but(**SHARP), quick=QUICK)
PAPER = {
    "model": {"widths": nets.PAPER_WIDTHS, "norm": "group"},
    "train": {"optimizer": "adam", "num_epochs": 400, "batch_size": 100, "learning_rate": 1e-3},
}
PRESETS |= {"paper": Config(preset="paper").but(**PAPER)}

FINDING = highest("auroc_epistemic", "method", of="AUROC of unknown classes by epistemic entropy")


@dataclass(frozen=True, eq=False)
class Questions:
    """Images of the classes in training and of those left out, for choices and for the test."""

    split: Split
    unknown: Mapping[str, np.ndarray]
    unknown_names: str

    @classmethod
    def load(cls, config: HeldOutConfig, seed: int) -> "Questions":
        """The images that the settings ask for."""
        source = images.load(config, seed)
        known, unknown = jf.data.hold_out_classes(source, config.held_out)
        split = Split.of(known, config.num_validation, seed).augmented(config)
        split = replace(split, source=replace(known, requested=source.requested))
        seen = source.train_images[np.isin(source.train_labels, config.held_out)]
        parts = {"validation": seen[: len(split.validation[1])], "test": unknown}
        return cls(split, parts, " and ".join(source.class_names[c] for c in config.held_out))

    def ask(self, net: Any, posterior: jf.Posterior, of: np.ndarray, draws: int) -> jf.Prediction:
        """What a net says of images."""
        return routes.classify(net.apply, posterior, self.split, of, num_samples=draws)

    def figures(self, net: Any, posterior: jf.Posterior, draws: int) -> dict[str, float]:
        """What a net is worth on known classes, and how well it tells unknown ones from them."""
        found: dict[str, float] = {}
        known = {"validation": self.split.validation, "test": self.split.test}
        for part, (familiar, labels) in known.items():
            here = self.ask(net, posterior, familiar, draws)
            there = self.ask(net, posterior, self.unknown[part], draws)
            figures = routes.scores(here, labels)
            for entropy in ENTROPIES if draws > 1 else ("total",):
                inside, outside = (getattr(p, ENTROPIES[entropy]) for p in (here, there))
                figures[f"auroc_{entropy}"] = float(metrics.auroc(inside, outside))
                figures[f"{entropy}_known"] = float(inside.mean())
                figures[f"{entropy}_unknown"] = float(outside.mean())
            end = "" if part == "test" else f"_{part}"
            found |= {f"{name}{end}": value for name, value in figures.items()}
        return found


def run(config: Config, run: Run) -> Outcome:
    """Trains every net without two classes, then asks it about all of them."""
    questions = Questions.load(config.data, config.seed)
    posteriors: dict[str, PosteriorConfig | None] = {POINT: None, **config.by_method()}
    split, rows, first = questions.split, Rows(), {}
    for cell in run.each(seed=range(config.num_seeds), method=posteriors):
        method, of = cell["method"], posteriors[cell["method"]]
        here = config.but(seed=config.seed + cell["seed"])
        net = nets.fractal_net(here, split.num_classes, of)
        name = f"{slug(method)}_{cell['seed']}"
        posterior = nets.train(here, run, net, split, name=name, posterior=of)
        first.setdefault(method, (net, posterior))
        if of is not None:
            rows.add(stds(posterior, of.start_std(len(split.train[0]))), **cell)
        with doing(f"asking {method}"):
            rows.add(questions.figures(net, posterior, of.num_samples if of else 1), **cell)
    rows.extend(margins(rows))
    return Outcome.of(split.source, rows, *sections(config, run, rows, questions, first))


def margins(rows: Rows) -> Rows:
    """How far the epistemic AUROC is above that of the total entropy, and of a single net."""
    found, of = Rows(), "auroc_epistemic"
    for row in rows.where(metric=of):
        total = lambda method, seed=row["seed"]: rows.values(
            "auroc_total", method=method, seed=seed
        )[0]
        margin = {
            "above_total": row["value"] - total(row["method"]),
            "above_deterministic": row["value"] - total(POINT),
        }
        found.add(margin, method=row["method"], seed=row["seed"])
    return found


# Report


def sections(
    config: Config,
    run: Run,
    rows: Rows,
    questions: Questions,
    first: Mapping[str, tuple[Any, jf.MeanField]],
) -> list[Section]:
    """What is known of the unknown, how sure the weights are, and the nets at every depth."""
    split, names, method = questions.split, questions.unknown_names, config.methods[0]
    (net, posterior), draws = first[method], config.by_method()[method].num_samples
    predictions = routes.test(net, posterior, split, num_samples=draws)
    unknown = questions.ask(net, posterior, questions.unknown["test"], draws)
    parts = {"known classes": predictions["whole net"], "held-out classes": unknown}
    epistemic = {name: np.asarray(of.epistemic) for name, of in parts.items()}
    histogram = viz.score_histograms(epistemic, xlabel="epistemic entropy (nats)")
    at_depth = routes.by_route(net, split, predictions)
    return [
        Section(
            "Known and unknown",
            f"Test images of the classes in training, against test images of {names}, which no "
            "net has seen. AUROC is the probability that an image of an unknown class gets the "
            "higher entropy. Above total, above deterministic: by how much the epistemic AUROC "
            "is higher than that of the total entropy of the same prediction, and than that of "
            "the net without a posterior. Means ± standard errors over the seeds.",
            report.table(rows, JUDGED),
        ),
        Section(
            "Entropies",
            f"In nats, mean per image. Histogram: {method}, first seed.",
            report.table(rows, [f"{of}_{part}" for of in ENTROPIES for part in PARTS]),
            [Picture(histogram, "Epistemic entropy of the whole net's prediction.")],
        ),
        Section(
            "How sure the weights are",
            "Mean standard deviation σ of the weights, beside the one that all of them started "
            "from. Where σ stays at its start it is a setting, not a result.",
            report.table(rows, ("mean_std", "start_std", "std_ratio")),
            [
                Picture(
                    viz.posterior_spread(q, where=is_kernel), f"First seed of {name}. {QUANTILES}"
                )
                for name, (_, q) in first.items()
                if name != POINT
            ],
        ),
        routes.routes_section(at_depth),
        routes.reliability_section({"whole net": parts["known classes"]}, split.test[1]),
        routes.training_section(run, f"{slug(method)}_0"),
        routes.structure_section(net),
    ]

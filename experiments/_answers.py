"""What a method answers to familiar and to strange images, and what its answers are worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Self

import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments import _exits as exits
from experiments import _routes as routes
from experiments._images import Split
from experiments._strangers import Strangers
from experiments.rows import Rows
from jfractal import anytime, metrics


@dataclass(frozen=True, eq=False)
class Questions:
    """Images by what they are for, and the labels of those that have some.

    Thresholds of exits are chosen on one half of the validation images, ``choice``; prediction sets
    are calibrated on the other, ``calibration``, for they need images that chose nothing.
    """

    images: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, split: Split, strange: Mapping[str, Strangers]) -> Self:
        """Halves of the validation images, test images, and strangers."""
        images, labels = split.validation
        half = len(labels) // 2
        asked = {
            "choice": (images[:half], labels[:half]),
            "calibration": (images[half:], labels[half:]),
            "test": split.test,
        }
        return cls(
            {of: x for of, (x, _) in asked.items()} | {of: s.images for of, s in strange.items()},
            {of: y for of, (_, y) in asked.items()},
        )


class Answer(NamedTuple):
    """What a method says of each kind of images, and what it spends on one image."""

    said: Mapping[str, jf.Prediction]
    mflops: float
    milliseconds: float


class Price(NamedTuple):
    """What one pass of a net costs an image."""

    mflops: float
    milliseconds: float


def ask(
    net: Any,
    posterior: jf.Posterior,
    split: Split,
    questions: Questions,
    price: Price,
    *,
    num_samples: int = 1,
) -> Answer:
    """The answer of a net under draws of its weights; each of them costs a pass."""
    said = {
        of: routes.classify(net.apply, posterior, split, images, num_samples=num_samples)
        for of, images in questions.images.items()
    }
    return Answer(said, *(num_samples * cost for cost in price))


def together(answers: Sequence[Answer]) -> Answer:
    """The equal mixture of answers, whose costs add up."""
    shares = jnp.full(len(answers), -np.log(len(answers)))
    said = {of: jf.mixture([a.said[of] for a in answers], shares) for of in answers[0].said}
    return Answer(said, sum(a.mflops for a in answers), sum(a.milliseconds for a in answers))


def window(first: Answer, second: Answer, quantiles: tuple[float, float]) -> Answer:
    """A cascade that asks a second net where the first is between two levels of uncertainty.

    Where it is, the two answer together. What is surer will be answered in any case, and what is
    less sure rejected in any case, so that a second opinion would change nothing (Xia & Bouganis,
    "Window-based early-exit cascades for uncertainty estimation", ICCV 2023).

    Args:
        first: Of the cheap net.
        second: Of the dear one.
        quantiles: The window, as quantiles of the entropy of the first on the images of choice.
    """
    low, high = np.quantile(first.said["choice"].entropy, quantiles)
    both, said, share = together([first, second]), {}, {}
    for of, one in first.said.items():
        entropy = np.asarray(one.entropy)
        inside = (low <= entropy) & (entropy <= high)
        log_probs = np.where(inside[:, None], both.said[of].log_probs, one.log_probs)
        said[of] = jf.Prediction.single(log_probs)
        share[of] = float(inside.mean())
    cost = lambda one, two: one + share["test"] * two
    return Answer(
        said,
        cost(first.mflops, second.mflops),
        cost(first.milliseconds, second.milliseconds),
    )


def sets_of(answer: Answer, questions: Questions, alpha: float) -> np.ndarray:
    """Prediction sets of the test images, each calibrated for this answer by itself."""
    held_out, labels = answer.said["calibration"].probs, questions.labels["calibration"]
    threshold = metrics.conformal_threshold(held_out, labels, alpha=alpha)
    return np.asarray(metrics.prediction_sets(answer.said["test"].probs, threshold))


def nestedness(inside: np.ndarray, before: np.ndarray) -> float:
    """The share of images whose set holds no class that an earlier set had excluded."""
    return float((before | ~inside).all(1).mean())


def worth(answer: Answer, questions: Questions, alpha: float) -> dict[str, float]:
    """Every figure of an answer; the uncertainty that ranks images is the entropy in nats."""
    test, labels = answer.said["test"], questions.labels["test"]
    correct = test.probs.argmax(-1) == jnp.asarray(labels)
    score = routes.scores(test, labels)
    unfamiliar = {
        f"auroc_{of}": float(metrics.auroc(test.entropy, answer.said[of].entropy))
        for of in ("near", "far")
    }
    return {
        "mflops": answer.mflops,
        "milliseconds": answer.milliseconds,
        "error": 1 - score["accuracy"],
        "nll": score["nll"],
        "ece": score["ece"],
        "aurc": float(metrics.aurc(test.entropy, correct)),
        **exits.coverage(sets_of(answer, questions, alpha), labels),
        **unfamiliar,
    }


def figures(found: Mapping[str, Answer], questions: Questions, alpha: float, **fields: Any) -> Rows:
    """What every answer is worth, and how its prediction sets follow those of less depth."""
    rows, labels = Rows(), questions.labels["test"]
    inside = {of: sets_of(answer, questions, alpha) for of, answer in found.items()}
    columns = [of for of in found if of.startswith("column")]
    nested = anytime.nested_sets(
        [np.asarray(found[of].said["test"].probs) for of in columns],
        [np.asarray(found[of].said["calibration"].probs) for of in columns],
        questions.labels["calibration"],
        alpha=alpha,
    )
    by_design = dict(zip(columns, nested, strict=True))
    plain = [of for of in found if of.startswith("plain net ")]
    orders = ([*columns, "whole net"], plain)
    before = {deeper: of for order in orders for of, deeper in pairwise(order)}
    for of, answer in found.items():
        score = worth(answer, questions, alpha)
        if of in before:
            score["nested"] = nestedness(inside[of], inside[before[of]])
        if of in by_design:
            covered = exits.coverage(np.asarray(by_design[of]), labels)
            score |= {f"{name}_nested": value for name, value in covered.items()}
        rows.add(score, method=of, **fields)
    return rows

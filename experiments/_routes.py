"""A fractal classifier at every depth: predictions, figures, and the parts of a report."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments._images import Examples
from experiments.report import Picture, Section, table
from experiments.rows import Rows, intervals
from experiments.run import Run
from jfractal import metrics, topology, viz
from jfractal.progress import doing

BATCH = 500  # examples in a pass of an evaluation

SCORES = ("accuracy", "nll", "ece")
"""Scores of predictions."""

INTERVALS = "In parentheses, 95 % bootstrap intervals over the test examples."
"""The note below a table of `by_route`."""


def routes_of(net: Any) -> dict[str, Any]:
    """The whole net and every column alone, by name."""
    return {"whole net": net, **{f"column {c}": net.column(c) for c in net.columns}}


def classify(
    apply: Callable[..., Any],
    posterior: Any,
    split: Examples,
    examples: np.ndarray,
    *,
    num_samples: int,
    seed: int = 0,
) -> jf.Prediction:
    """The posterior predictive for raw examples."""
    return jf.predict(
        apply,
        posterior,
        split.standardise(examples),
        jax.random.key(seed),
        num_samples=num_samples,
        batch_size=BATCH,
    )


def test(
    net: Any, posterior: Any, split: Examples, *, num_samples: int = 1
) -> dict[str, jf.Prediction]:
    """Predictions for the test examples, of the whole net and of every column alone."""
    predictions = {}
    for route, of in routes_of(net).items():
        with doing(f"testing {route}"):
            predictions[route] = classify(
                of.apply, posterior, split, split.test[0], num_samples=num_samples
            )
    return predictions


def scores(prediction: jf.Prediction, labels: Any) -> dict[str, float]:
    """Accuracy, negative log likelihood (nats per example) and expected calibration error."""
    return {
        "accuracy": float(metrics.accuracy(prediction.probs, labels)),
        "nll": float(metrics.nll(prediction.log_probs, labels)),
        "ece": float(metrics.ece(prediction.probs, labels)),
    }


def evaluate(net: Any, variables: Any, split: Examples, part: Any = None) -> dict[str, float]:
    """The `scores` of a net, on the test examples or another part of the split."""
    examples, labels = split.test if part is None else part
    prediction = classify(net.apply, jf.Point(variables), split, examples, num_samples=1)
    return scores(prediction, labels)


def cost(net: Any, split: Examples, route: str) -> dict[str, float]:
    """Convolutions on the longest path, and millions of floating-point operations an example."""
    column = int(route.split()[-1]) if route.startswith("column") else None
    flops = net.num_flops(split.shape, column=column)
    return {"depth": net.depth(column=column), "mflops": flops / 1e6}


def by_route(
    net: Any, split: Examples, predictions: Mapping[str, jf.Prediction], /, **fields: Any
) -> Rows:
    """The cost of every route, and the scores of its predictions for the test examples."""
    rows = Rows()
    for route, prediction in predictions.items():
        worth = scores(prediction, split.test[1]) | spread(prediction, split.test[1])
        rows.add({**cost(net, split, route), **worth}, route=route, **fields)
    return rows


def spread(prediction: jf.Prediction, labels: Any) -> dict[str, float]:
    """Accuracy and NLL with 95 % bootstrap intervals over the test examples."""
    of_each = {
        "accuracy": np.asarray(prediction.probs).argmax(-1) == labels,
        "nll": -np.asarray(prediction.log_probs)[np.arange(len(labels)), labels],
    }
    estimate = lambda x: metrics.bootstrap(jnp.mean, (x.astype(np.float32),), jax.random.key(0))
    return intervals({name: estimate(values) for name, values in of_each.items()})


def routes_section(rows: Rows) -> Section:
    """A table of the whole net and every column: depth, cost, accuracy, NLL, ECE."""
    figures = table(rows, ("depth", "mflops", *SCORES), by=("route",))
    return Section("Any depth: the whole net and every column alone", INTERVALS, figures)


def training_section(run: Run, name: str = "net") -> Section:
    """Training loss of every route, and validation accuracy after each epoch."""
    rows, prefix = run.rows(net=name), "validation/accuracy/"
    taken = sorted({row["route"] for row in rows if "route" in row})
    losses = {
        f"column {route:.0f}" if route else "whole net": logged(run, "loss", net=name, route=route)
        for route in taken
    } or {"all routes": logged(run, "loss", net=name)}
    accuracies = {
        key.removeprefix(prefix): logged(run, key, net=name)
        for key in rows[-1]
        if key.startswith(prefix)
    }
    loss = viz.curves(losses, xlabel="epoch", ylabel="training loss (nats per example)")
    accuracy = viz.curves(accuracies, xlabel="epoch", ylabel="validation accuracy")
    chosen = "".join(
        f"\n\nThe net computed in {row['dtype']}: {row['reason']}."
        for row in run.rows(precision_of=name)
    )
    return Section(
        "Training" if name == "net" else f"Training, {name.replace('_', ' ')}",
        "The loss of a step is that of the route it took: the whole net or one column alone; where "
        "every step takes all routes, their mean. It is smoothed over neighbouring rows." + chosen,
        pictures=[
            Picture(loss, "Training loss by route."),
            Picture(accuracy, "Validation accuracy after each epoch."),
        ],
    )


def logged(run: Run, key: str, **of: Any) -> tuple[list[float], list[float]]:
    """A figure in the log of a run, smoothed, and the epochs it belongs to."""
    rows = [row for row in run.rows(**of) if key in row]
    return [row["epoch"] for row in rows], smooth([row[key] for row in rows])


def smooth(values: Sequence[float]) -> list[float]:
    """Running mean over a tenth of the series: single batches are noisy."""
    width = max(len(values) // 10, 1)
    return [float(np.mean(values[max(i - width + 1, 0) : i + 1])) for i in range(len(values))]


def reliability_section(predictions: Mapping[str, jf.Prediction], labels: np.ndarray) -> Section:
    """A reliability diagram for each prediction."""
    caption = "Accuracy against confidence on the test set, 15 bins of equal width."
    bins = {name: metrics.reliability(p.probs, labels) for name, p in predictions.items()}
    return Section(
        "Calibration",
        "A calibrated classifier lies on the diagonal: of what it is 80 % sure of, it gets "
        "80 % right.",
        pictures=[Picture(viz.reliability_diagram(bins), caption)],
    )


def structure_section(net: Any) -> Section:
    """A picture of the block, and what its expression says about it."""
    block, blocks = net.blocks[0], len(net.blocks)
    return Section(
        "Structure",
        f"{blocks} blocks of this structure, widths {', '.join(map(str, net.widths))}, each "
        f"followed by a max-pool by 2. A block has {len(topology.units(block))} units and "
        f"{topology.num_paths(block)} paths of {min(topology.path_lengths(block))} to "
        f"{topology.depth(block)} units; the net has {topology.num_paths(block) ** blocks} paths.",
        pictures=[Picture(viz.structure(block), "One block.")],
    )

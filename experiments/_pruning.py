"""What is left of a Bayesian net without its parts of least signal-to-noise, |mean| / deviation."""

from typing import Any

import jax
import numpy as np

import jfractal as jf
from experiments._images import Split
from experiments._perceptron import Perceptron
from experiments._routes import evaluate
from experiments._timing import milliseconds
from experiments.report import Section, table
from experiments.rows import Rows
from jfractal import metrics
from jfractal.nn import BlockNet, keep_columns, prune_paths
from jfractal.posterior import group_snr
from jfractal.typing import Array, Variables

NUM_ROUNDS = 20
FRACTIONS = (0.0, 0.25, 0.5, 0.75, 0.9)  # of the units of each layer


def smaller_fractals(net: BlockNet, variables: Variables, split: Split) -> tuple[Rows, Section]:
    """A net without paths, and with its surest column alone: built from the means, and timed."""
    snr = {
        c: float(group_snr(variables["params"], where=lambda path, _, c=c: f"column{c}_" in path))
        for c in net.columns
    }
    best = max(snr, key=lambda c: snr[c])
    smaller = {
        "all paths": (net, variables),
        "without a quarter of the join inputs": prune_paths(net, variables, 0.25),
        "without half of the join inputs": prune_paths(net, variables, 0.5),
        f"column {best} alone": keep_columns(net, variables, (best,)),
    }
    means = {
        name: (small, {**leaves, "params": jf.mean(leaves["params"])})
        for name, (small, leaves) in smaller.items()
    }
    times = milliseconds(means, split.standardise(split.test[0]), num_rounds=NUM_ROUNDS)
    rows = Rows()
    for name, (small, leaves) in means.items():
        accuracy = evaluate(small, leaves, split)["accuracy"]
        cost = {"mflops": small.num_flops(split.shape) / 1e6, "milliseconds": times[name]}
        rows.add({**cost, "accuracy": accuracy}, net=name)
    shown = ", ".join(f"{value:.2f} (column {c})" for c, value in snr.items())
    return rows, Section(
        "Smaller nets by signal-to-noise",
        "Join inputs of the mean-field net with the smallest |mean| / standard deviation are taken "
        "out, then all columns but the surest, and the net that is left is built from the means. "
        f"Signal-to-noise: {shown}. Time of one pass over all test images, median of {NUM_ROUNDS}.",
        table(rows, ("mflops", "milliseconds", "accuracy"), by=("net",)),
    )


def smaller_perceptrons(net: Perceptron, posterior: Any, x: Array, labels: np.ndarray) -> Rows:
    """Units, test error and milliseconds for 1,000 inputs of nets of the means, without units."""
    layers = [f"hidden{i}" for i in range(1, len(net.hidden) + 1)]
    smaller, rows = {}, Rows()
    for fraction in FRACTIONS:
        params = jf.mean(jf.nn.prune_units(posterior.params, [*layers, "output"], fraction))
        hidden = tuple(len(params[layer]["bias"]) for layer in layers)
        smaller[fraction] = Perceptron(hidden, net.num_outputs), {"params": params}
    times = milliseconds(smaller, x[:1000], num_rounds=NUM_ROUNDS)
    for fraction, (small, variables) in smaller.items():
        probs = jax.nn.softmax(small.apply(variables, x))
        figures = {
            "units": sum(small.hidden),
            "smaller_error_percent": 100 * float(1 - metrics.accuracy(probs, labels)),
            "milliseconds": times[fraction],
        }
        rows.add(figures, units_out=f"{fraction:.0%}")
    return rows


def weights_section(rows: Rows) -> Section:
    """What nets without weights are worth, beside table 2 of Blundell et al., ICML 2015."""
    names = {"pruned_error_percent": "test error (%)", "published_percent": "published (%)"}
    return Section(
        "Pruning by signal-to-noise",
        "Of the net with the scale-mixture prior, the weights of the smallest |mean| / standard "
        "deviation are set to 0, over all layers together. Published: table 2, 1,200 units.",
        table(rows, names, by=("removed",), digits=2),
    )


def units_section(rows: Rows) -> Section:
    """What nets without units cost and are worth."""
    names = {"units": "units left", "smaller_error_percent": "test error (%)", "milliseconds": "ms"}
    return Section(
        "Smaller nets",
        "The hidden units of the smallest signal-to-noise, of their weights in and out together, "
        "are taken out layer by layer, and a net of the rest is built from the means. Time of one "
        "pass over 1,000 images.",
        table(rows, names, by=("units_out",), digits=2),
    )

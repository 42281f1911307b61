"""The weights of a Bayesian net: how sure they are, and the net without the least sure of them."""

from typing import Any

import jax
import numpy as np

import jfractal as jf
from experiments._images import Split
from experiments._perceptron import Perceptron
from experiments._routes import evaluate
from experiments._timing import milliseconds
from experiments.report import Picture, Section, table
from experiments.rows import Rows
from jfractal import metrics, viz
from jfractal.nn import BlockNet, keep_columns, prune_paths
from jfractal.posterior import group_snr
from jfractal.posterior.gaussian import gaussians
from jfractal.typing import Array, Variables

NUM_ROUNDS = 20
FRACTIONS = (0.0, 0.25, 0.5, 0.75, 0.9)  # of the units of each layer


QUANTILES = "Of each leaf, from the 5 % to the 95 % quantile over its weights."


def stds(posterior: jf.MeanField, start: float) -> dict[str, float]:
    """The mean standard deviation of the weights, and the one that all of them started from."""
    mean = float(_stds(posterior).mean())
    return {"mean_std": mean, "start_std": start, "std_ratio": mean / start}


def _stds(posterior: jf.MeanField) -> np.ndarray:
    return np.concatenate([np.ravel(q.std) for q in gaussians(posterior.params)])


def sureness(posterior: jf.MeanField, start: float) -> tuple[Rows, Section]:
    """The standard deviations of the weights, beside the one that all of them started from."""
    std, rows = _stds(posterior), Rows()
    rows.add(stds(posterior, start))
    low, high = np.quantile(std, [0.05, 0.95])
    return rows, Section(
        "How sure the weights are",
        f"The standard deviations σ of {std.size:,} weights started at {start:.4f}. Their mean is "
        f"{std.mean():.4f}, {std.mean() / start:.2f} times that; 90 % of them lie between "
        f"{low:.4f} and {high:.4f}. Where σ stays at its start it is a setting, not a result.",
        pictures=[Picture(viz.posterior_spread(posterior, where=is_kernel), QUANTILES)],
    )


def is_kernel(path: str, leaf: Array) -> bool:
    """Whether a leaf is the kernel of a layer."""
    return path.endswith("/kernel")


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
    """The scores of nets with pruned weights, next to table 2 of Blundell et al., ICML 2015."""
    names = {"pruned_error_percent": "test error (%)", "published_percent": "published (%)"}
    return Section(
        "Pruning by signal-to-noise",
        "Of the net with the scale-mixture prior, the weights of the smallest |mean| / standard "
        "deviation are set to 0, over all layers together. Published: table 2, 1,200 units.",
        table(rows, names, by=("removed",), digits=2),
    )


def units_section(rows: Rows) -> Section:
    """The cost and the scores of nets with removed units."""
    names = {"units": "units left", "smaller_error_percent": "test error (%)", "milliseconds": "ms"}
    return Section(
        "Smaller nets",
        "The hidden units of the smallest signal-to-noise, of their weights in and out together, "
        "are taken out layer by layer, and a net of the rest is built from the means. Time of one "
        "pass over 1,000 images.",
        table(rows, names, by=("units_out",), digits=2),
    )

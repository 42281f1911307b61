"""What each inference method costs in time: its fit, in fits of a single net.

    python -m benchmarks.methods

A net of two hidden layers of 400 units on 3,000 images of MNIST (or what stands in for them), 5
epochs of batches of 128 for every method. Compiled before, in rounds, each method once a round, so
that what else the machine does slows all alike; the median over rounds of the ratio to MAP.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments._methods import FitConfig, recipes
from experiments._perceptron import Perceptron

ROUNDS = 3
CONFIG = FitConfig(num_epochs=5, batch_size=128, num_samples=20)
LEFT_OUT = ("Laplace, full", "Laplace, diagonal")  # half a million weights: gigabytes


def fits() -> dict[str, Callable[[jax.Array], Any]]:
    """Every method, compiled."""
    source = jf.data.subset(jf.data.load_images("mnist"), num_train=3000, num_test=10, seed=0)
    x = jnp.asarray(source.train_images.reshape(3000, -1), jnp.float32) / 126
    net = Perceptron((400, 400), 10)
    log_joint = jf.LogJoint(
        net.apply,
        (x, jnp.asarray(source.train_labels)),
        jf.priors.Gaussian(0.3),
        jf.likelihoods.Categorical(),
    )
    methods = recipes(CONFIG, log_joint, lambda key: jf.mean(net.init(key, x[:1])["params"]))
    return {name: jf.ops.jit(fit) for name, fit in methods.items() if name not in LEFT_OUT}


def seconds(fit: Callable[[jax.Array], Any]) -> float:
    """Of one fit."""
    began = perf_counter()
    jax.block_until_ready(fit(jax.random.key(0)))
    return perf_counter() - began


def main() -> None:
    """Prints the table."""
    methods = fits()
    for fit in methods.values():
        seconds(fit)  # compiles
    rounds = [{name: seconds(fit) for name, fit in methods.items()} for _ in range(ROUNDS)]
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    for name in methods:
        ratio = np.median([row[name] / row["MAP"] for row in rounds])
        print(f"{name:22} {ratio:6.2f} × MAP   {np.median([row[name] for row in rounds]):7.2f} s")


if __name__ == "__main__":
    main()

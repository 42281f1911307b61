"""What each inference method costs in time: its fit, in fits of a single net.

    python -m benchmarks.methods [dense | fractal | regression]

Three problems, each with a maximum a posteriori of its own to compare with: a net of two hidden
layers of 400 units on 3,000 images of MNIST, 5 epochs of batches of 128 for every method; a fractal
net of two columns on the same, where drop-path is a method; and the first split of UCI's boston
(or what stands in for it) with 50 hidden units, 400 epochs, where NUTS takes minutes and not days.

All but NUTS are compiled before. In rounds, each method once a round, so that what else the machine
does slows all alike; the median over rounds of the ratio to MAP.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jfractal as jf
from experiments import uci_regression as uci
from experiments._methods import FitConfig, recipes
from experiments._perceptron import Perceptron, classifier, start
from jfractal.nn import LearnedNoise
from jfractal.training import scan
from jfractal.typing import KeyArray

Fit = Callable[[KeyArray], jf.Posterior]

ROUNDS = 3
CONFIG = FitConfig(num_epochs=5, batch_size=128, num_samples=20)
LEFT_OUT = ("Laplace, full", "Laplace, diagonal")  # half a million weights: gigabytes


def images() -> tuple[jax.Array, jax.Array]:
    """3,000 of MNIST, with their labels."""
    source = jf.data.subset(jf.data.load_images("mnist"), num_train=3000, num_test=10, seed=0)
    return jnp.asarray(source.train_images, jnp.float32) / 126, jnp.asarray(source.train_labels)


def dense() -> Mapping[str, Fit]:
    """Two hidden layers of 400 units, by every method for which half a million weights are few."""
    x, labels = images()
    net, x = Perceptron((400, 400), 10), x.reshape(len(x), -1)
    methods = recipes(CONFIG, classifier(net, 0.3), start(net, x), len(x))
    return {
        name: partial(jf.ops.jit(fit), (x, labels))
        for name, fit in methods.items()
        if name not in LEFT_OUT
    }


def fractal() -> Mapping[str, Fit]:
    """A fractal net of two columns, all of it and under drop-path."""
    x, labels = images()
    net = jf.FractalNet(10, columns=2, widths=(8, 16), dropout=(0.0, 0.0), norm="frn")
    prior, likelihood = jf.priors.Gaussian(0.3), jf.likelihoods.Categorical()
    model = jf.fractal_model(net, prior=prior, likelihood=likelihood, global_rate=0, drop_path=0)
    adam = optax.adam(CONFIG.learning_rate)
    methods = {
        "MAP": jf.maximum_a_posteriori(model, adam),
        "MC drop-path": jf.mc_drop_path(model, adam),
    }
    steps = CONFIG.num_epochs * (len(x) // CONFIG.batch_size)

    def fit(method: jf.Method, data: Any, key: KeyArray) -> jf.Posterior:
        options = {"num_steps": steps, "batch_size": CONFIG.batch_size}
        return scan(method, start(net, x), data, key, **options)[0]

    return {
        name: partial(jf.ops.jit(partial(fit, method)), (x, labels))
        for name, method in methods.items()
    }


def regression() -> Mapping[str, Fit]:
    """As in `uci_regression`: one split, one net; NUTS with what it compiles."""
    source, config = jf.data.load_regression("boston"), uci.PRESETS["laptop"]
    train, test = (rows[0] for rows in jf.data.standard_splits(len(source.targets), 1))
    split = uci.fold(source, jnp.asarray(train), jnp.asarray(test))
    net = LearnedNoise(Perceptron(config.hidden, 1))
    model, data, begin = uci.model_of(config, net), (split.x, split.y), start(net, split.x)
    chains = config.chains
    return {
        "MAP": partial(jf.ops.jit(recipes(config.fit, model, begin, len(split.x))["MAP"]), data),
        "NUTS": partial(
            jf.nuts,
            model,
            data,
            starts=begin,
            num_chains=chains.num_chains,
            num_warmup=chains.num_warmup,
            num_draws=chains.num_draws,
            max_tree_depth=chains.max_tree_depth,
        ),
    }


PROBLEMS: Mapping[str, Callable[[], Mapping[str, Fit]]] = {
    "dense": dense,
    "fractal": fractal,
    "regression": regression,
}


def seconds(fit: Callable[[jax.Array], Any]) -> float:
    """Of one fit."""
    began = perf_counter()
    jax.block_until_ready(fit(jax.random.key(0)))
    return perf_counter() - began


def main(names: list[str]) -> None:
    """Prints a table for each problem."""
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    for problem in names or PROBLEMS:
        methods = PROBLEMS[problem]()
        for name, fit in methods.items():
            if name != "NUTS":
                seconds(fit)  # compiles
        rounds = [{name: seconds(fit) for name, fit in methods.items()} for _ in range(ROUNDS)]
        print(f"{problem}:")
        for name in methods:
            ratio = np.median([row[name] / row["MAP"] for row in rounds])
            print(
                f"{name:22} {ratio:6.2f} × MAP   {np.median([row[name] for row in rounds]):7.2f} s"
            )


if __name__ == "__main__":
    main(sys.argv[1:])

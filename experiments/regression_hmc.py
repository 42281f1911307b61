"""A regression curve by MAP, mean-field VI and NUTS: how far is the cheap posterior from HMC's?

The curve is y = x + 0.3 sin 2π(x + ε) + 0.3 sin 4π(x + ε) + ε (Blundell et al., ICML 2015, §5.2).
One small network is fitted in three ways over the same tree of weights: by its most probable
weights, by a Gaussian for every weight (Bayes by Backprop), and by draws from the exact posterior
with the No-U-Turn sampler (NumPyro, four vectorised chains). Prior and likelihood are the same
objects for all three.

    make experiment NAME=regression_hmc

About a minute on 2 CPU cores. Expect HMC's band to widen where there are no data, and VI's much
less. Expect R-hat of the predictions below 1.01 and no divergence. (R-hat of single weights would
mean nothing, because permuting hidden units changes the weights but not the function.)
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jfractal as jf
from experiments import report
from experiments._methods import computed_in
from experiments._nuts import ChainsConfig, convergence_section, sample
from experiments._perceptron import Perceptron, start
from experiments._problems import Problem
from experiments.ranges import Count, Positive, Precision
from experiments.report import Outcome, Picture, Section, lowest
from experiments.rows import Rows
from experiments.run import Options, Run
from experiments.settings import Settings, presets
from jfractal import metrics, viz
from jfractal.typing import Array, KeyArray

CURVE = "Blundell's regression curve (synthetic)"


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The network, its prior and its likelihood."""

    hidden: tuple[Count, ...] = (16,)  # Units of each hidden layer (tanh).
    prior_scale: Positive = 2.0  # Standard deviation of the Gaussian prior of every weight.
    noise_scale: Positive = 0.1  # Standard deviation of the Gaussian likelihood, fixed for all.


@dataclass(frozen=True)
class FitConfig(Settings):
    """MAP and variational inference, by Adam on the full data."""

    map_steps: Count = 5000  # Steps of MAP.
    vi_steps: Count = 20000  # Steps of variational inference.
    learning_rate: Positive = 0.01  # Learning rate of both, falling to 0 along a cosine.
    num_samples: Count = 8  # Draws of the weights for a step of variational inference.
    scale: Positive = 0.05  # Initial standard deviation of the variational posterior.
    precision: Precision = "float32"  # In which the net computes in MAP and VI.


@dataclass(frozen=True)
class Config(Options):
    """Settings of `regression_hmc`."""

    num_data: Count = 60  # Training points, x uniform in [0, 0.5].
    num_predictive: Count = 1000  # Draws of the weights for a predictive distribution.
    model: ModelConfig = ModelConfig()
    fit: FitConfig = FitConfig()
    # A high acceptance probability keeps the steps short where the posterior is narrow.
    chains: ChainsConfig = ChainsConfig(
        num_warmup=500, num_draws=1500, target_accept=0.95, max_tree_depth=10
    )


PRESETS = presets(
    Config(),
    paper={
        "num_data": 200,
        "model": {"hidden": (50,)},
        "chains": {"num_warmup": 2000, "num_draws": 2000},
    },
    quick={
        "num_data": 20,
        "num_predictive": 50,
        "model": {"hidden": (4,)},
        "fit": {"map_steps": 50, "vi_steps": 50},
        "chains": {"num_warmup": 20, "num_draws": 20},
    },
)

FINDING = lowest(
    "w2_without_data",
    "method",
    of="W2 distance to NUTS where there are no data",
    without=("NUTS",),
)


def run(config: Config, run: Run) -> Outcome:
    """Fits the three posteriors and compares their predictions."""
    key_data, key_fit, key_predict = jax.random.split(jax.random.key(config.seed), 3)
    data = jf.data.blundell_curve(key_data, config.num_data)
    x_test, y_test = jf.data.blundell_curve(jax.random.fold_in(key_data, 1), 1000)
    net = Perceptron(config.model.hidden, 1, nn.tanh)
    model = jf.Model(
        net.apply,
        prior=jf.priors.Gaussian(config.model.prior_scale),
        likelihood=jf.likelihoods.Gaussian(config.model.noise_scale),
    )
    grid = jnp.linspace(-0.2, 0.8, 101)[:, None]
    *keys, key_nuts = jax.random.split(key_fit, 3)
    problem = Problem(net, model, data, start(net, data[0]), grid)
    posteriors = fit_both(config, run, problem, keys)
    reference = sample(config.chains, run, "Blundell's curve", problem, key_nuts)
    posteriors["NUTS"] = reference.chains
    draws = {
        name: predictive_draws(config, model, posterior, grid, key_predict)
        for name, posterior in posteriors.items()
    }
    rows = Rows()
    for name, posterior in posteriors.items():
        found = jf.predict(model, posterior, x_test, key_predict, num_samples=config.num_predictive)
        figures = {
            "nll": float(-found.log_prob(y_test).mean()),
            "rmse": float(metrics.rmse(found.mean, y_test)),
        }
        rows.add(figures | distances(draws[name], draws["NUTS"], grid), method=name)
    sections = [
        comparison_section(data, grid, draws, rows),
        convergence_section(config.chains, "Blundell's curve", reference),
        chains_section(config.chains, grid, reference.predictions[..., 0]),
    ]
    rows.add(reference.figures)
    return Outcome(CURVE, CURVE, rows, sections)


def fit_both(config: Config, run: Run, problem: Problem, keys: Any) -> dict[str, jf.Posterior]:
    """MAP, and mean-field VI started from it."""
    fit, model = config.fit, computed_in(config.fit.precision, problem.model)
    adam = lambda steps: optax.adam(optax.cosine_decay_schedule(fit.learning_rate, steps))
    point = jf.maximum_a_posteriori(model, adam(fit.map_steps))
    options = {"num_samples": fit.num_samples, "scale": fit.scale}
    mean_field = jf.variational(model, adam(fit.vi_steps), **options)
    methods = {"MAP": (point, fit.map_steps), "mean-field VI": (mean_field, fit.vi_steps)}
    begin, found = problem.start, {}
    for cell, key in zip(run.each(method=methods), keys):
        name, (method, num_steps) = cell["method"], methods[cell["method"]]
        fitted = run.fit(method, begin, problem.data, key, name=name, num_steps=num_steps)
        found[name] = fitted.posterior
        begin = fitted.posterior.mean()
    return found


def predictive_draws(
    config: Config, model: jf.Model, posterior: jf.Posterior, x: Array, key: KeyArray
) -> np.ndarray:
    """Draws of y at each x, noise included: "draws points"."""
    key_weights, key_noise = jax.random.split(key)
    number = config.num_predictive
    means = jf.sample_outputs(model.apply, posterior, x, key_weights, num_samples=number)
    noise = config.model.noise_scale * jax.random.normal(key_noise, means.shape)
    return np.asarray((means + noise)[..., 0])


def distances(draws: np.ndarray, reference: np.ndarray, grid: Array) -> dict[str, float]:
    """Mean 2-Wasserstein distance to the reference where there are data, and where not."""
    distance = np.asarray(metrics.wasserstein(draws, reference))
    inside = np.asarray((grid[:, 0] >= 0) & (grid[:, 0] <= 0.5))
    return {
        "w2_with_data": float(distance[inside].mean()),
        "w2_without_data": float(distance[~inside].mean()),
    }


def comparison_section(
    data: tuple[Array, Array], grid: Array, draws: dict[str, np.ndarray], rows: Rows
) -> Section:
    """The three predictive bands, and what they score."""
    quantiles = (0.025, 0.25, 0.75, 0.975)
    bands = {
        name: viz.Band(of.mean(0), *np.quantile(of, quantiles, axis=0))
        for name, of in draws.items()
    }
    x, y = (np.asarray(part[:, 0]) for part in data)
    figure = viz.predictive_bands(np.asarray(grid[:, 0]), bands, x, y)
    caption = "Mean, 50 % and 95 % of the predictive distribution (noise included)."
    return Section(
        "Three posteriors",
        f"{len(x)} training points with x in [0, 0.5]. W2 is the 2-Wasserstein distance between "
        "predictive distributions at one x, in units of y, averaged over x in [0, 0.5] (with data) "
        "and over the rest of [-0.2, 0.8] (without). That of NUTS to itself is 0: the draws are "
        "the same.",
        report.table(rows, ("nll", "rmse", "w2_with_data", "w2_without_data")),
        [Picture(figure, caption)],
    )


def chains_section(config: ChainsConfig, grid: Array, outputs: np.ndarray) -> Section:
    """R-hat at each x and the largest that is allowed, and the mean of each chain."""
    x, rows = np.asarray(grid[:, 0]).tolist(), Rows()
    for place, rhat, means in zip(x, metrics.rhat(outputs), outputs.mean(1).T):
        rows.add({"rhat": rhat}, x=place, of="split R-hat")
        rows.add({"rhat": config.max_rhat}, x=place, of="allowed")
        for chain, mean in enumerate(means, start=1):
            rows.add({"mean": mean}, x=place, of=f"chain {chain}")
    rhat = report.curves(rows, "x", "rhat", by="of", ylabel="R-hat of the prediction at x")
    mean = report.curves(rows, "x", "mean", by="of", ylabel="posterior mean of the function")
    return Section("The chains along the curve", pictures=[rhat, mean])

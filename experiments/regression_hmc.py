"""A regression curve by MAP, mean-field VI and NUTS: how far is the cheap posterior from HMC's?

Blundell's curve, y = x + 0.3 sin 2π(x + ε) + 0.3 sin 4π(x + ε) + ε (Blundell et al., ICML 2015,
§5.2), and one small network three ways over the same tree of weights: its most probable weights,
a Gaussian for every weight (Bayes by Backprop), and draws of the exact posterior by the No-U-Turn
sampler (NumPyro), four vectorised chains. Prior and likelihood are the same objects for all three.

    make experiment NAME=regression_hmc

About a minute on 2 CPU cores. Expect HMC's band to widen where there are no data, VI's much less;
R-hat of the predictions below 1.01 and no divergence (R-hat of single weights would mean nothing:
permuting hidden units changes them and not the function).
"""

from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jfractal as jf
from experiments import report
from experiments._nuts import diagnostics_table, reasons
from experiments._perceptron import Perceptron, start
from experiments.report import Outcome, Picture, Section
from experiments.rows import Rows
from experiments.run import Options, Run
from jfractal import metrics, viz
from jfractal.typing import Array, KeyArray


@dataclass(frozen=True)
class ModelConfig:
    """The network, its prior and its likelihood."""

    hidden: tuple[int, ...] = (16,)
    """Units of each hidden layer (tanh)."""
    prior_scale: float = 2.0
    """Standard deviation of the Gaussian prior of every weight."""
    noise_scale: float = 0.1
    """Standard deviation of the Gaussian likelihood, fixed for all methods."""


@dataclass(frozen=True)
class FitConfig:
    """MAP and variational inference, by Adam on the full data."""

    map_steps: int = 5000
    """Steps of MAP."""
    vi_steps: int = 20000
    """Steps of variational inference."""
    learning_rate: float = 0.01
    """Learning rate of both, falling to 0 along a cosine."""
    num_samples: int = 8
    """Draws of the weights for a step of variational inference."""
    scale: float = 0.05
    """Initial standard deviation of the variational posterior."""


@dataclass(frozen=True)
class ChainsConfig:
    """The No-U-Turn sampler."""

    num_chains: int = 4
    """Chains, vectorised in one program."""
    num_warmup: int = 500
    """Steps of each chain to adapt."""
    num_draws: int = 1500
    """Draws of each chain."""
    target_accept: float = 0.95
    """Acceptance probability; a high one keeps the steps short where the posterior is narrow."""


@dataclass(frozen=True)
class Config(Options):
    """Settings of `regression_hmc`."""

    num_data: int = 60
    """Training points, x uniform in [0, 0.5]."""
    num_predictive: int = 1000
    """Draws of the weights for a predictive distribution."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    fit: FitConfig = field(default_factory=FitConfig)
    """MAP and variational inference."""
    chains: ChainsConfig = field(default_factory=ChainsConfig)
    """HMC."""


PRESETS = {
    "laptop": Config(),
    "paper": Config(
        preset="paper",
        num_data=200,
        model=ModelConfig(hidden=(50,)),
        chains=ChainsConfig(num_warmup=2000, num_draws=2000),
    ),
    "quick": Config(
        quick=True,
        num_data=20,
        num_predictive=50,
        model=ModelConfig(hidden=(4,)),
        fit=FitConfig(map_steps=50, vi_steps=50),
        chains=ChainsConfig(num_warmup=20, num_draws=20),
    ),
}


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
    posteriors = fit_posteriors(config, run, model, net, data, key_fit)
    grid = jnp.linspace(-0.2, 0.8, 101)[:, None]
    draws = {
        name: predictive_draws(config, model, posterior, grid, key_predict)
        for name, posterior in posteriors.items()
    }
    rows = Rows()
    for name, posterior in posteriors.items():
        found = jf.predict(model, posterior, x_test, key_predict, num_samples=config.num_predictive)
        figures = {
            "nll": -found.log_prob(y_test).mean(),
            "rmse": metrics.rmse(found.mean, y_test),
            **distances(draws[name], draws["NUTS"], grid),
        }
        rows.add({of: float(value) for of, value in figures.items()}, method=name)

    chains: Any = posteriors["NUTS"]
    outputs = np.asarray(chains.outputs(net.apply, grid)[..., 0])
    diagnosis = chains.diagnose(outputs)
    sections = [
        comparison_section(data, grid, draws, rows),
        convergence_section(grid, outputs, diagnosis),
    ]
    rows.add({"converged": diagnosis.converged, "reasons": reasons(diagnosis)})
    rows.add({f"nuts_{name}": value for name, value in diagnosis.figures.items()})
    curve = "Blundell's regression curve (synthetic)"
    return Outcome(curve, curve, rows, sections)


def fit_posteriors(
    config: Config,
    run: Run,
    model: jf.Model,
    net: Perceptron,
    data: tuple[Array, Array],
    key: KeyArray,
) -> dict[str, jf.Posterior]:
    """The three posteriors by name: MAP, mean-field VI started from it, NUTS."""
    key_map, key_vi, key_nuts = jax.random.split(key, 3)
    fit, chains, begin = config.fit, config.chains, start(net, data[0])
    adam = lambda steps: optax.adam(optax.cosine_decay_schedule(fit.learning_rate, steps))
    point = jf.maximum_a_posteriori(model, adam(fit.map_steps))
    mean_field = jf.variational(
        model, adam(fit.vi_steps), num_samples=fit.num_samples, scale=fit.scale
    )
    mode = run.fit(point, begin, data, key_map, name="MAP", num_steps=fit.map_steps).posterior
    vi = run.fit(mean_field, mode.mean(), data, key_vi, name="VI", num_steps=fit.vi_steps).posterior
    nuts = jf.nuts(
        model,
        data,
        key_nuts,
        starts=begin,
        num_chains=chains.num_chains,
        num_warmup=chains.num_warmup,
        num_draws=chains.num_draws,
        target_accept=chains.target_accept,
    )
    return {"MAP": mode, "mean-field VI": vi, "NUTS": nuts}


def predictive_draws(
    config: Config, model: jf.Model, posterior: jf.Posterior, x: Array, key: KeyArray
) -> np.ndarray:
    """Draws of y at each x, noise included: "draws points"."""
    key_weights, key_noise = jax.random.split(key)
    means = jf.sample_outputs(
        model.apply, posterior, x, key_weights, num_samples=config.num_predictive
    )
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
    names = {
        "nll": "test NLL (nats)",
        "rmse": "test RMSE",
        "w2_with_data": "W2 to NUTS, with data",
        "w2_without_data": "W2 to NUTS, without",
    }
    return Section(
        "Three posteriors",
        f"{len(x)} training points with x in [0, 0.5]. W2 is the 2-Wasserstein distance between "
        "predictive distributions at one x, in units of y, averaged over x in [0, 0.5] (with data) "
        "and over the rest of [-0.2, 0.8] (without). That of NUTS to itself is 0: the draws are "
        "the same.",
        report.table(rows, names),
        [
            Picture(
                viz.predictive_bands(np.asarray(grid[:, 0]), bands, x, y),
                "Mean, 50 % and 95 % of the predictive distribution (noise included).",
            )
        ],
    )


def convergence_section(
    grid: Array, outputs: np.ndarray, diagnosis: jf.inference.Diagnosis
) -> Section:
    """May the reference be trusted?"""
    x = np.asarray(grid[:, 0]).tolist()
    curves = viz.curves(
        {"split R-hat": (x, metrics.rhat(outputs).tolist())},
        xlabel="x",
        ylabel="R-hat of the prediction at x",
    )
    means = viz.curves(
        {f"chain {i}": (x, mean.tolist()) for i, mean in enumerate(outputs.mean(1), start=1)},
        xlabel="x",
        ylabel="posterior mean of the function",
    )
    return Section(
        "Convergence of NUTS",
        f"{diagnosis} R-hat and ESS are those of predictions on the grid and of the log joint.",
        diagnostics_table(diagnosis),
        [
            Picture(curves, "Rank-normalised split R-hat of the predicted function."),
            Picture(means, "Posterior mean of the function, chain by chain."),
        ],
    )

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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jfractal as jf
from experiments._nuts import diagnostics_table, reasons
from experiments._perceptron import Perceptron
from experiments.report import Outcome, Section, Table
from experiments.run import Options, Run
from jfractal import metrics, viz
from jfractal.typing import Params


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
    num_samples: int = 1500
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
        chains=ChainsConfig(num_warmup=2000, num_samples=2000),
    ),
    "quick": Config(
        quick=True,
        num_data=20,
        num_predictive=50,
        model=ModelConfig(hidden=(4,)),
        fit=FitConfig(map_steps=50, vi_steps=50),
        chains=ChainsConfig(num_warmup=20, num_samples=20),
    ),
}


def run(config: Config, run: Run) -> Outcome:
    """Fits the three posteriors and compares their predictions."""
    key_data, *keys_fit, key_predict = jax.random.split(jax.random.key(config.seed), 5)
    x, y = jf.data.blundell_curve(key_data, config.num_data)
    x_test, y_test = jf.data.blundell_curve(jax.random.fold_in(key_data, 1), 1000)
    net = Perceptron(config.model.hidden, 1, nn.tanh)
    posteriors = fit_posteriors(config, net, x, y, keys_fit)

    grid = jnp.linspace(-0.2, 0.8, 101)[:, None]
    draws = {
        name: predictive_draws(config, net, posterior, grid, key_predict)
        for name, posterior in posteriors.items()
    }
    figures = {
        name: test(config, net, posterior, x_test, y_test, key_predict)
        | distances(draws[name], draws["NUTS"], grid)
        for name, posterior in posteriors.items()
    }
    for name, row in figures.items():
        run.log({"method": name, **row})

    nuts = posteriors["NUTS"]
    outputs = np.asarray(nuts.outputs(net.apply, grid)[..., 0])
    diagnosis = nuts.diagnose(outputs)
    diagnostics = {
        "converged": diagnosis.converged,
        "reasons": reasons(diagnosis),
        **{f"nuts_{name}": value for name, value in diagnosis.figures.items()},
    }
    curve = "Blundell's regression curve (synthetic)"
    flat = {
        f"{metric}_{name.lower().replace('-', '_').replace(' ', '_')}": value
        for name, row in figures.items()
        for metric, value in row.items()
    }
    return Outcome(
        {"dataset": curve, "dataset_requested": curve, **flat, **diagnostics},
        [
            comparison_section(run, net, x, y, grid, draws, figures),
            convergence_section(run, grid, outputs, diagnosis),
        ],
    )


def fit_posteriors(
    config: Config, net: Perceptron, x: jax.Array, y: jax.Array, keys: Sequence[jax.Array]
) -> dict[str, Any]:
    """The three posteriors by name: MAP, mean-field VI started from it, NUTS."""
    key_init, key_vi, key_nuts = keys
    prior = jf.priors.Gaussian(config.model.prior_scale)
    likelihood = jf.likelihoods.Gaussian(config.model.noise_scale)
    log_joint = jf.LogJoint(net.apply, (x, y), prior, likelihood)

    def init(key: jax.Array) -> Params:
        return jf.mean(net.init(key, x)["params"])

    fit, chains = config.fit, config.chains
    map_point = jf.maximum_a_posteriori(
        log_joint, init, key_init, optimizer=adam(fit, fit.map_steps), num_steps=fit.map_steps
    )
    vi = jf.variational(
        log_joint,
        lambda _: jf.mean_field(map_point.variables["params"], scale=fit.scale),
        key_vi,
        optimizer=adam(fit, fit.vi_steps),
        num_steps=fit.vi_steps,
        num_samples=fit.num_samples,
    )
    nuts = jf.nuts(
        log_joint,
        init,
        key_nuts,
        num_chains=chains.num_chains,
        num_warmup=chains.num_warmup,
        num_samples=chains.num_samples,
        target_accept=chains.target_accept,
        progress_bar=True,
    )
    return {"MAP": map_point, "mean-field VI": vi, "NUTS": nuts}


def adam(config: FitConfig, num_steps: int) -> optax.GradientTransformation:
    """Adam along a cosine."""
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, num_steps))


def predictive_draws(
    config: Config, net: Perceptron, posterior: jf.Posterior, x: jax.Array, key: jax.Array
) -> np.ndarray:
    """Draws of y at each x, noise included: "draws points"."""
    key_weights, key_noise = jax.random.split(key)
    means = jf.sample_outputs(
        net.apply, posterior, x, key_weights, num_samples=config.num_predictive
    )
    noise = config.model.noise_scale * jax.random.normal(key_noise, means.shape)
    return np.asarray((means + noise)[..., 0])


def band(draws: np.ndarray) -> viz.Band:
    """Mean and quantiles over draws."""
    return viz.Band(draws.mean(0), *np.quantile(draws, (0.025, 0.25, 0.75, 0.975), axis=0))


def test(
    config: Config,
    net: Perceptron,
    posterior: jf.Posterior,
    x: jax.Array,
    y: jax.Array,
    key: jax.Array,
) -> dict[str, float]:
    """Negative log predictive density (nats per point) and RMSE on fresh points."""
    means = jf.sample_outputs(net.apply, posterior, x, key, num_samples=config.num_predictive)
    scales = jnp.full_like(means, config.model.noise_scale)
    log_prob = metrics.gaussian_mixture_log_prob(y, means, scales)
    return {
        "nll": float(-log_prob.mean()),
        "rmse": float(jnp.sqrt(jnp.mean((means.mean(0) - y) ** 2))),
    }


def distances(draws: np.ndarray, reference: np.ndarray, grid: jax.Array) -> dict[str, float]:
    """Mean 2-Wasserstein distance to the reference where there are data, and where not."""
    distance = np.asarray(metrics.wasserstein(draws, reference))
    inside = np.asarray((grid[:, 0] >= 0) & (grid[:, 0] <= 0.5))
    return {
        "w2_with_data": float(distance[inside].mean()),
        "w2_without_data": float(distance[~inside].mean()),
    }


def comparison_section(
    run: Run,
    net: Perceptron,
    x: jax.Array,
    y: jax.Array,
    grid: jax.Array,
    draws: Mapping[str, np.ndarray],
    figures: Mapping[str, Mapping[str, float]],
) -> Section:
    """The three predictive bands, and what they score."""
    weights = jax.tree.leaves(jax.eval_shape(lambda: jf.mean(net.init(jax.random.key(0), x))))
    names = [
        "method",
        "test NLL (nats)",
        "test RMSE",
        "W2 to NUTS, with data",
        "W2 to NUTS, without",
    ]
    rows = [[name, *(round(v, 4) for v in row.values())] for name, row in figures.items()]
    bands = viz.predictive_bands(
        np.asarray(grid[:, 0]),
        {name: band(sample) for name, sample in draws.items()},
        np.asarray(x[:, 0]),
        np.asarray(y[:, 0]),
    )
    return Section(
        "Three posteriors",
        f"{len(x)} training points with x in [0, 0.5], one network with "
        f"{sum(w.size for w in weights)} weights. W2 is the 2-Wasserstein distance between "
        "predictive distributions at one x, in units of y, averaged over x in [0, 0.5] (with data) "
        "and over the rest of [-0.2, 0.8] (without). That of NUTS to itself is 0: the draws are "
        "the same.",
        Table(names, rows),
        [
            (
                run.figure("bands", bands),
                "Mean, 50 % and 95 % of the predictive distribution (noise included).",
            )
        ],
    )


def convergence_section(
    run: Run,
    grid: jax.Array,
    outputs: np.ndarray,
    diagnosis: jf.inference.Diagnosis,
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
            (run.figure("rhat", curves), "Rank-normalised split R-hat of the predicted function."),
            (run.figure("chains", means), "Posterior mean of the function, chain by chain."),
        ],
    )

"""Does a mean-field fit help Hamiltonian Monte Carlo? Effective draws a gradient, cold and warm.

    python -m benchmarks.preconditioning

NUTS on the dense fractal net of `hmc_agreement` (1,882 weights, 200 digits), its diagonal mass
matrix started at the identity (cold) or at the variances of a mean-field fit (VI), with warm-ups of
several lengths. The effective sample size is the median of all predicted probabilities; gradients
are those of warm-up and sampling together and, for VI, those of its fit. Ratios are of the same
seed, and their median over seeds is shown.
"""

from functools import partial

import jax
import numpy as np
import optax

import jfractal as jf
from experiments._problems import DataConfig, ModelConfig, Problem, problems
from jfractal.typing import Params

SEEDS = 3
WARMUPS = 30, 100, 300
NUM_DRAWS = 200
VI_STEPS = 1000


def mean_field_variance(problem: Problem, key: jax.Array) -> tuple[Params, int]:
    """Variances of a mean-field fit, and how many gradients over all data it took."""
    method = jf.variational(problem.model, optax.adam(1e-2), scale=0.05)
    fit = jf.fit(method, problem.start, problem.data, key, num_steps=VI_STEPS)
    return fit.posterior.variance(), VI_STEPS


def efficiency(problem: Problem, key: jax.Array, num_warmup: int, warm: bool) -> dict[str, float]:
    """Of one run of NUTS."""
    key_fit, key_chains = jax.random.split(key)
    inverse_mass, spent = mean_field_variance(problem, key_fit) if warm else (None, 0)
    chains = jf.nuts(
        problem.model,
        problem.data,
        key_chains,
        starts=problem.start,
        num_warmup=num_warmup,
        num_draws=NUM_DRAWS,
        max_tree_depth=8,
        inverse_mass=inverse_mass,
    )
    probs = np.asarray(jax.nn.softmax(chains.outputs(problem.net.apply, problem.x_test)))
    figures = chains.diagnose(probs).figures
    ess = float(np.median(jf.metrics.ess(probs.reshape(*probs.shape[:2], -1))))
    sampling, adapting = figures["num_gradients"], figures["num_warmup_gradients"] + spent
    return {
        "R-hat": figures["rhat_predictions"],
        "ESS/1k gradients": 1e3 * ess / (sampling + adapting),
        "ESS/1k, warm-up aside": 1e3 * ess / sampling,
    }


def main() -> None:
    """Prints the table."""
    problem = problems(DataConfig(), ModelConfig())["dense fractal"]()
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    for num_warmup in WARMUPS:
        runs = {"cold": [], "VI": []}
        for seed in range(SEEDS):
            of = partial(efficiency, problem, jax.random.key(seed), num_warmup)
            runs["cold"].append(of(warm=False))
            runs["VI"].append(of(warm=True))
        for name, rows in runs.items():
            medians = {figure: np.median([row[figure] for row in rows]) for figure in rows[0]}
            cells = "".join(f"   {figure} {value:7.3f}" for figure, value in medians.items())
            print(f"warm-up {num_warmup:4}  {name:5}{cells}")
        figure = "ESS/1k gradients"
        ratios = [warm[figure] / cold[figure] for cold, warm in zip(runs["cold"], runs["VI"])]
        print(f"warm-up {num_warmup:4}  VI ÷ cold {np.median(ratios):.2f}", flush=True)


if __name__ == "__main__":
    main()

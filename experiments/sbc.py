"""Which methods are calibrated? Every posterior on simulated data, whose truth is known.

Weights are drawn from the prior and data from the likelihood, and a method is fitted to the data.
If it returns the posterior, the true value of any function of the weights has the same distribution
as its draws, and the rank of the true value among the draws is uniform over data sets (Talts et
al., 2018). A ∪ shape of the ranks means that draws are too narrow, a ∩ shape that they are too
wide, and a slope that they are biased. The functions are predictions, the log likelihood and the
log joint (Modrák et al., 2023). There are two models: a linear regression, whose posterior is
Gaussian, and a net with one hidden layer. Hundreds of fits run in one program. Results:
docs/results.md. Laptop: 10 minutes on one CPU core.

    make experiment NAME=sbc
    make experiment NAME=sbc ARGS="--net.hidden 32 32"
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from numpyro.infer import NUTS

import jfractal as jf
from experiments._methods import METHODS, FitConfig, recipes
from experiments._perceptron import Perceptron
from experiments.ranges import Choices, Count, Interval, Level, OneOf, Positive
from experiments.report import Outcome, Picture, Section, Table
from experiments.report.words import listed
from experiments.rows import Rows
from experiments.run import Options, Run
from experiments.settings import Settings, presets, require
from jfractal import testing, viz
from jfractal.typing import KeyArray, Params

LEVEL = 0.01
DATASET = "simulated regressions (synthetic)"
CAPTION = (
    "Ranks of the truth among posterior draws. Grey: where 99 % of the bars of a calibrated method "
    "end; red: bars that do not. Bars are cut off at four times their even height."
)
Method = Annotated[str, OneOf([*METHODS, "NUTS"])]
Simulations = Annotated[int, Interval(20)]


@dataclass(frozen=True)
class ModelConfig(Settings):
    """A regression on one feature."""

    hidden: tuple[Count, ...] = ()  # Units of each hidden layer (tanh); none is a linear model.
    prior_scale: Positive = 1.0  # Standard deviation of the Gaussian prior of every weight.
    noise_scale: Positive = 0.5  # Standard deviation of the noise.
    num_data: Count = 20  # Examples, at even distances in [0, 2].


@dataclass(frozen=True)
class ChainsConfig(Settings):
    """The No-U-Turn sampler: one chain for each data set."""

    num_warmup: Count = 300  # Steps to adapt.
    thinning: Count = 5  # Steps from one draw to the next.
    target_accept: Level = 0.9  # Acceptance probability that the step size is adapted to.


@dataclass(frozen=True)
class Config(Options):
    """Settings of `sbc`."""

    # Which to compare, by their names in `experiments/_methods.py`, and NUTS.
    methods: Choices[Method] = (
        "mean field",
        "IVON",
        "ensemble",
        "MC dropout",
        "SWAG",
        "Laplace, diagonal",
        "Laplace, last layer",
        "Laplace, full",
        "SGLD",
        "SGHMC",
        "NUTS",
    )
    num_simulations: Simulations = 400  # Data sets, the same for all methods.
    # Probability that a calibrated method is called uncalibrated, on one of the two models.
    level: Level = LEVEL
    linear: ModelConfig = ModelConfig()
    net: ModelConfig = ModelConfig(hidden=(8,))
    # `num_samples` is also how many draws of a posterior the truth is ranked in.
    fit: FitConfig = FitConfig(
        num_epochs=10_000,
        batch_size=10,
        learning_rate=0.01,
        scale=0.1,
        ivon_rate=0.05,
        swag_rate=0.004,
        sgld_rate=0.008,
        sghmc_rate=0.002,
        num_samples=99,
    )
    chains: ChainsConfig = ChainsConfig()

    def __post_init__(self):
        super().__post_init__()
        require(self.fit.num_samples > 1, "`num_samples` must be at least 2, got 1")


PRESETS = presets(
    Config(),
    paper={
        "num_simulations": 2000,
        "net": {"hidden": (50,), "num_data": 100},
        "fit": {"num_epochs": 20_000},
        "chains": {"num_warmup": 1000, "thinning": 20, "target_accept": 0.95},
    },
    quick={
        "methods": ("mean field", "NUTS"),
        "num_simulations": 20,
        "net": {"hidden": (2,)},
        "fit": {"num_epochs": 20, "num_samples": 9},
        "chains": {"num_warmup": 10, "thinning": 1},
    },
)


def FINDING(rows: Rows) -> str:
    """Which methods have ranks that may be uniform, on each model."""
    passed: dict[str, list[str]] = {}
    for row in rows.where(metric="p_value"):
        methods = passed.setdefault(row["model"], [])
        methods += [row["method"]] if row["value"] >= LEVEL else []
    of = [f"{'; '.join(methods) or 'none'} (on {on})" for on, methods in passed.items()]
    return f"the methods that are calibrated at p ≥ {LEVEL} are {listed(of)}"


def run(config: Config, run: Run) -> Outcome:
    """Ranks truths among the draws of every method, on both models."""
    rows, sections = Rows(), []
    for name, model in {"linear": config.linear, "net": config.net}.items():
        calibrations = {}
        for method in (cell["method"] for cell in run.each(model=[name], method=config.methods)):
            compute = partial(measure, config, method, simulator(model))
            ranks = run.once(compute, model=name, method=method)["ranks"]
            calibrations[method] = testing.Calibration(ranks, config.fit.num_samples)
            rows.add(figures(calibrations[method]), model=name, method=method)
        sections.append(section(config, model, calibrations))
    return Outcome(DATASET, DATASET, rows, sections)


def simulator(config: ModelConfig) -> testing.Simulator:
    """What draws weights and data of a model."""
    x = jnp.linspace(0.0, 2.0, config.num_data)[:, None]
    net = Perceptron(config.hidden, 1, nn.tanh)
    scales = {"prior_scale": config.prior_scale, "noise_scale": config.noise_scale}
    return testing.Simulator.gaussian(net, x, **scales)


def fit(
    config: Config, method: str, model: jf.Model, start: Callable, data: Any, key: KeyArray
) -> jf.Posterior:
    """A method with its settings."""
    if method == "NUTS":
        return nuts(config, model, start, data, key)
    return recipes(config.fit, model, start, len(data[1]))[method](data, key)


def nuts(config: Config, model: jf.Model, start: Callable, data: Any, key: KeyArray) -> jf.Samples:
    """One chain of NumPyro's kernel, traceable and so vmapped over data sets."""
    chains = config.chains
    key_start, key_run = jax.random.split(key)
    potential = lambda w: -model.log_joint(w, data)
    kernel = NUTS(potential_fn=potential, target_accept_prob=chains.target_accept)
    state = kernel.init(key_run, chains.num_warmup, start(key_start), (), {})

    def draw(state: Any, num_steps: jax.Array) -> tuple[Any, Params]:
        state = jax.lax.fori_loop(0, num_steps, lambda _, s: kernel.sample(s, (), {}), state)
        return state, state.z

    # Warm-up is a long way to the first draw, so that the kernel is compiled once.
    num_steps = jnp.full(config.fit.num_samples, chains.thinning).at[0].add(chains.num_warmup)
    return jf.Samples(jax.lax.scan(draw, state, num_steps)[1])


def measure(config: Config, method: str, simulator: testing.Simulator) -> dict[str, Any]:
    """The ranks of a method, and what they amount to."""
    calibration = testing.simulate_ranks(
        partial(fit, config, method),
        simulator,
        jax.random.key(config.seed),
        num_simulations=config.num_simulations,
        num_draws=config.fit.num_samples,
    )
    return {"ranks": dict(calibration.ranks), **figures(calibration)}


def figures(calibration: testing.Calibration) -> dict[str, float]:
    """Of all quantities together: the p-value, and of bias and spread the farthest from 0."""
    farthest = lambda scores: max(scores.values(), key=abs)
    return {
        "p_value": calibration.p_value,
        "bias": farthest(calibration.bias),
        "spread": farthest(calibration.spread),
    }


def section(
    config: Config, model: ModelConfig, calibrations: Mapping[str, testing.Calibration]
) -> Section:
    """The histograms of one model, and what they say."""
    quantities = [*next(iter(calibrations.values())).ranks]
    uniform = [name for name, of in calibrations.items() if not of.reasons(config.level)]
    cells = [[name, of.p_value, *verdicts(of, config.level)] for name, of in calibrations.items()]
    units = " and ".join(map(str, model.hidden))
    return Section(
        f"A net of {units} hidden units" if model.hidden else "A linear regression",
        f"{config.num_simulations} data sets of {model.num_data} examples; in each, the truth is "
        f"ranked among {config.fit.num_samples} draws. Calibrated as far as this can tell: "
        f"{', '.join(uniform) or 'none'}.\n\n"
        "p is how likely ranks as uneven are of a calibrated method, for all functions together. "
        "For each function: which way its draws are wrong, and by how many standard errors the "
        "mean rank (bias; above 0, draws are too low) and the variance of ranks (spread; above 0, "
        "draws lie too close) differ from those of uniform ranks.",
        Table(["method", "p", *quantities], cells),
        [Picture(viz.rank_histograms(calibrations), CAPTION)],
    )


def verdicts(calibration: testing.Calibration, level: float) -> list[str]:
    """For each quantity, the shape of its ranks and the figures behind it."""
    shapes = calibration.shapes(level / len(calibration.ranks))
    bias, spread = calibration.bias, calibration.spread
    return [f"{shapes[q]} ({bias[q]:+.1f}, {spread[q]:+.1f})" for q in shapes]

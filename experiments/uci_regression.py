"""UCI regression on the standard splits: every method, NUTS among them, beside published rows.

The benchmark of Hernández-Lobato & Adams (ICML 2015), Gal & Ghahramani (ICML 2016) and
Lakshminarayanan et al. (NeurIPS 2017): one hidden layer of 50 ReLU units, the standard 90/10
splits, inputs and target standardised on the training rows, RMSE and log likelihood in the units of
the target. The noise is one learned standard deviation. All splits of a set are fitted and tested
by one vmapped program for each method; NUTS, the reference that the published tables lack, runs on
the first splits only. No setting is chosen set by set. Figures: docs/results.md. Laptop: 14 minutes
of processor time.

    make experiment NAME=uci_regression
    make experiment NAME=uci_regression ARGS="--preset paper"    # all sets; hours on 2 CPU cores
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments import report
from experiments._methods import FitConfig, chosen, recipes
from experiments._perceptron import Perceptron, start
from experiments._source import SourceConfig
from experiments.report import Outcome, Section
from experiments.rows import Rows
from experiments.run import Options, Run
from jfractal import data, metrics
from jfractal.data import TableData
from jfractal.nn import LearnedNoise
from jfractal.typing import Array, KeyArray

# RMSE and log likelihood (nats), as printed in table 1 of Lakshminarayanan et al., NeurIPS 2017.
PUBLISHED = {
    "PBP": {
        "boston": (3.01, -2.57),
        "concrete": (5.67, -3.16),
        "energy": (1.80, -2.04),
        "yacht": (1.02, -1.63),
        "wine": (0.64, -0.97),
    },
    "MC dropout": {
        "boston": (2.97, -2.46),
        "concrete": (5.23, -3.04),
        "energy": (1.66, -1.99),
        "yacht": (1.11, -1.55),
        "wine": (0.62, -0.93),
    },
    "deep ensemble": {
        "boston": (3.28, -2.41),
        "concrete": (6.03, -3.06),
        "energy": (2.09, -1.38),
        "yacht": (1.58, -1.18),
        "wine": (0.64, -0.94),
    },
}


LINEARIZED = ("Laplace, full",)  # the net itself is nowhere near its tangent under such draws


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Which sets, and how much of them."""

    sets: tuple[str, ...] = ("boston", "concrete", "energy", "yacht", "wine")
    """Which sets: also kin8nm, naval, power, protein and diabetes."""
    num_splits: int = 20
    """Standard splits of each."""


@dataclass(frozen=True)
class ChainsConfig:
    """The No-U-Turn sampler."""

    num_splits: int = 2
    """Splits of each set that it runs on; 0 leaves it out."""
    num_chains: int = 4
    """Chains, vectorised in one program."""
    num_warmup: int = 200
    """Steps of each chain to adapt."""
    num_draws: int = 200
    """Draws of each chain."""
    max_tree_depth: int = 7
    """Bound on the depth of a trajectory: at most 2^depth gradients a draw."""


@dataclass(frozen=True)
class Config(Options):
    """Settings of `uci_regression`."""

    data: DataConfig = field(default_factory=DataConfig)
    """The sets."""
    hidden: tuple[int, ...] = (50,)
    """Units of each hidden layer (ReLU)."""
    prior_scale: float = 1.0
    """Standard deviation of the Gaussian prior of every weight."""
    methods: tuple[str, ...] = (
        "MAP",
        "MC dropout",
        "mean field",
        "mean field, local",
        "IVON",
        "ensemble",
        "SWAG",
        "Laplace, last layer",
        "Laplace, full",
        "SGLD",
        "SGHMC",
    )
    """What to compare with NUTS."""
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            num_epochs=400,
            batch_size=64,
            learning_rate=1e-2,
            dropout_rate=0.05,
            scale=0.05,
            swag_rate=1e-4,
            num_samples=100,
        )
    )
    """The methods."""
    chains: ChainsConfig = field(default_factory=ChainsConfig)
    """NUTS."""


LAPTOP = Config()
PRESETS = {
    "laptop": LAPTOP,
    "paper": replace(
        LAPTOP,
        preset="paper",
        data=DataConfig(
            sets=("boston", "concrete", "energy", "kin8nm", "naval", "power", "wine", "yacht")
        ),
        chains=ChainsConfig(20, num_warmup=2000, num_draws=2000, max_tree_depth=10),
    ),
    "quick": replace(
        LAPTOP,
        quick=True,
        data=DataConfig(sets=("diabetes",), num_splits=2),
        hidden=(4,),
        methods=("MAP", "mean field, local", "Laplace, last layer", "SGHMC"),
        fit=replace(LAPTOP.fit, num_epochs=2, num_samples=4, num_members=2),
        chains=ChainsConfig(1, 2, num_warmup=10, num_draws=10, max_tree_depth=3),
    ),
}


class Fold(NamedTuple):
    """One split, standardised; of several, the arrays are stacked."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array
    mean: Array
    scale: Array


def run(config: Config, run: Run) -> Outcome:
    """Fits every method on every set."""
    load = partial(data.load_regression, strict=config.data.strict)
    sources = {name: load(name) for name in config.data.sets}
    rows = Rows()
    for name, source in sources.items():
        rows.rows += one_set(config, run, name, source).rows
    nuts = "NUTS" in rows.levels("method")
    sections = [
        summary_section(rows),
        *([lag_section(rows)] if nuts else ()),
        *(set_section(config, name, source, rows) for name, source in sources.items()),
    ]
    datasets = ", ".join(sorted({source.name for source in sources.values()}))
    requested = sorted({s.requested if s.note else s.name for s in sources.values()})
    return Outcome(datasets, ", ".join(requested), rows, sections)


def one_set(config: Config, run: Run, name: str, source: TableData) -> Rows:
    """Scores of every method on every split of a set, and what is published."""
    splits = data.standard_splits(len(source.targets), config.data.num_splits)
    folds = jax.vmap(partial(fold, source))(*map(jnp.asarray, splits))
    keys = jax.random.split(jax.random.key(config.seed), config.data.num_splits)
    net, rows = LearnedNoise(Perceptron(config.hidden, 1)), Rows()

    def keep(method: str, scores: Mapping[str, np.ndarray]) -> None:
        row = f"{source.name:20} {method:20}"
        if diverged := int(np.sum(~np.isfinite(scores["rmse"] + scores["log_likelihood"]))):
            print(f"{row} left out: it diverged on {diverged} of {len(scores['rmse'])} splits")
            return
        rmse, log_likelihood = np.mean(scores["rmse"]), np.mean(scores["log_likelihood"])
        print(f"{row} RMSE {rmse:8.3f}   log likelihood {log_likelihood:7.3f}", flush=True)
        for split in range(len(scores["rmse"])):
            figures = {of: values[split] for of, values in scores.items()}
            rows.add(figures, set=name, method=method, split=split)

    for method in config.methods:
        fit = jf.ops.jit(jax.vmap(partial(fit_and_test, config, net, method)))
        of = {"set": source.requested, "method": method}
        keep(method, run.once(lambda fit=fit: with_means(fit(folds, keys)), **of)["all"])
    found = []
    for i in range(min(config.chains.num_splits, config.data.num_splits)):
        split = jax.tree.map(lambda x, i=i: x[i], folds)
        of = {"set": source.requested, "method": "NUTS", "step": i}
        found.append(run.once(lambda split=split, i=i: nuts(config, net, split, keys[i]), **of))
    if found:
        keep("NUTS", {of: np.array([row[of] for row in found]) for of in found[0]})
    if not source.note:
        for method, of in PUBLISHED.items():
            if name in of:
                rmse, log_likelihood = of[name]
                figures = {"rmse": rmse, "log_likelihood": log_likelihood}
                rows.add(figures, set=name, method=f"{method}, published")
    return rows


def with_means(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Those of all splits, and their means where they are numbers."""
    means = {of: np.mean(values) for of, values in scores.items()}
    return {"all": dict(scores), **{k: v for k, v in means.items() if np.isfinite(v)}}


def fold(source: TableData, train: Array, test: Array) -> Fold:
    """One split with inputs and target standardised on its training rows."""
    features, targets = jnp.asarray(source.features), jnp.asarray(source.targets)[:, None]
    x, y = features[train], targets[train]
    centre, spread = x.mean(0, keepdims=True), x.std(0, keepdims=True)
    spread = jnp.where(spread > 1e-6, spread, 1.0)  # some sets have constant features
    mean, scale = y.mean(), y.std()
    return Fold(
        (x - centre) / spread,
        (y - mean) / scale,
        (features[test] - centre) / spread,
        targets[test],
        mean,
        scale,
    )


def model_of(config: Config, net: LearnedNoise) -> jf.Model:
    """A regression with one learned noise."""
    return jf.Model(
        net.apply,
        prior=jf.priors.Gaussian(config.prior_scale),
        likelihood=jf.likelihoods.HeteroscedasticGaussian(),
    )


def fit_and_test(
    config: Config, net: LearnedNoise, method: str, split: Fold, key: KeyArray
) -> dict[str, Array]:
    """One method on one split."""
    model, begin = model_of(config, net), start(net, split.x)
    fits = recipes(config.fit, model, begin, len(split.x), last_layer="net/output", fixed="rho")
    (fit,) = chosen(fits, [method]).values()
    return test(config, model, fit((split.x, split.y), key), split, key)


def nuts(config: Config, net: LearnedNoise, split: Fold, key: KeyArray) -> dict[str, float]:
    """The reference on one split: its scores, and whether its chains agree on the test rows."""
    model = model_of(config, net)
    chains = jf.nuts(
        model,
        (split.x, split.y),
        key,
        starts=start(net, split.x),
        num_chains=config.chains.num_chains,
        num_warmup=config.chains.num_warmup,
        num_draws=config.chains.num_draws,
        max_tree_depth=config.chains.max_tree_depth,
    )
    scores = jax.device_get(test(config, model, chains, split, key))
    rhat = metrics.rhat(chains.outputs(net.apply, split.x_test)[..., 0]).max()
    return {of: float(value) for of, value in {**scores, "rhat": rhat}.items()}


def test(
    config: Config, model: jf.Model, posterior: jf.Posterior, split: Fold, key: KeyArray
) -> dict[str, Array]:
    """Scores on the test rows, in the units of the target and in nats a row."""
    prediction = jf.predict(
        model, posterior, split.x_test, key, num_samples=config.fit.num_samples
    ).in_original_units(split.mean, split.scale)
    return {
        "rmse": metrics.rmse(prediction.mean, split.y_test),
        "log_likelihood": prediction.log_prob(split.y_test).mean(),
    }


# Report


def summary_section(rows: Rows) -> Section:
    """Each method on all sets."""
    return Section(
        "Log likelihood, all sets",
        "Test log likelihood in nats a row, mean over splits ± standard error; NUTS over the first "
        "splits only.",
        report.table(rows, {"log_likelihood": ""}, across="set", digits=3),
    )


def lag_section(rows: Rows) -> Section:
    """Each method against NUTS on the splits that both have."""
    lag = Rows()
    for row in rows.where(metric="log_likelihood"):
        reference = rows.values(
            "log_likelihood", set=row["set"], method="NUTS", split=row.get("split")
        )
        if len(reference) and row["method"] != "NUTS":
            lag.add(
                {"lag": row["value"] - reference[0]},
                **{k: row[k] for k in ("set", "method", "split")},
            )
    return Section(
        "Log likelihood, less that of NUTS",
        "On the splits that NUTS ran on, in nats a row ± standard error. Whether its chains agree "
        "is said below, set by set.",
        report.table(lag, {"lag": ""}, across="set", digits=3),
    )


def set_section(config: Config, name: str, source: TableData, rows: Rows) -> Section:
    """All methods on one set, and what is published."""
    of_set = rows.where(set=name)
    about = f"{len(source.targets):,} rows of {source.features.shape[1]} features."
    if missing := set(config.methods) - set(of_set.levels("method")):
        about += f" Left out, because they diverged: {', '.join(sorted(missing))}."
    if len(rhat := of_set.values("rhat")):
        verdict = "they agree" if rhat.max() < 1.05 else "they do NOT agree: no reference"
        about += f" R-hat of the predictions of NUTS's chains is at most {rhat.max():.2f}: "
        about += f"{verdict}."
    names = {"rmse": "RMSE", "log_likelihood": "log likelihood (nats)"}
    picture = report.intervals(
        of_set, "log_likelihood", xlabel="test log likelihood (nats a row), mean ± standard error"
    )
    table = report.table(of_set, names, digits=3)
    return Section(source.name, f"{source.note}\n\n{about}", table, [picture])

"""UCI regression on the standard splits: every method, including NUTS, and published results.

This is the benchmark of Hernández-Lobato & Adams (ICML 2015), Gal & Ghahramani (ICML 2016) and
Lakshminarayanan et al. (NeurIPS 2017): one hidden layer of 50 ReLU units, the standard 90/10
splits, inputs and target standardised on the training rows, RMSE and log likelihood in the units of
the target. The noise is one learned standard deviation. For each method, one vmapped program fits
and tests all splits of a data set. NUTS, the reference that the published tables lack, and chains
from an ensemble (MILE) run on the first splits only. All data sets share the same settings.
Results: docs/results.md. Laptop: 14 minutes of processor time, and some more for MILE.

    make experiment NAME=uci_regression
    make experiment NAME=uci_regression ARGS="--preset paper"    # all sets; hours on 2 CPU cores
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments import report
from experiments._methods import FitConfig, Method, recipes, without
from experiments._mile import MILE, MileConfig, mile
from experiments._nuts import QUICK_CHAINS, ChainsConfig, sample
from experiments._perceptron import Perceptron, start
from experiments._problems import Problem, Table
from experiments.ranges import Choices, Count, Natural, Positive
from experiments.report import Outcome, Section, highest
from experiments.report.words import listed
from experiments.rows import Rows
from experiments.run import Options, Run
from experiments.settings import SourceConfig, presets
from jfractal import data, metrics
from jfractal.data import TableData
from jfractal.nn import LearnedNoise
from jfractal.typing import Array, KeyArray

# Sets in the order of the table, and RMSE and log likelihood (nats) of each, as printed in table 1
# of Lakshminarayanan et al., NeurIPS 2017.
PUBLISHED_SETS = ("boston", "concrete", "energy", "yacht", "wine")
PUBLISHED = {
    "PBP": ((3.01, -2.57), (5.67, -3.16), (1.80, -2.04), (1.02, -1.63), (0.64, -0.97)),
    "MC dropout": ((2.97, -2.46), (5.23, -3.04), (1.66, -1.99), (1.11, -1.55), (0.62, -0.93)),
    "deep ensemble": ((3.28, -2.41), (6.03, -3.06), (2.09, -1.38), (1.58, -1.18), (0.64, -0.94)),
}


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Which sets, and how much of them."""

    # Which sets: also kin8nm, naval, power, protein and diabetes.
    sets: Choices[Table] = PUBLISHED_SETS
    num_splits: Count = 20  # Standard splits of each.


@dataclass(frozen=True)
class SplitChainsConfig(ChainsConfig):
    """The No-U-Turn sampler."""

    num_splits: Natural = 2  # Splits of each set that it and MILE run on; 0 leaves them out.


@dataclass(frozen=True)
class Config(Options):
    """Settings of `uci_regression`."""

    data: DataConfig = DataConfig()
    hidden: tuple[Count, ...] = (50,)  # Units of each hidden layer (ReLU).
    prior_scale: Positive = 1.0  # Standard deviation of the Gaussian prior of every weight.
    # What to compare with NUTS.
    methods: Choices[Method] = without(
        "mean field, flipout",
        "mean field, antithetic",
        "mean field, per example",
        "Laplace, diagonal",
    )
    fit: FitConfig = FitConfig(
        num_epochs=400,
        batch_size=64,
        learning_rate=1e-2,
        dropout_rate=0.05,
        scale=0.05,
        swag_rate=1e-4,
        num_samples=100,
    )
    chains: SplitChainsConfig = SplitChainsConfig(num_warmup=200, num_draws=200, max_tree_depth=7)
    # Chains from the members of the ensemble.
    mile: MileConfig = MileConfig(num_warmup=5000, num_draws=250)


PRESETS = presets(
    Config(),
    paper={
        "data": {
            "sets": ("boston", "concrete", "energy", "kin8nm", "naval", "power", "wine", "yacht")
        },
        "chains": {"num_splits": 20, "num_warmup": 2000, "num_draws": 2000, "max_tree_depth": 10},
    },
    quick={
        "data": {"sets": ("diabetes",), "num_splits": 2},
        "hidden": (4,),
        "methods": ("MAP", "mean field, local", "Laplace, last layer", "SGHMC"),
        "fit": {"num_epochs": 2, "num_samples": 4, "num_members": 2},
        "chains": {"num_splits": 1, **QUICK_CHAINS},
        "mile": {"num_warmup": 10, "num_draws": 4, "thinning": 1},
    },
)

FINDING = highest(
    "log_likelihood",
    "method",
    of="test log likelihood",
    per="set",
    without=[f"{method}, published" for method in PUBLISHED],
)


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
        rows.extend(one_set(config, run, name, source))
    nuts = "NUTS" in rows.levels("method")
    sections = [
        summary_section(rows),
        *([lag_section(rows)] if nuts else ()),
        *(set_section(config, name, source, rows) for name, source in sources.items()),
    ]
    datasets = listed(sorted(source.name for source in sources.values()))
    requested = listed(sorted(s.requested if s.note else s.name for s in sources.values()))
    return Outcome(datasets, requested, rows, sections)


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


def one_set(config: Config, run: Run, name: str, source: TableData) -> Rows:
    """Scores of every method on every split of a set, and what is published."""
    splits = data.standard_splits(len(source.targets), config.data.num_splits)
    folds = jax.vmap(partial(fold, source))(*map(jnp.asarray, splits))
    keys = jax.random.split(jax.random.key(config.seed), config.data.num_splits)
    benchmark = Benchmark(config, run, folds, keys)
    rows = run.sweep(benchmark.on_splits, set=[name], method=config.methods)
    few = range(min(config.chains.num_splits, config.data.num_splits))
    rows.extend(run.sweep(benchmark.nuts, set=[name], method=["NUTS"], split=few))
    rows.extend(run.sweep(benchmark.mile, set=[name], method=[MILE], split=few))
    if not source.note and name in PUBLISHED_SETS:
        for method, of in PUBLISHED.items():
            rmse, log_likelihood = of[PUBLISHED_SETS.index(name)]
            figures = {"rmse": rmse, "log_likelihood": log_likelihood}
            rows.add(figures, set=name, method=f"{method}, published")
    return rows


def model_of(config: Config, net: LearnedNoise) -> jf.Model:
    """A regression with one learned noise."""
    prior = jf.priors.Gaussian(config.prior_scale)
    likelihood = jf.likelihoods.HeteroscedasticGaussian()
    return jf.Model(net.apply, prior=prior, likelihood=likelihood)


class Benchmark:
    """All splits of one set, and the net that is fitted to each."""

    def __init__(self, config: Config, run: Run, folds: Fold, keys: Array):
        self.config, self.run, self.folds, self.keys = config, run, folds, keys
        self.net = LearnedNoise(Perceptron(config.hidden, 1))
        self.model = model_of(config, self.net)

    def on_splits(self, *, method: str, **of: str) -> Rows:
        """One method on every split, in one program; nothing if it diverges."""

        def on_one(split: Fold, key: KeyArray) -> dict[str, Array]:
            begin, size = start(self.net, split.x), len(split.x)
            options = {"last_layer": "net/output", "fixed": "rho"}
            fit = recipes(self.config.fit, self.model, begin, size, **options)[method]
            return self.test(fit((split.x, split.y), key), split, key)

        scores, rows = jax.device_get(jf.ops.jit(jax.vmap(on_one))(self.folds, self.keys)), Rows()
        if not all(np.isfinite(values).all() for values in scores.values()):
            return rows
        for split in range(len(self.keys)):
            rows.add({of: values[split] for of, values in scores.items()}, split=split)
        return rows

    def nuts(self, *, split: int, **of: str) -> dict[str, float]:
        """The reference on one split: its scores, and whether its chains agree on the test rows."""
        here, key = jax.tree.map(lambda x: x[split], self.folds), self.keys[split]
        begin = start(self.net, here.x)
        problem = Problem(self.net, self.model, (here.x, here.y), begin, here.x_test)
        found = sample(self.config.chains, self.run, f"{of['set']}, split {split}", problem, key)
        scores = jax.device_get(self.test(found.chains, here, key))
        return {**scores, "rhat": found.diagnosis.figures["rhat_predictions"]}

    def mile(self, *, split: int, **of: str) -> dict[str, float]:
        """Chains from an ensemble on one split: its scores, and whether they agree."""
        here, key = jax.tree.map(lambda x: x[split], self.folds), self.keys[split]
        rows = here.x, here.y
        fit = recipes(self.config.fit, self.model, start(self.net, here.x), len(here.x))["ensemble"]
        members: Any = jf.ops.jit(fit)(rows, key)
        name = f"{of['set']}, split {split}"
        chains = mile(self.config.mile, self.run, name, self.model, rows, members, key)
        means = chains.outputs(self.net.apply, here.x_test)[..., :1]
        scores = jax.device_get(self.test(chains, here, key))
        return {**scores, "rhat": chains.diagnose(means).figures["rhat_predictions"]}

    def test(self, posterior: jf.Posterior, split: Fold, key: KeyArray) -> dict[str, Array]:
        """Scores on the test rows, in the units of the target and in nats a row."""
        number = self.config.fit.num_samples
        found = jf.predict(self.model, posterior, split.x_test, key, num_samples=number)
        found = found.in_original_units(split.mean, split.scale)
        return {
            "rmse": metrics.rmse(found.mean, split.y_test),
            "log_likelihood": found.log_prob(split.y_test).mean(),
        }


# Report


def summary_section(rows: Rows) -> Section:
    """Each method on all sets."""
    return Section(
        "Log likelihood, all sets",
        "Test log likelihood in nats a row, mean over splits ± standard error; NUTS and MILE over "
        "the first splits only.",
        report.table(rows, ["log_likelihood"], across="set", digits=3),
    )


def lag_section(rows: Rows) -> Section:
    """Each method against NUTS on the splits that both have."""
    lag, figure = Rows(), "log_likelihood"
    for row in rows.where(metric=figure):
        place = {"set": row["set"], "split": row.get("split")}
        reference = rows.values(figure, method="NUTS", **place)
        if len(reference) and row["method"] != "NUTS":
            lag.add({"lag": row["value"] - reference[0]}, method=row["method"], **place)
    return Section(
        "Log likelihood, less that of NUTS",
        "On the splits that NUTS ran on, in nats a row ± standard error. Whether its chains agree "
        "is said below, set by set.",
        report.table(lag, ["lag"], across="set", digits=3),
    )


def set_section(config: Config, name: str, source: TableData, rows: Rows) -> Section:
    """All methods on one set, and what is published."""
    of_set = rows.where(set=name)
    about = f"{len(source.targets):,} rows of {source.features.shape[1]} features."
    if missing := set(config.methods) - set(of_set.levels("method")):
        about += f" Left out, because they diverged: {', '.join(sorted(missing))}."
    for method in ("NUTS", MILE):
        if len(rhat := of_set.values("rhat", method=method)):
            agree = rhat.max() <= config.chains.max_rhat
            verdict = "they agree" if agree else "they do NOT agree: no reference"
            about += f" R-hat of the predictions of {method}'s chains is at most {rhat.max():.2f}: "
            about += f"{verdict}."
    figures = report.table(of_set, ("rmse", "log_likelihood"), digits=3)
    picture = report.intervals(of_set, "log_likelihood")
    return Section(source.name, f"{source.note}\n\n{about}", figures, [picture])

"""Chains from an ensemble against boosted trees, on the benchmark of the `bde` package.

This is the benchmark of Arvanitis et al. (bde, 2025): airfoil and hourly bike sharing, one split
(80 % train), inputs and target standardised on the training rows. The net is a perceptron with four
hidden layers of 16 ReLU units that predicts a mean and a noise for every input. MILE (Sommer et
al., ICLR 2025) trains an ensemble and starts a microcanonical Langevin chain from each member. It
is compared with the ensemble; with one member, alone and with a Laplace approximation over its last
layer; with a mean field; and, on airfoil, with NUTS.

Members and mean field are trained on 85 % of the training rows and stopped early by the other rows.
Chains and Laplace are conditioned on all training rows. The learning rate was chosen with
`--data.judged validation`, where a fifth of the training rows replaces the test rows. Results:
docs/results.md. Laptop: about 20 minutes on one CPU core, by the speed of shorter runs.

    make experiment NAME=bde_tabular
    make experiment NAME=bde_tabular ARGS="--preset paper"    # chains as long as theirs; hours
"""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np
import optax

import jfractal as jf
from experiments import report
from experiments._fold import Fold
from experiments._methods import computed_in
from experiments._mile import MILE, MileConfig, mile, num_gradients
from experiments._nuts import QUICK_CHAINS, ChainsConfig, sample
from experiments._perceptron import Perceptron, start
from experiments._problems import Problem
from experiments.ranges import Choices, Count, OneOf, Positive, Precision
from experiments.report import Outcome, Section, lowest
from experiments.report.words import listed
from experiments.rows import Rows, slug
from experiments.run import Run, SeedsOptions
from experiments.settings import Settings, SourceConfig, presets
from jfractal import data, metrics
from jfractal.data import TableData
from jfractal.typing import Array, KeyArray

# RMSE and NLL (distributional regression) of each set, as printed: means of 5 seeds.
PUBLISHED_SETS = ("airfoil", LARGE := "bikesharing")
PUBLISHED = {
    "XGBoost": ({"rmse": 0.2025}, {"rmse": 0.2143}),
    "CatBoost": ({"rmse": 0.2393, "nll": 0.1479}, {"rmse": 0.2652, "nll": -0.3737}),
    "ensemble": ({"rmse": 0.3650, "nll": 0.1760}, {"rmse": 0.2880, "nll": -0.4550}),
    "TabPFN v2": ({"rmse": 0.1359, "nll": -0.9338}, {"rmse": 0.2103, "nll": -0.6856}),
    MILE: ({"rmse": 0.1215, "nll": -0.9126}, {"rmse": 0.2261, "nll": -0.7315}),
}
AS_LONG = {"num_warmup": 50_000, "num_draws": 100, "thinning": 10}  # as their chains
METHODS = ("ensemble", "MAP", "Laplace, last layer", "mean field", MILE, "NUTS")
Sets = OneOf([*PUBLISHED_SETS, "diabetes"])


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Which sets, and which of their rows."""

    sets: Choices[Annotated[str, Sets]] = PUBLISHED_SETS  # Which sets: also diabetes.
    # Rows that are predicted; to choose settings, rows for training that are kept back.
    judged: Literal["test", "validation"] = "test"


@dataclass(frozen=True)
class FitConfig(Settings):
    """Training of the members and of the mean field."""

    num_members: Count = 10  # Members of the ensemble, each the start of a chain.
    num_steps: Count = 20_000  # Steps of Adam, at most.
    batch_size: Count = 64  # Examples in a step.
    learning_rate: Positive = 1e-2  # Of Adam, falling to 0 along a cosine.
    validate_every: Count = 500  # Steps from one look at the validation rows to the next.
    patience: Count = 15  # Looks without a better one after which a fit stops.
    precision: Precision = "float32"  # In which the net computes while it is trained.
    scale: Positive = 0.01  # Initial standard deviation of every weight of the mean field.
    num_samples: Count = 100  # Draws of the weights for a prediction by Laplace and mean field.


@dataclass(frozen=True)
class Config(SeedsOptions):
    """Settings of `bde_tabular`."""

    num_seeds: Count = 1  # Runs of each method, with draws of their own; the split is the same.
    hidden: tuple[Count, ...] = (16, 16, 16, 16)  # Units of each hidden layer (ReLU).
    prior_scale: Positive = 1.0  # Standard deviation of the Gaussian prior of every weight.
    methods: Choices[Annotated[str, OneOf(METHODS)]] = METHODS  # What to compare.
    data: DataConfig = DataConfig()
    fit: FitConfig = FitConfig()
    mile: MileConfig = MileConfig(num_warmup=10_000, num_draws=100, thinning=150)
    # MILE on bike sharing, which has twelve times as many rows.
    mile_large: MileConfig = MileConfig(num_warmup=3000, num_draws=100, thinning=50)
    # Sets that NUTS samples, from members of the ensemble.
    nuts_sets: tuple[Annotated[str, Sets], ...] = ("airfoil",)
    chains: ChainsConfig = ChainsConfig(num_warmup=200, num_draws=200, max_tree_depth=7)


PRESETS = presets(
    Config(),
    paper={
        "num_seeds": 5,
        **dict.fromkeys(("mile", "mile_large"), AS_LONG),
        "nuts_sets": PUBLISHED_SETS,
        "chains": {"num_warmup": 2000, "num_draws": 2000, "max_tree_depth": 10},
    },
    quick={
        "hidden": (4,),
        "data": {"sets": ("diabetes",)},
        "fit": {"num_members": 2, "num_steps": 20, "validate_every": 10, "num_samples": 4},
        "mile": {"num_warmup": 20, "num_draws": 4, "thinning": 1},
        "nuts_sets": ("diabetes",),
        "chains": QUICK_CHAINS,
    },
)

FINDING = lowest(
    "nll", "method", of="test NLL", per="set", without=[f"{of}, published" for of in PUBLISHED]
)


def run(config: Config, run: Run) -> Outcome:
    """Fits every method to every set."""
    strict = config.data.strict
    sources = {name: data.load_regression(name, strict=strict) for name in config.data.sets}
    rows = Rows()
    for name, source in sources.items():
        rows.extend(one_set(config, run, name, source))
    sections = [set_section(config, name, source, rows) for name, source in sources.items()]
    datasets = listed(sorted(source.name for source in sources.values()))
    requested = listed(sorted(s.requested if s.note else s.name for s in sources.values()))
    return Outcome(datasets, requested, rows, sections)


def one_set(config: Config, run: Run, name: str, source: TableData) -> Rows:
    """Scores of every method with every seed, and what is published."""
    fold, rows = Fold.of(source, config.data.judged), Rows()
    has_nuts = name in config.nuts_sets
    methods = [method for method in config.methods if method != "NUTS" or has_nuts]
    for seed in range(config.num_seeds):
        benchmark = Benchmark(config, run, name, fold, seed)
        rows.extend(run.sweep(benchmark.one, set=[name], seed=[seed], method=methods))
    if not source.note and name in PUBLISHED_SETS and config.data.judged == "test":
        for method, figures in PUBLISHED.items():
            of_set = figures[PUBLISHED_SETS.index(name)]
            rows.add(of_set, set=name, method=f"{method}, published")
    return rows


class Found(NamedTuple):
    """A posterior and the gradients over all training rows that it took, its start included."""

    posterior: Any
    gradients: float


class Benchmark:
    """One set and one seed: one ensemble is trained for all methods that start from it."""

    def __init__(self, config: Config, run: Run, name: str, fold: Fold, seed: int):
        self.config, self.run, self.fold = config, run, fold
        self.set, self.name = name, f"{name}, seed {seed}"
        keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), seed), 5)
        names = "ensemble", "mean field", MILE, "NUTS", "test"
        self.keys: dict[str, KeyArray] = dict(zip(names, keys))
        self.net = Perceptron(config.hidden, 2)
        prior = jf.priors.Gaussian(config.prior_scale)
        likelihood = jf.likelihoods.HeteroscedasticGaussian()
        self.model = jf.Model(self.net.apply, prior=prior, likelihood=likelihood)
        self.trained_model = computed_in(config.fit.precision, self.model)
        rate = optax.cosine_decay_schedule(config.fit.learning_rate, config.fit.num_steps)
        self.adam = optax.adam(rate)
        self.start = start(self.net, fold.train[0])

    def one(self, *, method: str, **_: Any) -> dict[str, Any]:
        """Scores of a method, and its cost."""
        fits = {
            "ensemble": lambda: self.ensemble,
            "MAP": lambda: self.member,
            "Laplace, last layer": self.laplace,
            "mean field": self.mean_field,
            MILE: self.mile,
            "NUTS": self.nuts,
        }
        began = time.perf_counter()
        posterior, gradients = fits[method]()
        cost = {"gradients": gradients, "seconds": time.perf_counter() - began}
        agree = self.agreement(posterior) if isinstance(posterior, jf.Chains) else {}
        return self.test(posterior) | agree | cost

    @cached_property
    def ensemble(self) -> Found:
        """Most probable weights from many starts."""
        method = jf.maximum_a_posteriori(self.trained_model, self.adam)
        members = jf.ensemble(method, self.config.fit.num_members)
        return self.fitted(members, self.start, "ensemble")

    @property
    def member(self) -> Found:
        """The first member of the ensemble."""
        members = self.ensemble.posterior
        return Found(members.member(0.0), self.ensemble.gradients / len(members))

    def laplace(self) -> Found:
        """Around the first member."""
        member, gradients = self.member
        last = lambda path, leaf: path.startswith("output")
        options = {"where": last, "batch_size": min(256, len(self.fold.train[1]))}
        found = jf.laplace(self.model, member.mean(), self.fold.train, **options)
        return Found(found, gradients)

    def mean_field(self) -> Found:
        """A Gaussian for every weight, from means at random."""

        def lifted(key: KeyArray) -> Any:
            scale = self.config.fit.scale
            return jf.mean_field(self.start(key), scale=scale, estimator="local_reparam")

        return self.fitted(jf.variational(self.trained_model, self.adam), lifted, "mean field")

    def mile(self) -> Found:
        """A chain from every member."""
        members, before = self.ensemble
        config = self.config.mile_large if self.set == LARGE else self.config.mile
        key, train = self.keys[MILE], self.fold.train
        chains = mile(config, self.run, self.name, self.model, train, members, key)
        return Found(chains, before + num_gradients(chains))

    def nuts(self) -> Found:
        """Chains from members, drawn at random."""
        members, before = self.ensemble
        begin = lambda key: members.sample(key)["params"]
        problem = Problem(self.net, self.model, self.fold.train, begin, self.fold.judged[0])
        found = sample(self.config.chains, self.run, self.name, problem, self.keys["NUTS"])
        return Found(found.chains, before + num_gradients(found.chains))

    def fitted(self, method: jf.Method, begin: Any, name: str) -> Found:
        """The state of a fit that the validation rows like best."""
        fit, size = self.config.fit, len(self.fold.fitted[1])
        batch_size = min(fit.batch_size, size)
        found = self.run.fit(
            method,
            begin,
            self.fold.fitted,
            self.keys[name],
            name=slug(f"{name}, {self.name}"),
            num_steps=fit.num_steps,
            batch_size=batch_size,
            validation=self.fold.validation,
            validate_every=fit.validate_every,
            patience=fit.patience,
            log_every=fit.validate_every,
        )
        examples = len(found.history["step"]) * batch_size * (method.num_members or 1)
        return Found(found.best, examples / len(self.fold.train[1]))

    def test(self, posterior: Any) -> dict[str, Array]:
        """RMSE and NLL, standardised."""
        x, y = self.fold.judged
        number = self.config.fit.num_samples
        if isinstance(posterior, jf.Chains):
            number = posterior.num_chains * posterior.num_draws
        elif isinstance(posterior, jf.Ensemble):
            number = len(posterior)
        found = jf.predict(self.model, posterior, x, self.keys["test"], num_samples=number)
        normal = metrics.gaussian_mixture_log_prob(y, found.mean[None], found.std[None])
        return {
            "rmse": metrics.rmse(found.mean, y),
            "nll": -normal.mean(),
            "nll_mixture": -found.log_prob(y).mean(),
        }

    def agreement(self, chains: jf.Chains) -> dict[str, float]:
        """R-hat of the predicted means."""
        means = chains.outputs(self.net.apply, self.fold.judged[0])[..., 0]
        rhat = metrics.rhat(means)
        return {"rhat_median": float(np.median(rhat)), "rhat_largest": float(rhat.max())}


# Report


def set_section(config: Config, name: str, source: TableData, rows: Rows) -> Section:
    """All methods on one set, and what is published."""
    of_set = rows.where(set=name)
    about = (
        f"{len(source.targets):,} rows of {source.features.shape[1]} features; judged on "
        f"{config.data.judged} rows, in units of standardised targets. NLL is that of the normal "
        "with the mean and the variance of the prediction, as published; NLL of the mixture that "
        "of the prediction itself. R-hat is that of the means that chains predict. Gradients are "
        "over all training rows and include those of the ensemble that a method starts from; "
        "seconds do not."
    )
    figures = ("rmse", "nll", "nll_mixture", "rhat_median", "rhat_largest", "gradients", "seconds")
    picture = report.intervals(of_set, "nll")
    return Section(
        source.name,
        f"{source.note}\n\n{about}".strip(),
        report.table(of_set, figures, digits=4),
        [picture],
    )

"""The model of a fractal net: the routes through its columns that a step trains."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar, get_args

import jax
import jax.numpy as jnp

from jfractal.arguments import check_choice, check_fraction, check_rate, described
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.model import Model, Pass
from jfractal.inference.net_errors import named_errors
from jfractal.likelihoods import Categorical, Likelihood, per_example
from jfractal.posterior.routes import Routes
from jfractal.predictions.mixture import wide
from jfractal.priors import PriorLike
from jfractal.typing import Array, Float, KeyArray, Logits, Params, Variables

__all__ = ["FractalModel", "RoutePolicy", "fractal_model"]

Tree = TypeVar("Tree")
RoutePolicy = Literal["sampled", "two_pass", "partitioned", "learned"]


def fractal_model(
    net: Any,
    *,
    prior: PriorLike,
    likelihood: Likelihood,
    routes: RoutePolicy = "sampled",
    global_rate: float = 0.5,
    drop_path: float = 0.15,
    distillation: float = 0.0,
) -> "FractalModel":
    """The model of a fractal net, trained along its routes: the whole net, or one column alone.

    ``log p(y | x, w) = (1 − g) log p_whole + g / C · Σ_c log p_column c``, with the global rate g.
    Every policy of `routes` gives an unbiased estimate of it. In the whole net, every input of a
    join is dropped with probability `drop_path` ("local" drop-path).

    Args:
        net: `FractalNet`, `TextNet` or another net whose blocks have columns.
        prior: Prior of the weights; a `numpyro.distributions` object becomes one.
        likelihood: Likelihood of the targets given the outputs.
        routes: ``sampled`` draws one route for every step, as in the paper, and runs no other.
            ``two_pass`` runs the whole net and every column on the whole batch, as the authors'
            code does, at twice the cost. ``partitioned`` runs the whole net on the whole batch and
            every column on an equal part of it, at a cost of 1 + 1/C. ``learned`` makes the column
            a random variable that is inferred with the weights, see below.
        global_rate: Weight g of the columns, in [0, 1]. ``learned`` ignores it.
        drop_path: Probability of dropping a join input in training, in [0, 1).
        distillation: Weight d, in [0, 1], of the whole net's prediction in the target of a column:
            ``log p_c(y)`` becomes ``(1 − d) log p_c(y) + d Σ_k p_whole(k) log p_c(k)``, where
            ``p_whole`` is held fixed. Needs ``two_pass`` or ``partitioned``, which run the whole
            net and the columns on the same examples.

    With ``learned``, the weights hold a distribution π over the columns as one more leaf:
    ``{**params, "routes": jf.Routes.uniform(C)}``. Every step runs every column,
    ``log p(y | x, w, π) = Σ_c π_c log p_column c``, and the leaf adds ``−KL(π ‖ uniform)`` to the
    log prior, so the log joint and the ELBO are exact in π. Predictions mix the columns, ``Σ_c π_c
    p_column c``. Columns learn in proportion to π, so π soon favours the column that learns first.
    To avoid this, keep the logits at the prior for the first steps, by giving them their own
    learning rate. Point estimates of the weights do not penalise a column for fitting noise.

    Returns:
        A `FractalModel`, for every method that takes gradients of a loss.

    Raises:
        InputError: If an argument is out of range, the net has no columns to run alone, learned or
            distilled routes get a likelihood that is not `Categorical`, or `distillation` is given
            to routes that do not run both the whole net and its columns.

    Example:
        ::

            net = jf.FractalNet(10, columns=2, widths=(8, 16))
            model = jf.fractal_model(
                net, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
            )
            fit = jf.fit(jf.maximum_a_posteriori(model, optax.adam(1e-3)),
                         net.init(key, images), (images, labels), key, num_epochs=8, batch_size=32)

    References:
        Larsson, Maire & Shakhnarovich, ICLR 2017, §3, and the authors' code (whose ``two_pass`` has
        twice the weight: g = 1/2 of 2). ``learned``: Antorán, Allingham & Hernández-Lobato, "Depth
        uncertainty in neural networks", NeurIPS 2020, §3, where routes are the first d blocks of a
        residual net. Distillation: Kang, Lee & Moon, "Adaptive depth networks with skippable
        sub-paths", NeurIPS 2024, §3.2, where there is one sub-network.
    """
    _check_columns(net)
    return FractalModel(
        partial(_mixture, net) if routes == "learned" else net.apply,
        prior=prior,
        likelihood=likelihood,
        net=net,
        routes=routes,
        global_rate=global_rate,
        drop_path=drop_path,
        distillation=distillation,
    )


@dataclass(frozen=True, repr=False, eq=False)
class FractalModel(Model):
    """The model of a fractal net, made by `fractal_model`.

    Attributes:
        net: The net.
        routes: How routes are trained.
        global_rate: Weight of the columns.
        drop_path: Probability of dropping a join input in training.
        distillation: Weight of the whole net's prediction in the targets of the columns.
        route: Number of the column that runs alone, 0 for the whole net, or None to follow
            `routes`.
    """

    net: Any = None
    routes: RoutePolicy = "sampled"
    global_rate: float = 0.5
    drop_path: float = 0.15
    distillation: float = 0.0
    route: int | None = None

    def __post_init__(self):
        super().__post_init__()
        check_choice("routes", self.routes, get_args(RoutePolicy))
        check_fraction(global_rate=self.global_rate, distillation=self.distillation)
        check_rate(drop_path=self.drop_path)
        _check_columns(self.net)
        if self.route is not None:
            check_counts(0, max(self.net.columns, default=0), route=self.route)
        is_learned = self.routes == "learned"
        if (self.global_rate > 0 or is_learned) and not self.net.columns:
            raise InputError("`net` has no columns to run alone: give `global_rate=0`")
        if self.distillation > 0 and self.routes not in ("two_pass", "partitioned"):
            raise InputError(
                "`distillation` needs `routes` that run both the whole net and its columns, "
                f"two_pass or partitioned, got {self.distillation} for {self.routes}"
            )
        is_mixed = is_learned or self.distillation > 0
        if is_mixed and not isinstance(self.likelihood, Categorical):
            raise InputError(
                "`likelihood` must be `Categorical` for `routes` that are learned or distilled, "
                f"which need probabilities of classes, got {self.likelihood!r}"
            )

    @property
    def references(self) -> tuple[str, ...]:
        """BibTeX keys of the papers on drop-path and on learned routes, see `jf.citation`."""
        return ("larsson2017", "antoran2020") if self.routes == "learned" else ("larsson2017",)

    @property
    def draws_routes(self) -> bool:
        """Whether every step draws a route."""
        return self.route is None and self.routes == "sampled" and self.global_rate > 0

    def choose(self, key: KeyArray, step: Callable[[Model], Tree]) -> Tree:
        """``step(model)`` along one route, if routes are drawn; no other route is computed."""
        if not self.draws_routes:
            return step(self)
        key_global, key_column = jax.random.split(key)
        is_alone = jax.random.bernoulli(key_global, self.global_rate)
        column = jax.random.randint(key_column, (), 1, len(self.net.columns) + 1)
        branches = [lambda r=r: step(replace(self, route=r)) for r in (0, *self.net.columns)]
        return jax.lax.switch(jnp.where(is_alone, column, 0), branches)

    def training_pass(self, variables: Variables, batch: Batch, key: KeyArray) -> Pass:
        """A training pass along the routes of this step.

        Metrics are those of the whole net, or of the single column that ran. ``route`` is the
        number of that column, or 0 for the whole net. With ``learned``, metrics are means under π,
        and ``probability/c`` is π_c.
        """
        if self.routes == "learned":
            return self._learned(variables, batch, key)
        if self.route is not None or self.global_rate == 0:
            route = self.route or 0
            _, run = self._along(route, variables, batch, key)
            return run._replace(metrics={**run.metrics, "route": jnp.asarray(float(route))})
        return self._every_route(variables, batch, key)

    def _along(
        self, route: int, variables: Variables, batch: Batch, key: KeyArray
    ) -> tuple[Any, Pass]:
        """The outputs and the pass of one route."""
        x, y = batch
        streams = ("drop_path", "dropout", "posterior")
        rngs = dict(zip(streams, jax.random.split(key, len(streams))))
        options = {"column": route} if route else {"drop_path": self.drop_path}
        mutable = [name for name in variables if name != "params"]
        with named_errors(x):
            outputs, updates = self.net.apply(
                variables, x, train=True, mutable=mutable, rngs=rngs, **options
            )
        values, metrics = per_example(self.likelihood, outputs, y), self.likelihood.metrics
        return outputs, Pass(values, metrics(outputs, y), {**variables, **updates})

    def _every_route(self, variables: Variables, batch: Batch, key: KeyArray) -> Pass:
        columns = self.net.columns
        key_whole, *keys = jax.random.split(key, 1 + len(columns))
        outputs, whole = self._along(0, variables, batch, key_whole)
        variables, values = whole.variables, []
        for column, part, key_column in zip(columns, self._parts(batch_size(batch)), keys):
            share, taught = jax.tree.map(lambda x, part=part: x[part], (batch, outputs))
            answers, run = self._along(column, variables, share, key_column)
            values.append(self._distilled(run.log_likelihood, answers, taught))
            variables = run.variables
        alone = (
            jnp.concatenate(values) if self.routes == "partitioned" else sum(values) / len(values)
        )
        mean = (1 - self.global_rate) * whole.log_likelihood + self.global_rate * alone
        return Pass(mean, whole.metrics, variables)

    def _parts(self, size: int) -> list[slice]:
        """The examples of a batch that every column runs on."""
        number = len(self.net.columns)
        if self.routes != "partitioned":
            return [slice(None)] * number
        if size % number:
            raise InputError(
                f"`batch_size` must give each of {number} columns the same number of examples, "
                f"got {size}"
            )
        part = size // number
        return [slice(start, start + part) for start in range(0, size, part)]

    def _distilled(
        self, log_likelihood: Float[Array, " batch"], logits: Logits, teacher: Logits
    ) -> Float[Array, " batch"]:
        """The log likelihood of a column, mixed with the prediction of the whole net."""
        if self.distillation == 0:
            return log_likelihood
        probs = jax.lax.stop_gradient(jax.nn.softmax(wide(teacher)))
        agreement = (probs * jax.nn.log_softmax(wide(logits))).sum(axis=-1)
        return (1 - self.distillation) * log_likelihood + self.distillation * agreement

    def _learned(self, variables: Variables, batch: Batch, key: KeyArray) -> Pass:
        weights = dict(zip(self.net.columns, _routes(self.net, variables["params"]).probs))
        values, metrics = jnp.zeros(()), []
        for column, weight in weights.items():
            # One key: columns see the same weights and masks, and differ by their depth alone.
            _, run = self._along(column, variables, batch, key)
            values, variables = values + weight * run.log_likelihood, run.variables
            metrics.append(run.metrics)
        probs = jnp.stack([*weights.values()])
        shown = jax.tree.map(lambda *xs: (probs * jnp.stack(xs)).sum(), *metrics)
        shown |= {f"probability/{c}": p for c, p in weights.items()}
        return Pass(values, shown, variables)


def _check_columns(net: Any) -> None:
    if not hasattr(net, "apply") or not hasattr(net, "columns"):
        raise InputError(
            f"`net` must be a net of blocks with columns, such as `jf.FractalNet`, got "
            f"{described(net)}"
        )


def _mixture(net: Any, variables: Variables, x: Any) -> Logits:
    """``log Σ_c π_c p_column c``: logits of the mixture of the columns."""
    log_probs = [jax.nn.log_softmax(net.apply(variables, x, column=c)) for c in net.columns]
    weights = _routes(net, variables["params"]).log_probs
    return jax.nn.logsumexp(jnp.stack(log_probs) + weights[:, None, None], axis=0)


def _routes(net: Any, params: Params) -> Routes:
    """The distribution over the columns of a net, among its weights."""
    routes = params.get("routes")
    if not isinstance(routes, Routes) or jnp.shape(routes.logits) != (len(net.columns),):
        raise InputError(
            f"`params` must hold a distribution over {len(net.columns)} columns, {{**params, "
            f'"routes": jf.Routes.uniform({len(net.columns)})}}, got {routes}'
        )
    return routes

"""The model of a fractal net: which routes through its columns a step trains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
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
from jfractal.priors import PriorLike
from jfractal.typing import Array, Float, KeyArray, Logits, Params, Scalar, Variables

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
) -> "FractalModel":
    """The model of a fractal net, trained along its routes: the whole net, or one column alone.

    ``log p(y | x, w) = (1 − g) log p_whole + g / C · Σ_c log p_column c``, with the global rate g:
    every policy of `routes` is an unbiased estimate of it. In the whole net, every input of a join
    is dropped with probability `drop_path` ("local" drop-path).

    Args:
        net: `FractalNet`, `TextNet` or another net whose blocks have columns.
        prior: As for `Model`.
        likelihood: As for `Model`.
        routes: ``sampled`` draws one route for every step, as the paper says, and runs no other;
            ``two_pass`` runs the whole net and every column on the whole batch, as the authors'
            code does, at twice the cost; ``partitioned`` runs the whole net on the first share of
            the batch and every column on an equal part of the rest; ``learned`` makes the column a
            random variable that is inferred with the weights, see below.
        global_rate: Share g of the columns, in [0, 1]. ``learned`` has its own shares.
        drop_path: Probability of dropping a join input in training, in [0, 1).

    With ``learned``, the weights hold a distribution π over the columns, a leaf beside the others:
    ``{**params, "routes": jf.Routes.uniform(C)}``. Every step runs every column,
    ``log p(y | x, w, π) = Σ_c π_c log p_column c``, and the leaf adds ``−KL(π ‖ uniform)`` to the
    log prior, so the log joint and the ELBO are exact in π. Predictions mix the columns, ``Σ_c π_c
    p_column c``. Columns learn in proportion to π, which closes on what learns first: hold the
    logits at the prior at first, by a learning rate of their own. And weights that are points
    charge no column for fitting noise.

    Returns:
        A `FractalModel`, for every method that takes gradients of a loss.

    Raises:
        InputError: If an argument is out of range, the net has no columns to run alone, or routes
            are learned by anything but a classifier.

    Example:
        ::

            net = jf.FractalNet(10, columns=3, widths=(16, 32, 64))
            model = jf.fractal_model(
                net, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
            )
            fit = jf.fit(jf.maximum_a_posteriori(model, optax.adam(1e-3)),
                         net.init(key, x), (x, y), key, num_epochs=8, batch_size=32)

    References:
        Larsson, Maire & Shakhnarovich, ICLR 2017, §3, and the authors' code (``two_pass``, there
        with twice the weight: g = 1/2 of 2). ``learned``: Antorán, Allingham & Hernández-Lobato,
        "Depth uncertainty in neural networks", NeurIPS 2020, §3, where routes are the first d
        blocks of a residual net.
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
    )


@dataclass(frozen=True, repr=False, eq=False)
class FractalModel(Model):
    """See `fractal_model`.

    Attributes:
        net: The net.
        routes: How routes are trained.
        global_rate: Share of the columns.
        drop_path: Probability of dropping a join input in training.
        route: The column that runs alone; None for what `routes` says, 0 for the whole net.
    """

    net: Any = None
    routes: RoutePolicy = "sampled"
    global_rate: float = 0.5
    drop_path: float = 0.15
    route: int | None = None

    def __post_init__(self):
        super().__post_init__()
        check_choice("routes", self.routes, get_args(RoutePolicy))
        check_fraction(global_rate=self.global_rate)
        check_rate(drop_path=self.drop_path)
        _check_columns(self.net)
        if self.route is not None:
            check_counts(0, max(self.net.columns, default=0), route=self.route)
        is_learned = self.routes == "learned"
        if (self.global_rate > 0 or is_learned) and not self.net.columns:
            raise InputError("`net` has no columns to run alone: give `global_rate=0`")
        if is_learned and not isinstance(self.likelihood, Categorical):
            raise InputError(
                "`likelihood` must be `Categorical` for `routes` that are learned, whose columns "
                f"are mixed as probabilities of classes, got {self.likelihood!r}"
            )

    @property
    def references(self) -> tuple[str, ...]:
        """The papers on drop-path and, if they are learned, on routes, see `jf.citation`."""
        return ("larsson2017", "antoran2020") if self.routes == "learned" else ("larsson2017",)

    @property
    def draws_routes(self) -> bool:
        """Whether every step draws a route."""
        return self.route is None and self.routes == "sampled" and self.global_rate > 0

    def choose(self, key: KeyArray, step: Callable[[Model], Tree]) -> Tree:
        """``step(model)`` along one route, if routes are drawn: no other is computed."""
        if not self.draws_routes:
            return step(self)
        key_global, key_column = jax.random.split(key)
        is_alone = jax.random.bernoulli(key_global, self.global_rate)
        column = jax.random.randint(key_column, (), 1, len(self.net.columns) + 1)
        branches = [lambda r=r: step(replace(self, route=r)) for r in (0, *self.net.columns)]
        return jax.lax.switch(jnp.where(is_alone, column, 0), branches)

    def training_pass(self, variables: Variables, batch: Batch, key: KeyArray) -> Pass:
        """A training pass along the routes of this step.

        Its metrics are those of the whole net, or of the one column that ran: ``route`` is its
        number, 0 for the whole net. With ``learned`` they are means under π, and
        ``probability/c`` is π_c.
        """
        if self.routes == "learned":
            return self._learned(variables, batch, key)
        if self.route is not None or self.global_rate == 0:
            route = self.route or 0
            run = self._along(route, variables, batch, key)
            return run._replace(metrics={**run.metrics, "route": jnp.asarray(float(route))})
        if self.routes == "partitioned":
            return self._partitioned(variables, batch, key)
        return self._every_route(variables, batch, key)

    def _along(self, route: int, variables: Variables, batch: Batch, key: KeyArray) -> Pass:
        x, y = batch
        streams = ("drop_path", "dropout", "posterior")
        rngs = dict(zip(streams, jax.random.split(key, len(streams))))
        options = {"column": route} if route else {"drop_path": self.drop_path}
        mutable = [name for name in variables if name != "params"]
        with named_errors(x):
            outputs, updates = self.net.apply(
                variables, x, train=True, mutable=mutable, rngs=rngs, **options
            )
        values = per_example(self.likelihood, outputs, y)
        return Pass(values, self.likelihood.metrics(outputs, y), {**variables, **updates})

    def _every_route(self, variables: Variables, batch: Batch, key: KeyArray) -> Pass:
        columns = self.net.columns
        weights = {0: 1 - self.global_rate}
        weights |= dict.fromkeys(columns, self.global_rate / len(columns))
        keys = jax.random.split(key, len(weights))
        values, (whole, *_), variables = self._expected(weights, variables, batch, keys)
        return Pass(values, whole, variables)

    def _learned(self, variables: Variables, batch: Batch, key: KeyArray) -> Pass:
        weights = dict(zip(self.net.columns, _routes(self.net, variables["params"]).probs))
        # One key: columns see the same weights and masks, and differ by their depth alone.
        keys = [key] * len(weights)
        values, metrics, variables = self._expected(weights, variables, batch, keys)
        probs = jnp.stack([*weights.values()])
        shown = jax.tree.map(lambda *xs: (probs * jnp.stack(xs)).sum(), *metrics)
        shown |= {f"probability/{c}": p for c, p in weights.items()}
        return Pass(values, shown, variables)

    def _expected(
        self,
        weights: Mapping[int, float | Scalar],
        variables: Variables,
        batch: Batch,
        keys: KeyArray | Sequence[KeyArray],
    ) -> tuple[Float[Array, " batch"], list[dict[str, Scalar]], Variables]:
        """The weighted mean of the log likelihoods along routes, and the metrics of each."""
        values, metrics = jnp.zeros(()), []
        for (route, weight), key in zip(weights.items(), keys):
            run = self._along(route, variables, batch, key)
            values, variables = values + weight * run.log_likelihood, run.variables
            metrics.append(run.metrics)
        return values, metrics, variables

    def _partitioned(self, variables: Variables, batch: Batch, key: KeyArray) -> Pass:
        columns, size = self.net.columns, batch_size(batch)
        part = self.global_rate * size / len(columns)
        if part != int(part) or part < 1:
            raise InputError(
                f"`batch_size` must give each of {len(columns)} columns the same number of "
                f"examples at `global_rate` {self.global_rate}, got {size}"
            )
        ends = range(size - int(part) * len(columns), size + 1, int(part))
        bounds = [(start, end) for start, end in pairwise((0, *ends))]
        values, metrics = [], {}
        keys = jax.random.split(key, len(bounds))
        for route, (start, end), key_route in zip((0, *columns), bounds, keys):
            if start == end:
                continue
            share = jax.tree.map(lambda x, a=start, b=end: x[a:b], batch)
            run = self._along(route, variables, share, key_route)
            values.append(run.log_likelihood)
            metrics = metrics or run.metrics
            variables = run.variables
        return Pass(jnp.concatenate(values), metrics, variables)


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

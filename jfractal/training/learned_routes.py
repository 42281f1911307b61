"""A distribution over routes that is trained with the net: depth as a random variable."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jfractal.errors import InputError
from jfractal.posterior.routes import Routes
from jfractal.training.objective import Loss, Objective

__all__ = ["learned_routes"]


def learned_routes(
    objective: Objective,
    *,
    routes: Sequence[int | None],
    num_data: int,
    prior: Routes | None = None,
) -> Objective:
    """The expected objective under a distribution over routes that is trained with the net.

    ``L(w, π) = Σ_r π_r L_r(w) + KL(π ‖ p) / N``, exact, at the cost of every route. For an ELBO,
    ``−N·L`` is the ELBO of ``q(w) π(r)``. Were the weights fixed, the optimum would be
    ``π_r ∝ p_r exp(−N L_r)``, with the value ``−log Σ_r p_r exp(−N L_r) / N``.

    The distribution is the entry ``routes`` of the params, a `Routes`: add it before the state is
    created, ``{**params, "routes": Routes.uniform(3)}``, and train with a `DropPath` of
    ``global_rate=0``.

    A route learns in proportion to its probability, which goes to the route that does best so far:
    with N large, π closes on what learns first, before the others have learned at all. Hold the
    logits at the prior at first, by the schedule of their learning rate, as the authors do. And L_r
    is the loss on training data: of weights that are points, it does not charge a route for
    fitting noise.

    Args:
        objective: The loss L_r along one route, in nats per example.
        routes: The routes r: columns by number, None for the joined net.
        num_data: Size N of the training set.
        prior: The prior p; uniform if left out: over columns, that of global drop-path.

    Returns:
        An `Objective`. Its metrics are expectations under π, and ``routes_kl``, KL(π ‖ p) in nats;
        ``probability/c``, that of column c (0 for the joined net).

    Raises:
        InputError: If there are no routes, the prior is not over them, `num_data` is smaller than
            1, or the params hold no `Routes` of their number.

    Source: Antorán, Allingham & Hernández-Lobato, "Depth uncertainty in neural networks", NeurIPS
        2020, §3, and the authors' code: there, routes are the first d blocks of a residual net.
    """
    if not routes:
        raise InputError("`routes` must hold at least one route, got none")
    if num_data < 1:
        raise InputError(f"`num_data` must be at least 1, got {num_data}")
    prior = Routes.uniform(len(routes)) if prior is None else prior
    if prior.logits.shape != (len(routes),):
        raise InputError(
            f"`prior` must be over {len(routes)} routes, got {prior.logits.shape[0]} probabilities"
        )

    def loss(params, variables, batch, key, route, step) -> Loss:
        q = params.get("routes")
        if not isinstance(q, Routes) or q.logits.shape != prior.logits.shape:
            raise InputError(
                f'`params` must hold a `Routes` over {len(routes)} routes as "routes", got {q}'
            )
        values, metrics = [], []
        for alone in routes:
            # One key: the routes see the same images and weights, and differ by their depth alone.
            part = objective(params, variables, batch, key, alone, step)
            values.append(part.value)
            metrics.append(part.metrics)
            variables = part.variables
        expected = lambda *xs: (q.probs * jnp.stack(xs)).sum()
        kl = q.kl(prior)
        value = expected(*values) + kl / num_data
        named = {f"probability/{r or 0}": p for r, p in zip(routes, q.probs)}
        shown = jax.tree.map(expected, *metrics) | {"loss": value, "routes_kl": kl, **named}
        return Loss(value, shown, variables)

    return loss

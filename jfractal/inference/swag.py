"""SWAG: a Gaussian fitted to the iterates of gradient descent."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jfractal.counts import check_counts
from jfractal.inference.batch import Batch
from jfractal.inference.draws import Draws
from jfractal.inference.maximum_a_posteriori import maximum_a_posteriori
from jfractal.inference.method import Descent, Info, Method, Start
from jfractal.inference.model import Model
from jfractal.posterior.factor_gaussian import FactorGaussian
from jfractal.posterior.gaussian import everywhere
from jfractal.posterior.leaves import select
from jfractal.typing import KeyArray, Params

__all__ = ["swag"]


class Wandering(NamedTuple):
    """State of SWAG.

    Attributes:
        descent: State of the gradient descent.
        centre: Mean w̄ of the iterates that count.
        spread: Sum of the squared deviations of these iterates from w̄.
        iterates: The last K of these iterates.
    """

    descent: Descent
    centre: Params
    spread: Params
    iterates: Draws


def swag(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    num_warmup: int = 0,
    thinning: int = 1,
    rank: int = 20,
) -> Method:
    """``q(w) = N(w̄, ½ (diag(s²) + D Dᵀ / (K − 1)))`` over iterates of gradient descent.

    After the warm-up, every `thinning`-th iterate counts. w̄ is the mean of these iterates and s²
    their variance. The columns of D are the deviations of the last K of them from w̄. (The paper
    takes each deviation from the mean of the iterates so far; the two agree in the limit.)

    The learning rate and the batch size set the spread of the iterates as much as the posterior
    does: with all data in every batch, they do not spread at all. The paper runs gradient descent
    at a constant, high learning rate.

    Args:
        model: The model to fit.
        optimizer: An optax optimizer; it sees the log joint in nats per example.
        num_warmup: Steps before the first iterate counts, enough to get near the maximum.
        thinning: Steps between iterates that count, e.g. the number of steps in an epoch.
        rank: K, at least 2.

    Returns:
        A `Method` whose posterior is a `FactorGaussian`. Its batch statistics are those of the last
        step; `jfractal.training.recalibrate` measures them again at w̄.

    Raises:
        InputError: If an argument is out of range.

    Example:
        ::

            rate = optax.join_schedules([optax.linear_schedule(0.1, 0.02, 1000),
                                         optax.constant_schedule(0.02)], [1000])
            method = jf.swag(model, optax.sgd(rate, momentum=0.9), num_warmup=1000, thinning=50)

    References:
        Maddox et al., "A simple baseline for Bayesian uncertainty in deep learning", NeurIPS 2019,
        algorithm 1.
    """
    check_counts(2, rank=rank)
    check_counts(0, num_warmup=num_warmup)
    check_counts(thinning=thinning)
    point = maximum_a_posteriori(model, optimizer)

    def init(params: Start, key: KeyArray) -> Wandering:
        descent = point.init(params, key)
        iterates = Draws.of(descent.params, rank, num_warmup, thinning)
        spread = jax.tree.map(jnp.zeros_like, descent.params)
        return Wandering(descent, descent.params, spread, iterates)

    def update(
        state: Wandering, batch: Batch, key: KeyArray, num_data: int | None = None
    ) -> tuple[Wandering, Info]:
        descent, info = point.update(state.descent, batch, key, num_data)
        before, count = state.iterates.count(descent.step - 1), state.iterates.count(descent.step)
        counts = count > before

        # Welford's recursion: squares of the weights would cancel in single precision.
        def centre(m, w):
            return jnp.where(counts, m + (w - m) / jnp.maximum(count, 1).astype(m.dtype), m)

        def spread(s, m, new, w):
            return jnp.where(counts & (count > 1), s + (w - m) * (w - new), s)

        moved = jax.tree.map(centre, state.centre, descent.params)
        spread = jax.tree.map(spread, state.spread, state.centre, moved, descent.params)
        iterates = state.iterates.after(descent.step, descent.params)
        return Wandering(descent, moved, spread, iterates), info

    def posterior(state: Wandering) -> FactorGaussian:
        step = state.descent.step
        count = state.iterates.count(step)
        number = jnp.minimum(count, rank)
        is_filled = jnp.arange(rank) < number

        def factors(w, m):
            filled = is_filled.reshape(-1, *(1,) * m.ndim)
            scale = jnp.sqrt(2 * (jnp.maximum(number, 2) - 1)).astype(m.dtype)
            return jnp.where(filled, (w - m[None]) / scale, 0)

        std = lambda s: jnp.sqrt(s / (2 * jnp.maximum(count, 1))).astype(s.dtype)
        centre = jax.tree.map(
            lambda m, w: jnp.where(count > 0, m, w), state.centre, state.descent.params
        )
        return FactorGaussian(
            centre,
            std=select(jax.tree.map(std, state.spread), everywhere),
            factors=select(jax.tree.map(factors, state.iterates.slots, centre), everywhere),
            variables=state.descent.variables,
        )

    return Method("SWAG", model, init, update, posterior, ("maddox2019",))

"""Stochastic gradient Langevin dynamics: gradient ascent with the right noise."""

import optax

from jfractal.inference.method import Method
from jfractal.inference.model import Model
from jfractal.inference.sghmc import sghmc

__all__ = ["sgld"]


def sgld(
    model: Model,
    *,
    learning_rate: float | optax.Schedule,
    num_warmup: int = 0,
    num_draws: int = 32,
    thinning: int = 10,
    temperature: float = 1.0,
) -> Method:
    """Stochastic gradient Langevin dynamics: gradient ascent on the log joint with noise.

    ``w ← w + ε ∇U(w) + √(2 ε T / N) ξ``, ξ ~ N(0, I), with ``U = log p(D, w) / N`` estimated on a
    batch. With all data in each step, the draws of a Gaussian posterior of covariance Σ have
    covariance ``T Σ (I − ε Σ⁻¹ / 2N)⁻¹``; batches add the noise of their gradients.

    Args:
        model: What to fit.
        learning_rate: ε, a number above 0 or a schedule from optax. It is that of gradient descent
            on the loss in nats per example (the step size of the paper is 2ε / N).
        num_warmup: Steps before the first draw counts.
        num_draws: Draws that are kept: the last so many.
        thinning: Steps from one draw to the next, at least 1.
        temperature: T; 0 is gradient descent, below 1 the posterior is cold.

    Returns:
        A `Method` whose posterior is a `Samples`; before the first draw, the weights as they are.
        For several chains see `ensemble`.

    Raises:
        InputError: If an argument is out of range.

    Example:
        ::

            method = jf.sgld(model, learning_rate=0.1, num_warmup=1000, thinning=50)
            fit = jf.fit(method, params, (x, y), key, num_steps=3000, batch_size=128)

    References:
        Welling & Teh, "Bayesian learning via stochastic gradient Langevin dynamics", ICML 2011.
    """
    method = sghmc(
        model,
        learning_rate=learning_rate,
        momentum=0.0,
        num_warmup=num_warmup,
        num_draws=num_draws,
        thinning=thinning,
        temperature=temperature,
    )
    return method._replace(name="SGLD", references=("welling2011",))

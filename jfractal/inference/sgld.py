"""Stochastic gradient Langevin dynamics: gradient ascent with the right noise."""

import optax

from jfractal.inference.method import Method
from jfractal.inference.model import Model
from jfractal.inference.sghmc import sghmc
from jfractal.typing import Params

__all__ = ["sgld"]


def sgld(
    model: Model,
    *,
    learning_rate: float | optax.Schedule | None = None,
    inverse_mass: Params | None = None,
    noise_share: float = 0.1,
    num_warmup: int = 0,
    num_draws: int = 32,
    thinning: int = 10,
    temperature: float = 1.0,
) -> Method:
    """Stochastic gradient Langevin dynamics: gradient ascent on the log joint with noise.

    ``w ← w + ε ∇U(w) + √(2 ε T / N) ξ``, ξ ~ N(0, I), with ``U = log p(D, w) / N`` estimated on a
    batch. With all data in each step, the draws of a Gaussian posterior of covariance Σ have
    covariance ``T Σ (I − ε Σ⁻¹ / 2N)⁻¹``; batches add the noise of their gradients. With a diagonal
    mass, ε N M⁻¹ stands for ε in each weight.

    Without a learning rate, warm-up finds both, for each weight, from its gradient Ĝ = N ∇U in
    nats: ``w ← w + η Ĝ + √(2 (1 − s) η T) ξ,  η = 2 s T / E[Ĝ²]``. The gradient brings the share s
    of the noise. A Gaussian posterior without correlations keeps its variances, whatever s: those
    are ``T / H`` where ``E[Ĝ²] = T H + C``, C the variance of batches. Correlations are off by
    about s, and variances are too small by up to s with batches that part the data, as those of
    `fit` do: over an epoch their noise cancels.

    Args:
        model: What to fit.
        learning_rate: ε, a number above 0 or a schedule from optax. It is that of gradient descent
            on the loss in nats per example (the step size of the paper is 2ε / N). If left out, it
            is found in warm-up, together with the mass.
        inverse_mass: M⁻¹, a variance for every weight, such as ``q.variance()`` of any posterior: ε
            is then the share of the way to the mode. 1 / N each if left out. Where the learning
            rate is found, it is what the search starts from.
        noise_share: s in (0, 1], if the learning rate is left out: smaller is slower and nearer.
        num_warmup: Steps before the first draw counts, at least 1 without a learning rate.
        num_draws: Draws that are kept: the last so many.
        thinning: Steps from one draw to the next, at least 1.
        temperature: T; 0 is gradient descent, below 1 the posterior is cold.

    Returns:
        A `Method` whose posterior is a `Samples`; before the first draw, the weights as they are.
        For several chains see `ensemble`.

    Raises:
        InputError: If an argument is out of range, or there is neither a learning rate nor a
            warm-up to find it in.

    Example:
        ::

            method = jf.sgld(model, num_warmup=1000, thinning=50)
            fit = jf.fit(method, params, (x, y), key, num_steps=3000, batch_size=128)

    References:
        Welling & Teh, "Bayesian learning via stochastic gradient Langevin dynamics", ICML 2011; Ahn
        et al., "Bayesian posterior sampling via stochastic gradient Fisher scoring", ICML 2012; Li
        et al., "Preconditioned stochastic gradient Langevin dynamics", AAAI 2016.
    """
    method = sghmc(
        model,
        learning_rate=learning_rate,
        momentum=0.0,
        inverse_mass=inverse_mass,
        noise_share=noise_share,
        num_warmup=num_warmup,
        num_draws=num_draws,
        thinning=thinning,
        temperature=temperature,
    )
    references = ("welling2011", *method.references[1:])
    return method._replace(name="SGLD", references=references)

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
    batch. If every step sees all data, the draws of a Gaussian posterior of covariance Σ have
    covariance ``T Σ (I − ε Σ⁻¹ / 2N)⁻¹``. Batches add the noise of their gradients. A diagonal mass
    replaces ε by ε N M⁻¹ for each weight.

    If `learning_rate` is left out, warm-up finds a step size η for each weight from its gradient
    Ĝ = N ∇U in nats: ``w ← w + η Ĝ + √(2 (1 − s) η T) ξ,  η = 2 s T / E[Ĝ²]``. The gradient then
    contributes the share s of the noise. A Gaussian posterior without correlations keeps its
    variances for any s: they are ``T / H`` if ``E[Ĝ²] = T H + C``, where C is the variance due to
    batches. Correlations are off by about s. The batches of `fit` partition the data, so their
    noise cancels over an epoch; variances are then too small by up to s.

    Args:
        model: The model to fit.
        learning_rate: ε, a number above 0 or an optax schedule: the learning rate of gradient
            descent on the loss in nats per example (the paper's step size is 2ε / N). If left out,
            warm-up finds it together with the mass.
        inverse_mass: M⁻¹, a variance for every weight, such as ``q.variance()`` of any posterior; ε
            is then the fraction of the way to the mode that a step covers. By default, 1 / N for
            every weight. If the learning rate is left out, its search starts from M⁻¹.
        noise_share: s in (0, 1], used if the learning rate is left out. A smaller share is slower
            and more accurate.
        num_warmup: Steps before the first draw counts, at least 1 without a learning rate.
        num_draws: Number of draws to keep, the last ones.
        thinning: Steps from one draw to the next, at least 1.
        temperature: T. At 0 this is gradient descent; below 1 the posterior is cold.

    Returns:
        A `Method` whose posterior is a `Samples`. Before the first draw, it holds the current
        weights. For several chains see `ensemble`.

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

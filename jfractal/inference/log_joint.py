"""The log joint density of data and weights: what MAP maximises and what HMC samples."""

from dataclasses import dataclass
from typing import Any

import jax

from jfractal.inference.batch import batch_size
from jfractal.posterior.likelihoods import Likelihood, check_likelihood, per_example
from jfractal.posterior.priors import Prior, as_prior
from jfractal.typing import Apply, Array, Float, Params, Scalar

__all__ = ["LogJoint"]


@dataclass(frozen=True, eq=False)
class LogJoint:
    """``log p(D | w) + log p(w)``, in nats, summed over the data set and over all weights.

    Deterministic and over the full data, as Markov chain Monte Carlo needs it: give it an `apply`
    without dropout, drop-path, augmentation or batch statistics.

    Attributes:
        apply: ``apply({"params": w}, x) -> outputs``.
        data: Inputs and targets, ``(x, y)``.
        prior: Prior over every weight; a `numpyro.distributions` object becomes one.
        likelihood: Likelihood of the targets given the outputs.

    Raises:
        InputError: If inputs and targets differ in number or hold a NaN, or `prior` or `likelihood`
            is none.
    """

    apply: Apply
    data: tuple[Any, Any]
    prior: Prior
    likelihood: Likelihood

    def __post_init__(self):
        batch_size(self.data)
        object.__setattr__(self, "prior", as_prior(self.prior))
        check_likelihood(self.likelihood)

    @property
    def num_data(self) -> int:
        """Number of examples N."""
        return self.data[1].shape[0]

    def check(self, params: Params) -> None:
        """Looks at all of the data before a compiled program hides them; nothing is computed.

        Raises:
            InputError: If the likelihood finds fault with the targets, e.g. a label that is out of
                range, or does not return one number per example.
        """
        jax.eval_shape(lambda params: self.log_likelihood(params, self.data), params)

    def __call__(self, params: Params) -> Scalar:
        """The log joint at `params`, a tree of arrays."""
        return self.log_likelihood(params, self.data).sum() + self.prior.tree_log_prob(params)

    def estimate(self, params: Params, batch: tuple[Any, Any]) -> Scalar:
        """The log joint, estimated on a batch: ``N mean_batch log p(y | x, w) + log p(w)``."""
        log_likelihood = self.log_likelihood(params, batch).mean()
        return self.num_data * log_likelihood + self.prior.tree_log_prob(params)

    def log_likelihood(self, params: Params, batch: tuple[Any, Any]) -> Float[Array, " batch"]:
        """Of each example of a batch, in nats."""
        x, y = batch
        return per_example(self.likelihood, self.apply({"params": params}, x), y)

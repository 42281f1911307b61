"""The log joint density of data and weights: what MAP maximises and what HMC samples."""

from dataclasses import dataclass
from typing import Any

from jfractal.posterior.likelihoods import Likelihood
from jfractal.posterior.priors import Prior
from jfractal.typing import Apply, Params, Scalar

__all__ = ["LogJoint"]


@dataclass(frozen=True, eq=False)
class LogJoint:
    """``log p(D | w) + log p(w)``, in nats, summed over the data set and over all weights.

    Deterministic and over the full data, as Markov chain Monte Carlo needs it: give it an `apply`
    without dropout, drop-path, augmentation or batch statistics.

    Attributes:
        apply: ``apply({"params": w}, x) -> outputs``.
        data: Inputs and targets, ``(x, y)``.
        prior: Prior over every weight.
        likelihood: Likelihood of the targets given the outputs.
    """

    apply: Apply
    data: tuple[Any, Any]
    prior: Prior
    likelihood: Likelihood

    def __call__(self, params: Params) -> Scalar:
        """The log joint at `params`, a tree of arrays."""
        x, y = self.data
        outputs = self.apply({"params": params}, x)
        log_likelihood = self.likelihood.log_likelihood(outputs, y).sum()
        return log_likelihood + self.prior.tree_log_prob(params)

"""The log joint at one setting of the weights, estimated on a batch."""

from jfractal.inference.batch import Batch
from jfractal.inference.method import Info
from jfractal.inference.model import Model
from jfractal.typing import KeyArray, Params, Scalar, Variables

__all__ = ["negative_log_joint"]


def negative_log_joint(
    model: Model, params: Params, variables: Variables, batch: Batch, key: KeyArray, num_data: int
) -> tuple[Scalar, tuple[Info, Variables]]:
    """``−mean_batch log p(y | x, w) − log p(w) / N``, in nats per example.

    Args:
        model: Net, prior and likelihood.
        params: The weights w, a tree of arrays.
        variables: The other collections of the model.
        batch: Inputs and targets, ``(x, y)``.
        key: Random key of the training pass.
        num_data: Number N of examples in the data set.

    Returns:
        The loss, its parts by name, and the other collections after the pass.
    """
    run = model.training_pass({"params": params, **variables}, batch, key)
    nll, log_prior = -run.log_likelihood.mean(), model.prior.tree_log_prob(params) / num_data
    loss = nll - log_prior
    info = {"loss": loss, "nll": nll, "log_prior": log_prior, **run.metrics}
    return loss, (info, rest(run.variables))


def rest(variables: Variables) -> Variables:
    """All collections but the weights."""
    return {name: tree for name, tree in variables.items() if name != "params"}

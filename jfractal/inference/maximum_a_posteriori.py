"""Maximum a posteriori: the weights with the highest log joint."""

import optax

from jfractal.inference.method import Descent, Method, descent
from jfractal.inference.model import Model
from jfractal.inference.point import negative_log_joint
from jfractal.posterior.samples import Point

__all__ = ["maximum_a_posteriori"]


def maximum_a_posteriori(model: Model, optimizer: optax.GradientTransformation) -> Method:
    """``argmax_w log p(D | w) + log p(w)``, by stochastic gradient ascent.

    Args:
        model: The model to fit.
        optimizer: An optax optimizer; it sees the log joint in nats per example, ``log p(D, w) /
            N``.

    Returns:
        A `Method` whose posterior is a `Point`. Its steps report ``loss``, the negative log joint,
        and its parts ``nll`` and ``log_prior``, all in nats per example.

    Raises:
        InputError: If `model` is not a model, or `optimizer` not an optax optimizer.

    Example:
        ::

            method = jf.maximum_a_posteriori(model, optax.adam(1e-3))
            fit = jf.fit(method, params, (x, y), key, num_epochs=10, batch_size=128)
    """

    def loss(params, model, state, batch, key, num_data):
        return negative_log_joint(model, params, state.variables, batch, key, num_data)

    def posterior(state: Descent) -> Point:
        return Point({"params": state.params, **state.variables})

    return descent("MAP", model, optimizer, loss, posterior)

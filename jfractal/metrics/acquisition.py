"""Choosing examples to label next, by what their labels would tell about the weights."""

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jax.typing import ArrayLike

from jfractal.arguments import check_key
from jfractal.counts import check_counts
from jfractal.metrics.inputs import log_probabilities
from jfractal.metrics.uncertainty import aleatoric_entropy
from jfractal.typing import Array, Float, Int, KeyArray

__all__ = ["batch_bald"]


def batch_bald(
    log_probs: Float[ArrayLike, "samples batch classes"],
    key: KeyArray,
    *,
    num_chosen: int,
    num_configurations: int = 1000,
) -> tuple[Int[Array, " chosen"], Float[Array, " chosen"]]:
    """Chooses examples whose labels together tell most about the weights, greedily.

    Each step maximises ``I[y_1 … y_k; w] = H[y_1 … y_k] − Σ_i E_w H[y_i | w]`` over one more
    example, given those already chosen. The first example is the one with the largest
    `epistemic_entropy` (BALD); BALD alone would go on to choose near-copies of it. The joint
    entropy is exact as long as the labels of the chosen examples have at most `num_configurations`
    combinations. Beyond that, it is estimated from `num_configurations` draws.

    Args:
        log_probs: Log probabilities under each draw of the weights, in nats.
        key: Random key.
        num_chosen: Number of examples to choose, from 1 to the size of the batch.
        num_configurations: Number of label combinations that the joint entropy is summed over.

    Returns:
        Indices of the chosen examples in the order of choice, and the information of all examples
        chosen so far, in nats.

    Raises:
        InputError: If `log_probs` are not log-probabilities, or a number is out of range.

    Source: Kirsch, van Amersfoort & Gal, "BatchBALD", NeurIPS 2019, §3.
    """
    given = log_probabilities("log_probs", log_probs, "samples batch classes")
    check_key("key", key)
    check_counts(1, given.shape[1], num_chosen=num_chosen)
    check_counts(num_configurations=num_configurations)
    num_classes = given.shape[-1]
    conditional = aleatoric_entropy(given)
    # Log probability of each combination of the chosen's labels under each draw of the weights,
    # and, where combinations are drawn, log of how often each is among them.
    joint: Array = jnp.zeros((1, given.shape[0]))
    drawn = False
    spent = 0.0
    chosen: list[Array] = []
    information: list[Array] = []
    for step in range(num_chosen):
        gain = _joint_entropy(joint, given, drawn) - conditional - spent
        gain = gain.at[jnp.array(chosen, int)].set(-jnp.inf)
        best = jnp.argmax(gain)
        chosen.append(best)
        information.append(gain[best])
        spent = spent + conditional[best]
        if not drawn and joint.shape[0] * num_classes <= num_configurations:
            joint = (joint[:, None] + given[:, best].T[None]).reshape(-1, given.shape[0])
        else:
            drawn = True
            joint = _draw(
                given[:, jnp.stack(chosen)], jax.random.fold_in(key, step), num_configurations
            )
    return jnp.stack(chosen), jnp.stack(information)


def _joint_entropy(joint: Array, log_probs: Array, drawn: bool) -> Float[Array, " batch"]:
    """Joint entropy of the labels of the chosen examples and one more, for every candidate."""
    log_samples = jnp.log(joint.shape[1])
    # A sum of products of probabilities is a matrix product, with the largest of each row at 1,
    # or at 0 where no draw of the weights allows this combination.
    largest = joint.max(axis=1, keepdims=True)
    largest = jnp.where(jnp.isneginf(largest), 0.0, largest)
    scaled, tiny = jnp.exp(joint - largest), jnp.finfo(joint.dtype).tiny

    def one(log_probs: Float[Array, "samples classes"]) -> Array:
        products = jnp.maximum(scaled @ jnp.exp(log_probs), tiny)
        together = jnp.log(products) + largest - log_samples
        if not drawn:
            return -(jnp.exp(together) * together).sum()
        # Combinations come from their own distribution, so each stands for an equal share of it.
        alone = logsumexp(joint, axis=1) - log_samples
        return -(jnp.exp(together - alone[:, None]) * together).sum(1).mean()

    return jax.lax.map(one, jnp.swapaxes(log_probs, 0, 1), batch_size=64)


def _draw(
    log_probs: Float[Array, "samples chosen classes"], key: KeyArray, number: int
) -> Float[Array, "configurations samples"]:
    """Log probabilities, under each draw of the weights, of labels drawn from the mixture."""
    key_weights, key_labels = jax.random.split(key)
    which = jax.random.randint(key_weights, (number,), 0, log_probs.shape[0])
    labels = jax.random.categorical(key_labels, log_probs[which])
    each = jnp.take_along_axis(log_probs[None], labels[:, None, :, None], axis=-1)
    return each[..., 0].sum(-1)

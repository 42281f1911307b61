from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal import InputError
from jfractal.metrics import batch_bald, epistemic_entropy


def draws(samples, batch, classes, seed=0, scale=2.0):
    logits = scale * jax.random.normal(jax.random.key(seed), (samples, batch, classes))
    return jax.nn.log_softmax(logits)


def information(log_probs, chosen):
    """I[labels of the chosen; w], by summing over every combination of labels."""
    p = np.exp(np.asarray(log_probs, np.float64))[:, chosen]
    entropy = 0.0
    for labels in product(range(p.shape[-1]), repeat=len(chosen)):
        joint = np.prod([p[:, i, y] for i, y in enumerate(labels)], axis=0).mean()
        entropy -= joint * np.log(joint)
    return entropy + (p * np.log(p)).sum(-1).mean(0).sum()


def test_each_choice_is_the_best_beside_those_before():
    log_probs = draws(6, 8, 3)
    chosen, nats = batch_bald(log_probs, jax.random.key(1), num_chosen=4)
    np.testing.assert_allclose(nats[0], epistemic_entropy(log_probs).max(), rtol=1e-5)
    for k in range(1, 5):
        before = list(np.asarray(chosen[: k - 1]))
        rest = [i for i in range(8) if i not in before]
        values = [information(log_probs, [*before, i]) for i in rest]
        assert rest[int(np.argmax(values))] == chosen[k - 1]
        np.testing.assert_allclose(nats[k - 1], max(values), rtol=1e-4)


def test_drawn_combinations_estimate_the_exact_information():
    log_probs = draws(5, 6, 3)
    exact, _ = batch_bald(log_probs, jax.random.key(0), num_chosen=3, num_configurations=27)
    # The last is chosen over 9 combinations of the first two, here drawn 20,000 times.
    _, nats = batch_bald(log_probs[:, exact], jax.random.key(1), num_chosen=3)
    last = jax.jit(
        lambda key: batch_bald(log_probs[:, exact], key, num_chosen=3, num_configurations=8)[1][2]
    )
    several = np.array([last(key) for key in jax.random.split(jax.random.key(2), 300)])
    error = np.std(several) / np.sqrt(len(several))
    assert abs(np.mean(several) - nats[2]) < 4 * error


def test_a_copy_is_not_chosen_twice():
    """Two copies of the most informative example, and one that is nearly as informative."""
    some = draws(40, 2, 4)
    best = int(jnp.argmax(epistemic_entropy(some)))
    log_probs = jnp.concatenate([some[:, best : best + 1], some], axis=1)
    chosen, _ = batch_bald(log_probs, jax.random.key(0), num_chosen=2)
    other = 2 - best  # the index in `log_probs` of the one that is no copy
    assert other in np.asarray(chosen)


@pytest.mark.parametrize(
    "options", [{"num_chosen": 0}, {"num_chosen": 9}, {"num_chosen": 2, "num_configurations": 0}]
)
def test_bad_input(options):
    with pytest.raises(InputError, match=f"`{[*options][-1]}` must be at "):
        batch_bald(draws(3, 8, 2), jax.random.key(0), **options)

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.anytime import early_exit, nested_sets

SHAPE = (4, 4, 3)


def model_of(net, likelihood=None, **options):
    likelihood = likelihood or jf.likelihoods.Categorical()
    return jf.fractal_model(net, prior=jf.priors.Gaussian(1.0), likelihood=likelihood, **options)


@pytest.fixture(scope="module")
def problem():
    net = jf.FractalNet(3, columns=3, widths=(4,), norm="none")
    x = np.asarray(jax.random.normal(jax.random.key(0), (20, *SHAPE)))
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    rng = np.random.default_rng(0)
    return net, jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.4, s.shape), s.dtype), shapes), x


def columns_of(net, variables, x):
    return [np.asarray(jax.nn.softmax(net.apply(variables, x, column=c))) for c in net.columns]


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 1.1])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_the_first_confident_column_answers(problem, threshold, batch_size):
    net, variables, x = problem
    answer = early_exit(
        model_of(net),
        jf.Point(variables),
        x,
        jax.random.key(0),
        threshold=threshold,
        batch_size=batch_size,
    )
    by_column = columns_of(net, variables, x)
    cost = np.cumsum([net.num_flops(SHAPE, column=c) for c in net.columns])
    for i in range(len(x)):
        sure = [c for c, p in zip(net.columns, by_column) if p[i].max() >= threshold]
        expected = (*sure, 3)[0]
        assert answer.column[i] == expected
        np.testing.assert_allclose(answer.probs[i], by_column[expected - 1][i], rtol=1e-4)
        assert answer.flops[i] == cost[expected - 1]


def test_thresholds_trade_cost_for_depth(problem):
    net, variables, x = problem
    median = np.median(columns_of(net, variables, x)[0].max(-1))
    exits = [
        early_exit(model_of(net), jf.Point(variables), x, jax.random.key(0), threshold=t)
        for t in (0.0, float(median), 1.1)
    ]
    spent = [e.flops.mean() for e in exits]
    assert spent == sorted(spent) and spent[0] < spent[1] < spent[2]
    assert set(exits[0].column) == {1} and set(exits[2].column) == {3}


def test_a_cascade_is_bounded_by_twice_the_deepest():
    # 2 − 2^(1−C) for equal widths, less where the first units are cheaper; the head counts thrice.
    net = jf.FractalNet(10)
    every = sum(net.num_flops((32, 32, 3), column=c) for c in net.columns)
    assert every < 2 * net.num_flops((32, 32, 3), column=3)


def test_arguments_out_of_range_are_refused(problem):
    net, variables, x = problem
    ask = lambda model, threshold=0.5: early_exit(
        model, jf.Point(variables), x, jax.random.key(0), threshold=threshold
    )
    plain = model_of(jf.PlainNet(3, widths=(4,)), global_rate=0)
    with pytest.raises(jf.InputError, match="`model` must have columns to leave early from"):
        ask(plain)
    for model in (net, net.apply, model_of(net, jf.likelihoods.Bernoulli())):
        with pytest.raises(jf.InputError, match="`model` must be of a fractal classifier"):
            ask(model)
    with pytest.raises(jf.InputError, match="`threshold` must be at least 0, got -1"):
        ask(model_of(net), threshold=-1)
    with pytest.raises(jf.InputError, match="`held_out` must hold at least one array"):
        nested_sets([np.full((2, 3), 1 / 3)], [], np.zeros(2, int))
    with pytest.raises(jf.InputError, match=r"`held_out` must hold an array for each .* 2, got 1"):
        nested_sets([np.full((2, 3), 1 / 3)] * 2, [np.full((2, 3), 1 / 3)], np.zeros(2, int))


def test_sets_are_nested_and_cover():
    rng = np.random.default_rng(0)
    n, alpha, missed, ever_grew = 400, 0.2, [], False
    for _ in range(200):
        labels = rng.integers(0, 4, 2 * n)
        columns = []
        for strength in (1.0, 2.0, 3.0):
            logits = rng.normal(0, 1, (2 * n, 4))
            logits[np.arange(2 * n), labels] += strength
            columns.append(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
        sets = nested_sets(
            [p[n:] for p in columns], [p[:n] for p in columns], labels[:n], alpha=alpha
        )
        ever_grew |= any((after & ~before).any() for before, after in pairwise(sets))
        missed.append(1 - sets[-1][np.arange(n), labels[n:]].mean())
    error = np.std(missed) / np.sqrt(len(missed))
    assert not ever_grew
    assert np.mean(missed) < alpha + 4 * error
    assert np.mean(missed) > alpha / 3  # the bound is not idle

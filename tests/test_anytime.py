from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import beta

import jfractal as jf
from jfractal.anytime import early_exit, nested_sets, risk_controlled_threshold

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
    with pytest.raises(jf.InputError, match="`model` must have columns to exit early from"):
        ask(plain)
    for model in (net, net.apply, model_of(net, jf.likelihoods.Bernoulli())):
        with pytest.raises(jf.InputError, match="`model` must be that of a fractal classifier"):
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


def noisy_columns(rng, labels, strengths):
    """Predictions that are the surer, and the more often right, the deeper the column."""
    for strength in strengths:
        logits = rng.normal(0, 1, (len(labels), 3))
        logits[np.arange(len(labels)), labels] += strength
        yield np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def harms(columns, labels, threshold):
    """Whether the column that answers is wrong where the deepest is right, by its definition."""
    for i, label in enumerate(labels):
        sure = [p[i] for p in columns[:-1] if p[i].max() >= threshold]
        answer = (*sure, columns[-1][i])[0]
        yield answer.argmax() != label and columns[-1][i].argmax() == label


@pytest.mark.parametrize("num_columns", [1, 2, 4])
@pytest.mark.parametrize("risk", [0.02, 0.1, 0.3])
def test_the_controlled_threshold_is_the_lowest_that_is_safe_from_it_on(num_columns, risk):
    rng = np.random.default_rng(num_columns)
    labels, n, delta = rng.integers(0, 3, 60), 60, 0.1
    columns = list(noisy_columns(rng, labels, np.linspace(0.5, 3, num_columns)))
    columns = [np.round(p, 1) for p in columns]  # ties
    columns = [np.asarray(p / p.sum(-1, keepdims=True), np.float32) for p in columns]
    got = risk_controlled_threshold(columns, labels, risk=risk, delta=delta)
    expected = np.inf
    for threshold in sorted({p.max() for c in columns[:-1] for p in c}, reverse=True):
        k = sum(harms(columns, labels, threshold))
        if (beta.ppf(1 - delta, k + 1, n - k) if k < n else 1.0) > risk:
            break
        expected = threshold
    assert got == pytest.approx(expected, abs=1e-6)


def test_the_risk_is_controlled_as_often_as_promised():
    rng, risk, delta, trials = np.random.default_rng(0), 0.1, 0.2, 400
    population = rng.integers(0, 3, 3000)
    columns = list(noisy_columns(rng, population, (0.7, 3.0)))
    left_early, violations = [], []
    for _ in range(trials):
        drawn = rng.integers(0, len(population), 150)
        threshold = risk_controlled_threshold(
            [p[drawn] for p in columns], population[drawn], risk=risk, delta=delta
        )
        leaves = columns[0].max(-1) >= threshold
        right, deepest = ((p.argmax(-1) == population) for p in columns)
        violations.append((leaves & ~right & deepest).mean() > risk)
        left_early.append(leaves.mean())
    assert np.mean(violations) < delta + 4 * np.sqrt(delta * (1 - delta) / trials)
    assert np.mean(violations) > 0.02  # the bound is not idle
    assert np.mean(left_early) > 0.2


def test_without_enough_examples_nobody_leaves_early():
    certain, labels = np.eye(3)[np.arange(60) % 3], np.arange(60) % 3
    ask = lambda n: risk_controlled_threshold([certain[:n]] * 2, labels[:n], risk=0.05)
    assert ask(58) == np.inf  # 0.95^58 > 0.05
    assert ask(59) == 1.0


@pytest.mark.parametrize("name", ["risk", "delta"])
@pytest.mark.parametrize("value", [0, 1, -0.1, float("nan")])
def test_levels_of_risk_are_checked(name, value):
    columns, labels = [np.full((2, 3), 1 / 3)] * 2, np.zeros(2, int)
    levels = {"risk": 0.1, "delta": 0.1, name: value}
    with pytest.raises(jf.InputError, match=f"`{name}` must be between 0 and 1, got {value}"):
        risk_controlled_threshold(columns, labels, **levels)

"""The table of bde: its split, its units, and what its chains cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.model_selection import train_test_split

import jfractal as jf
from experiments._fold import Fold, parted
from experiments._mile import MileConfig, mile, num_gradients
from experiments.run import Options, Run
from jfractal.data import TableData


@pytest.mark.parametrize("num_rows", [10, 11, 1503])
def test_the_split_is_the_published_one(num_rows):
    train, test = train_test_split(np.arange(num_rows), test_size=0.2, random_state=0)
    for rows, expected in zip(parted(num_rows, 0.2), (train, test), strict=True):
        np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("judged", ["test", "validation"])
def test_rows_are_in_units_of_those_for_training(judged):
    random = np.random.RandomState(0)
    rows = random.normal(5, 3, (200, 3))
    rows[:, 2] = np.arange(200)  # a target tells its row
    fold = Fold.of(TableData("rows", "rows", rows[:, :2], rows[:, 2]), judged)
    x, y = fold.train
    for part in (x, y):
        np.testing.assert_allclose(part.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(part.std(0), 1, rtol=1e-5)
    number = lambda part: {round(float(value), 4) for value in part[1][:, 0]}
    train, fitted, validation, of_judged = map(number, fold)
    assert fitted | validation == train and not fitted & validation and not train & of_judged
    held_out = 40 if judged == "test" else 32
    assert (len(train), len(of_judged)) == (160 if judged == "test" else 128, held_out)
    if judged == "validation":  # no row of the test is among them
        test = {float(y) for y in rows[parted(200, 0.2)[1], 2]}
        inner = parted(200, 0.2)[0]
        seen = rows[inner, 2]
        assert len(seen) == 160 and not test & {*seen.tolist()}


def test_gradients_are_counted(tmp_path):
    """Two a step, of every chain, warm-up included."""
    model = jf.Model(
        lambda variables, x: x @ variables["params"]["w"],
        prior=jf.priors.Gaussian(1.0),
        likelihood=jf.likelihoods.Gaussian(1.0),
    )
    members = jf.Ensemble(jf.Point({"params": {"w": jnp.zeros((3, 2, 1))}}))
    data = jnp.ones((4, 2)), jnp.ones((4, 1))
    config = MileConfig(num_warmup=7, num_draws=5, thinning=3)
    with Run.open("counting", Options(out=tmp_path / "run"), "the command") as run:
        chains = mile(config, run, "ones", model, data, members, jax.random.key(0))
    assert chains.num_chains == 3
    assert num_gradients(chains) == 3 * 2 * (7 + 5 * 3)

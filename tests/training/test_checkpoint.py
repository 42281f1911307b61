import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal.errors import InputError
from jfractal.training import Checkpoints, TrainState


def state(value):
    params = {"layer": {"kernel": jf.mean_field(jnp.full((3, 2), value)), "bias": jnp.zeros(2)}}
    return TrainState.create({"params": params, "batch_stats": {"m": jnp.ones(2)}}, optax.adam(0.1))


def test_comes_back_bit_for_bit(tmp_path):
    saved = state(1 / 3)
    Checkpoints(tmp_path).save(7, saved)
    restored = Checkpoints(tmp_path).restore(state(0.0))
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    for a, b in zip(jax.tree.leaves(saved), jax.tree.leaves(restored), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_keeps_the_newest(tmp_path):
    checkpoints = Checkpoints(tmp_path, max_to_keep=2)
    for step in (1, 2, 3):
        checkpoints.save(step, state(float(step)))
    assert checkpoints.restore(state(0.0)).params["layer"]["kernel"].mean[0, 0] == 3
    assert {p.name for p in tmp_path.iterdir()} == {"2", "3"}


def test_none_yet(tmp_path):
    assert Checkpoints(tmp_path / "new").restore(state(0.0)) is None


def test_of_another_configuration(tmp_path):
    Checkpoints(tmp_path).save(1, {"kernel": jnp.ones((3, 2))})
    with pytest.raises(InputError, match="another configuration"):
        Checkpoints(tmp_path).restore({"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)})


def test_damaged(tmp_path):
    Checkpoints(tmp_path).save(1, state(1.0))
    for file in (tmp_path / "1").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        Checkpoints(tmp_path).restore(state(0.0))

import jax.numpy as jnp
import pytest

from jfractal import InputError
from jfractal.posterior.leaves import replace, select

TREE = {"b": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}, "a": jnp.ones(())}


def test_what_is_selected_can_be_replaced():
    kernels = select(TREE, lambda path, leaf: leaf.ndim == 2)
    assert list(kernels) == ["b/kernel"] and kernels["b/kernel"] is TREE["b"]["kernel"]
    changed = replace(TREE, {"b/kernel": "new"})
    assert changed == {"b": {"kernel": "new", "bias": TREE["b"]["bias"]}, "a": TREE["a"]}


def test_nothing_is_not_a_selection():
    with pytest.raises(InputError, match=r"\['a', 'b/bias', 'b/kernel'\]"):
        select(TREE, lambda path, leaf: path == "head")

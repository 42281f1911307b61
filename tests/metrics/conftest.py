"""Fixtures of the metrics: both ways to run a function, and what refusal looks like."""

import jax
import pytest
from jaxtyping import TypeCheckError

from jfractal.errors import InputError


@pytest.fixture(params=["eager", "jit"])
def run(request):
    """The function as it is, or compiled."""
    return {"eager": lambda function: function, "jit": jax.jit}[request.param]


@pytest.fixture
def refused():
    """Expects an error naming the argument; under the import hook the annotation speaks first."""
    return lambda name: pytest.raises((InputError, TypeCheckError), match=f"[`']{name}[`']")

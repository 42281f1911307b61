"""As strict as JAX allows: silent rank promotion is an error, and so is any warning.

Shapes and dtypes in annotations are checked at run time where arrays come from users.
"""

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook(
    [
        "jfractal.data",
        "jfractal.likelihoods",
        "jfractal.metrics",
        "jfractal.posterior",
        "jfractal.priors",
    ],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",  # an int is a float
)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)


@pytest.fixture
def getkey():
    """A function that never returns the same key twice within a test."""
    key = jax.random.key(0)

    def next_key():
        nonlocal key
        key, sub = jax.random.split(key)
        return sub

    return next_key

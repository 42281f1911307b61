"""As strict as JAX allows: silent rank promotion is an error, and so is any warning.

Shapes and dtypes in annotations are checked at run time where arrays come from users.
"""

import os

import jax
import jaxlib
import pytest
from jaxtyping import install_import_hook

# To compile a test takes longer than to run it, and to optimise is most of that: without, the
# tests take four tenths of the time. What XLA_FLAGS says itself comes last and wins.
QUICK_TO_COMPILE = [
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_parallel_codegen_split_count=1",
]
if jaxlib.version.__version_info__ < (0, 11):  # newer ones die of a flag they do not know
    QUICK_TO_COMPILE.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([*QUICK_TO_COMPILE, os.environ.get("XLA_FLAGS", "")])

install_import_hook(
    ["jfractal.data", "jfractal.metrics", "jfractal.posterior"],
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

"""As strict as JAX allows: silent rank promotion is an error, and so is any warning.

Shapes and dtypes in annotations are checked at run time where arrays come from users.
"""

import gc
import signal
from pathlib import Path

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


MAX_MAPS = 20_000  # of the 65,530 that Linux gives a process


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """Compiled programs go before a process has as many as it can map: LLVM would crash."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > MAX_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C raises, even where a shell started the tests in the background, deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def nan_on_purpose(request):
    """Where JAX is to stop at every NaN, a test that makes one says so."""
    with jax.debug_nans(jax.config.jax_debug_nans and "nan" not in request.keywords):
        yield


@pytest.fixture
def getkey():
    """A function that never returns the same key twice within a test."""
    key = jax.random.key(0)

    def next_key():
        nonlocal key
        key, sub = jax.random.split(key)
        return sub

    return next_key

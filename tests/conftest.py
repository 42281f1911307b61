"""As strict as JAX allows: silent rank promotion is an error, and so is any warning.

Shapes and dtypes in annotations are checked at run time where arrays come from users.
"""

import gc
import shutil
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


MAX_MAPS = 30_000  # of the 65,530 that Linux gives a process; one test adds up to 10,000


@pytest.fixture(autouse=True)
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


BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; without one, or without playwright, what needs it is skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"there is no browser: {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def getkey():
    """A function that never returns the same key twice within a test."""
    key = jax.random.key(0)

    def next_key():
        nonlocal key
        key, sub = jax.random.split(key)
        return sub

    return next_key

"""No call with one spoiled argument ends in nonsense or in somebody else's traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.spoiled import TABLES
from tests.spoiled.public import public_callables

ROOT = Path(__file__).parent.parent
LEAST = 3000  # spoiled calls, all tables together
UNSPOILED = {
    # What functions return, and nobody makes:
    "jfractal.Fit",
    "jfractal.anytime.EarlyExit",
    "jfractal.data.ImageData",
    "jfractal.data.TableData",
    "jfractal.data.TextData",
    "jfractal.inference.Diagnosis",
    "jfractal.inference.Elbo",
    "jfractal.metrics.BrierParts",
    "jfractal.metrics.Estimate",
    "jfractal.metrics.Interval",
    "jfractal.metrics.MixtureMoments",
    "jfractal.metrics.Reliability",
    "jfractal.ops.Normalized",
    "jfractal.ops.Precision",
    "jfractal.reference.Reference",
    "jfractal.training.History",
    # A plain container, spoiled as an argument of `predictive_bands`:
    "jfractal.viz.Band",
    # A layer of Flax with another operation, and the part of a net of blocks:
    "jfractal.nn.Conv",
    "jfractal.nn.Block",
    # What shows a person how far work is, for the package and the experiments:
    "jfractal.progress.Progress",
    "jfractal.progress.bar",
    "jfractal.progress.doing",
    "jfractal.progress.every",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each table found, from one process in which nothing checks annotations."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", "tests.spoiled", *TABLES],
        cwd=tmp_path_factory.mktemp("spoiled"),  # some of the spoiled paths are written
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return {found["table"]: found for found in map(json.loads, run.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_each_spoiled_argument_is_refused_by_name_or_makes_sense(outcomes, table):
    assert not outcomes[table]["faults"], "\n".join(outcomes[table]["faults"])


@pytest.mark.slow
def test_there_are_enough_of_them(outcomes):
    assert sum(found["calls"] for found in outcomes.values()) >= LEAST


@pytest.mark.slow
def test_every_public_callable_is_in_a_table(outcomes):
    """All that a user can call with a wrong argument, but what is named above."""
    spoiled = {name for found in outcomes.values() for name in found["names"]}
    assert set(public_callables()) - spoiled == UNSPOILED

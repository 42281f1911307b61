"""``--train.precision auto``: what is taken, and what is written of it."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import _nets as nets
from experiments import _routes as routes
from experiments._descent import TrainConfig
from experiments.cifar_fractal import PRESETS
from jfractal.errors import InputError
from jfractal.ops import half
from jfractal.ops.processor import Processor

LOSSES = {"net": "net", "epoch": 1.0, "loss": 2.0, "validation/accuracy/whole net": 0.5}


class Log:
    """What a run keeps of its rows."""

    def __init__(self):
        self.all = []

    def log(self, row):
        self.all.append(dict(row))

    def rows(self, **of):
        return [row for row in self.all if of.items() <= row.items()]


@pytest.fixture
def log():
    return Log()


def chosen(log, width=8):
    config = PRESETS["quick"].but(model={"widths": (width,)}, train={"precision": "auto"})
    net = nets.fractal_net(config, 10)
    assert net.dtype == jnp.float32  # in which it is tested
    method = nets.method_of(config, None, net.clone(dtype=jnp.bfloat16), 100)
    example = np.zeros((1, 16, 16, 3), np.float32)
    return nets._faster(log, "net", method, net.clone(dtype=jnp.bfloat16), example, 4)


@pytest.mark.parametrize(
    ("arithmetic", "width", "dtype"),
    [("amx_bf16", 64, "bfloat16"), ("amx_bf16", 8, "float32"), ("avx2", 64, "float32")],
)
def test_auto_is_the_faster_for_this_net_on_this_processor(
    log, monkeypatch, arithmetic, width, dtype
):
    monkeypatch.setattr(half, "processor", lambda: Processor("some processor", arithmetic))
    assert chosen(log, width) == jnp.dtype(dtype)
    assert [row["dtype"] for row in log.rows(precision_of="net")] == [dtype]


def test_a_run_that_goes_on_stays_in_its_precision(log):
    log.log({"precision_of": "net", "dtype": "bfloat16", "reason": "the other machine had units"})
    assert chosen(log) == jnp.bfloat16
    assert len(log.all) == 1


def test_the_report_says_which_and_why(log):
    log.log(LOSSES)
    assert "computed in" not in routes.training_section(log).text
    log.log({"precision_of": "net", "dtype": "float32", "reason": "3 % of them"})
    text = routes.training_section(log).text
    assert text.endswith("The net computed in float32: 3 % of them.")


def test_other_precisions_are_refused_in_a_sentence():
    with pytest.raises(InputError, match=r"`precision` must be one of .*'auto', got 'float16'"):
        TrainConfig(precision="float16")  # pyright: ignore[reportArgumentType]

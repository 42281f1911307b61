"""Training steps of nets, ready to be timed: each call is one step and waits for it."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jfractal as jf
from jfractal import ops
from jfractal.nn import BlockNet
from jfractal.typing import Array

__all__ = [
    "ACCELERATOR",
    "CPU",
    "NUM_CLASSES",
    "SGD",
    "TINY",
    "Scale",
    "Training",
    "bayesian",
    "deterministic",
    "fractal_net",
    "images",
    "model_of",
]

NUM_CLASSES = 10
NUM_DATA = 50_000  # which the KL is spread over
SGD = optax.sgd(1e-3, momentum=0.9, nesterov=True)

Batch = tuple[Array, Array]


@dataclass(frozen=True)
class Scale:
    """How large the nets are that are measured, and in what precision they compute.

    Attributes:
        widths: Channels of each block of the net that most rows measure.
        paper_widths: Those of the net that stands for the paper's.
        batch: Images in a training step.
        num_images: Images in a prediction.
        matrix: Side of the matrices whose product shows what arithmetic rate can be had.
        dtype: Of all computation; weights are float32.
        budget: Seconds of a row, beyond which no round of its runs begins.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    paper_widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    batch: int = 32
    num_images: int = 256
    matrix: int = 2048
    dtype: Any = jnp.float32
    budget: float = 10


CPU = Scale()
ACCELERATOR = Scale(
    widths=CPU.paper_widths, batch=256, num_images=1024, matrix=8192, dtype=jnp.bfloat16, budget=3
)
TINY = Scale((4, 8), (8, 8), batch=4, num_images=8, matrix=128, dtype=jnp.bfloat16, budget=0)


def fractal_net(
    scale: Scale, conv: Any = jf.nn.Conv, *, widths: tuple[int, ...] | None = None, **options: Any
) -> BlockNet:
    """A fractal net of this scale, whose weights are Gaussian if the convolution's are."""
    conv = partial(conv, dtype=scale.dtype)
    return jf.FractalNet(NUM_CLASSES, conv=conv, widths=widths or scale.widths, **options)


def images(num: int, size: int = 32) -> Batch:
    """Noise, standardised, and labels: arithmetic takes as long on any images."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num, size, size, 3)).astype(np.float32)
    return jax.device_put((x, rng.integers(NUM_CLASSES, size=num)))


def model_of(
    net: BlockNet, prior: jf.priors.Prior, *, drop_path: float = 0.0, route: int = 0
) -> jf.FractalModel:
    """The net along one route: 0 for the whole net, or one column alone."""
    likelihood = jf.likelihoods.Categorical()
    model = jf.fractal_model(net, prior=prior, likelihood=likelihood, drop_path=drop_path)
    return replace(model, route=route)


def deterministic(
    net: BlockNet,
    *,
    drop_path: float = 0.0,
    route: int = 0,
    optimizer: optax.GradientTransformation = SGD,
) -> jf.Method:
    """Maximum likelihood."""
    model = model_of(net, jf.priors.Flat(), drop_path=drop_path, route=route)
    return jf.maximum_a_posteriori(model, optimizer)


def bayesian(net: BlockNet, *, optimizer: optax.GradientTransformation = SGD) -> jf.Method:
    """Bayes by Backprop."""
    return jf.variational(model_of(net, jf.priors.Gaussian(0.1)), optimizer)


class Training:
    """A method at work; calling it takes one step on the same batch."""

    def __init__(self, method: jf.Method, net: Any, batch: Batch):
        self.key, self.batch = jax.random.key(0), batch
        start = lambda key: net.init(key, batch[0][:1])
        self.state = jax.jit(lambda key: method.init(start, key))(self.key)
        step = lambda state, batch, key: method.update(state, batch, key, NUM_DATA)[0]
        self.step = ops.jit(step, donate_argnums=0)

    def __call__(self) -> None:
        self.state = jax.block_until_ready(self.step(self.state, self.batch, self.key))

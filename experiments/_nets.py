"""Fractal nets as the experiments take them: their settings, their model, their training."""

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import optax

import jfractal as jf
from experiments import _images as images
from experiments._images import DataConfig, Examples
from experiments._routes import classify, routes_of
from experiments.run import Options, Run
from jfractal import metrics
from jfractal.nn import BlockNet
from jfractal.posterior.gaussian import Estimator
from jfractal.typing import Variables

CALIBRATION = 250  # examples in a batch that batch statistics are measured on


@dataclass(frozen=True)
class ModelConfig:
    """The fractal net."""

    columns: int = 3
    """Columns C of every block; the longest path of a block has 2^(C-1) convolutions."""
    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    """Channels of each block."""
    norm: Literal["batch", "batch_shared", "frn", "group", "layer", "none"] = "batch"
    """Normalisation in the units."""
    dropout: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """Dropout rate of each block."""
    drop_path_per: Literal["batch", "example"] = "batch"
    """Local drop-path: one draw for the whole batch (the paper's) or one for each example, which
    is the same average over sub-networks with less noise in the gradient of a large batch."""
    kernel_init: Literal["he", "aligned"] = "aligned"
    """he: every kernel at random; aligned: all columns start as nearly the same function, so that
    a short run does not spend itself on making them agree."""


@dataclass(frozen=True)
class PosteriorConfig:
    """The mean-field posterior of a Bayesian net."""

    estimator: Estimator = "reparam"
    """How weights are drawn in training."""
    scale: float = 0.02
    """Initial standard deviation of every weight."""
    prior_scale: float = 0.1
    """Standard deviation of the Gaussian prior."""
    kl_weight: float = 0.003
    """Factor of the KL, the temperature of the posterior: 1 is Bayes, below 1 is colder."""
    num_samples: int = 16
    """Draws of the weights for a prediction."""


@dataclass(frozen=True)
class TrainConfig:
    """Stochastic optimisation with drop-path."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    """sgd: with Nesterov momentum; adam: for weights of very different gradients."""
    num_epochs: int = 8
    """Passes over the training examples."""
    batch_size: int = 32
    """Examples in a batch."""
    learning_rate: float = 0.02
    """Highest learning rate."""
    schedule: Literal["one_cycle", "halving"] = "one_cycle"
    """one_cycle: linearly up for a fifth of the steps, then linearly to 0; halving: a tenth
    whenever the remaining epochs halve (the paper's)."""
    momentum: float = 0.9
    """Nesterov momentum of sgd."""
    weight_decay: float = 5e-4
    """L2 penalty of the kernels, added to the gradient."""
    local_rate: float = 0.15
    """Drop-path: probability of dropping a join input while the whole net runs."""
    routes: Literal["sampled", "two_pass", "partitioned"] = "sampled"
    """How columns are trained: sampled: some steps run one random column alone (the paper's
    text); two_pass: every batch runs the whole net and all columns (the authors' code; twice the
    cost); partitioned: half of each batch runs the whole net, the rest is shared by the columns."""
    global_rate: float = 0.5
    """Drop-path: share of the lone columns in the loss."""
    num_devices: int = 1
    """Devices that share each batch."""
    log_every: int = 20
    """Steps between two rows of metrics."""


@dataclass(frozen=True)
class NetConfig(Options):
    """Settings that every experiment with a fractal classifier has."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The net."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """The optimisation."""


@dataclass(frozen=True)
class Config(NetConfig):
    """Settings that every image experiment has."""

    data: DataConfig = field(default_factory=DataConfig)
    """The images."""


# The published training of the 20-layer net.
PAPER = Config(
    preset="paper",
    data=images.PAPER,
    model=ModelConfig(
        widths=(64, 128, 256, 512, 512), dropout=(0.0, 0.1, 0.2, 0.3, 0.4), kernel_init="he"
    ),
    train=TrainConfig(
        num_epochs=400, batch_size=100, learning_rate=0.02, schedule="halving", weight_decay=1e-4
    ),
)

# As small as a run can be that still takes every turn.
QUICK = Config(
    quick=True,
    data=images.QUICK,
    model=ModelConfig(columns=2, widths=(4,), dropout=(0.0,)),
    train=TrainConfig(num_epochs=2, batch_size=50, log_every=1),
)


def fractal_net(config: ModelConfig, num_classes: int) -> BlockNet:
    """The deterministic net."""
    return jf.FractalNet(num_classes, **asdict(config))


def bayes_fractal_net(
    config: ModelConfig, posterior: PosteriorConfig, num_classes: int
) -> BlockNet:
    """The same net with a Gaussian for every weight of its convolutions and its dense layer."""
    conv = partial(jf.BayesConv, scale=posterior.scale, estimator=posterior.estimator)
    return jf.FractalNet(num_classes, conv=conv, **asdict(config))


def model_of(config: NetConfig, net: Any, prior: jf.priors.Prior | None = None) -> jf.FractalModel:
    """The model of a net by its routes; without a prior, weight decay is the optimizer's."""
    return jf.fractal_model(
        net,
        prior=jf.priors.Flat() if prior is None else prior,
        likelihood=jf.likelihoods.Categorical(),
        routes=config.train.routes,
        global_rate=config.train.global_rate,
        drop_path=config.train.local_rate,
    )


def deterministic(config: NetConfig, net: Any, num_examples: int) -> jf.Method:
    """Maximum likelihood with weight decay."""
    steps = num_steps(config.train, num_examples)
    return jf.maximum_a_posteriori(model_of(config, net), optimizer(config.train, steps))


def mean_field(
    config: NetConfig, posterior: PosteriorConfig, net: Any, num_examples: int
) -> jf.Method:
    """Bayes by Backprop."""
    model = model_of(config, net, jf.priors.Gaussian(posterior.prior_scale))
    steps = num_steps(config.train, num_examples)
    return jf.variational(model, optimizer(config.train, steps), kl_weight=posterior.kl_weight)


def num_steps(config: TrainConfig, num_examples: int) -> int:
    """Steps of a training."""
    return max(config.num_epochs * (num_examples // max(config.batch_size, 1)), 1)


def optimizer(config: TrainConfig, steps: int) -> optax.GradientTransformation:
    """The optimiser with its schedule over so many steps; weight decay on the kernels only."""
    if not config.learning_rate > 0:
        raise jf.InputError(f"`learning_rate` must be above 0, got {config.learning_rate}")
    if config.schedule == "one_cycle":
        rise = max(steps // 5, 1)
        up = optax.linear_schedule(config.learning_rate / 10, config.learning_rate, rise)
        down = optax.linear_schedule(config.learning_rate, 0.0, max(steps - rise, 1))
        schedule = optax.join_schedules([up, down], [rise])
    else:
        drops = {int(steps * (1 - 0.5**k)): 0.1 for k in (1, 2, 3, 4)}
        schedule = optax.piecewise_constant_schedule(config.learning_rate, drops)
    descent = {
        "sgd": optax.sgd(schedule, config.momentum, nesterov=True),
        "adam": optax.adam(schedule),
    }
    decay = optax.add_decayed_weights(config.weight_decay, mask=_kernels)
    # The authors count the columns beside the whole net, ours is the mean: half of theirs.
    scale = optax.scale(2.0 if config.routes == "two_pass" else 1.0)
    return optax.chain(scale, decay, descent[config.optimizer])


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def train(
    config: NetConfig,
    run: Run,
    method: jf.Method,
    net: Any,
    split: Examples,
    *,
    name: str = "net",
) -> Any:
    """Trains a net, or continues where its last checkpoint left off.

    Logs the loss and, after each epoch, validation figures of the whole net (its means, if it is
    Bayesian) and of every column.

    Returns:
        The posterior.
    """
    examples, labels = split.validation

    def validate(posterior: Any) -> dict[str, float]:
        point = jf.Point({**posterior.sample(jax.random.key(0)), "params": posterior.mean()})
        row = {}
        for route, apply in routes_of(net).items():
            prediction = classify(apply, point, split, examples, num_samples=1)
            row[f"accuracy/{route}"] = float(metrics.accuracy(prediction.probs, labels))
            row[f"nll/{route}"] = float(metrics.nll(prediction.log_probs, labels))
        return row

    key_init, key_fit = jax.random.split(jax.random.key(config.seed))
    example = split.standardise(split.train[0][:1])
    return run.fit(
        method,
        jax.jit(net.init)(key_init, example),
        split.train,
        key_fit,
        name=name,
        num_epochs=config.train.num_epochs,
        batch_size=config.train.batch_size,
        augment=split.augment,
        validation=validate,
        log_every=config.train.log_every,
        mesh=mesh(config.train.num_devices),
    ).posterior


def mesh(num_devices: int) -> jax.sharding.Mesh | None:
    """Devices that share each batch."""
    count = jax.device_count()
    if not 1 <= num_devices <= count:
        raise jf.InputError(
            f"`num_devices` must be between 1 and {count}, all there are, got {num_devices}"
        )
    return None if num_devices == 1 else jax.make_mesh((num_devices,), ("data",))


def recalibrated(
    net: Any, variables: Variables, split: Examples, *, routes: Any, num_batches: int = 40
) -> Variables:
    """Batch statistics of these routes measured anew, with nothing dropped; others stay.

    Running averages of the whole net come from batches that had paths dropped, and fit a net
    without dropping badly unless its columns are much alike.
    """
    if "batch_stats" not in variables:
        return variables
    examples = split.train[0]
    size = min(CALIBRATION, len(examples))
    starts = range(0, len(examples) - size + 1, size)[:num_batches]
    batches = (split.standardise(examples[start : start + size]) for start in starts)
    return jf.training.recalibrate(net.apply, variables, batches, routes=routes)

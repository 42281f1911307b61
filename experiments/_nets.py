"""Fractal nets of the experiments: their settings, their model, their training."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

import jfractal as jf
from experiments._descent import TrainConfig, num_steps, optimizer
from experiments._images import DataConfig, Examples
from experiments._routes import classify, routes_of
from experiments.ranges import Columns, Count, NotNegative, Positive, Rate, Some
from experiments.run import Options, Run
from experiments.settings import Settings, require
from jfractal import metrics
from jfractal.nn import BlockNet
from jfractal.posterior.gaussian import Estimator
from jfractal.progress import doing
from jfractal.typing import Variables

CALIBRATION = 250  # examples in a batch that batch statistics are measured on


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The fractal net."""

    columns: Columns = 3  # Columns C of a block; its longest path has 2^(C-1) convolutions.
    widths: Some[Count] = (16, 32, 64, 128, 128)  # Channels of each block.
    # Normalisation in the units.
    norm: Literal["batch", "batch_shared", "frn", "group", "layer", "none"] = "batch"
    dropout: tuple[Rate, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)  # Dropout rate of each block.
    # Local drop-path: one draw for the whole batch (the paper's) or one for each example, which is
    # the same average over sub-networks with less noise in the gradient of a large batch.
    drop_path_per: Literal["batch", "example"] = "batch"
    # he: every kernel at random; aligned: all columns start as nearly the same function, so that a
    # short run does not spend itself on making them agree.
    kernel_init: Literal["he", "aligned"] = "aligned"

    def __post_init__(self):
        super().__post_init__()
        require(
            len(self.dropout) == len(self.widths),
            f"`dropout` must be one rate for each of {len(self.widths)} blocks, got {self.dropout}",
        )


@dataclass(frozen=True)
class PosteriorConfig(Settings):
    """The mean-field posterior of a Bayesian net."""

    # variational: Bayes by Backprop; ivon: the variational online Newton method.
    method: Literal["variational", "ivon"] = "variational"
    estimator: Estimator = "reparam"  # How weights are drawn in training, by variational.
    scale: Positive = 0.02  # Initial standard deviation of every weight, by variational.
    # Learning rate of the standard deviations, as a multiple of that of the means by Adam.
    std_rate: Positive = 1.0
    ivon_rate: Positive = 0.1  # Highest learning rate of ivon, falling to 0 along a cosine.
    hessian_init: Positive = 0.1  # Hessian that ivon starts from.
    prior_scale: Positive = 0.1  # Standard deviation of the Gaussian prior.
    # Factor of the KL, the temperature of the posterior: 1 is Bayes, below 1 is colder.
    kl_weight: NotNegative = 0.003
    num_samples: Count = 16  # Draws of the weights for a prediction.

    def start_std(self, num_examples: int) -> float:
        """The standard deviation that every weight starts from."""
        if self.method == "variational":
            return self.scale
        precision = num_examples / self.kl_weight * self.hessian_init + self.prior_scale**-2
        return precision**-0.5


DIGITS = TrainConfig(
    optimizer="adam",
    num_epochs=24,
    batch_size=50,
    learning_rate=3e-3,
    weight_decay=0.0,
    log_every=5,
)
"""Settings for scikit-learn's digits, in a minute."""


@dataclass(frozen=True)
class NetConfig(Options):
    """Settings that every experiment with a fractal classifier has."""

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    def __post_init__(self):
        super().__post_init__()
        if self.train.routes == "partitioned":
            check_parts(self)


def check_parts(config: NetConfig) -> None:
    """Checks that the columns can share a batch."""
    columns, batch = config.model.columns, config.train.batch_size
    require(
        batch % columns == 0,
        f"`batch_size` must be a multiple of the {columns} columns, which share every batch, got "
        f"{batch}",
    )


@dataclass(frozen=True)
class Config(NetConfig):
    """Settings that every image experiment has."""

    data: DataConfig = DataConfig()

    def __post_init__(self):
        super().__post_init__()
        if (kept := self.data.num_train) is not None:
            most, got = kept - min(self.data.num_validation, kept // 5), self.train.batch_size
            require(got <= most, f"`batch_size` must be at most {most}, all images, got {got}")


# What the published training of the 20-layer net changes.
PAPER_DATA = {"num_train": None, "num_validation": 5000}
PAPER_TRAIN = {
    "num_epochs": 400,
    "batch_size": 100,
    "learning_rate": 0.02,
    "schedule": "halving",
    "weight_decay": 1e-4,
}
PAPER_WIDTHS = (64, 128, 256, 512, 512)
PAPER_MODEL = {"widths": PAPER_WIDTHS, "dropout": (0.0, 0.1, 0.2, 0.3, 0.4), "kernel_init": "he"}
PAPER = {"data": PAPER_DATA, "model": PAPER_MODEL, "train": PAPER_TRAIN}

# What trains a net in minutes; chosen on validation images, see `experiments.cifar_fractal`.
RECIPE = {
    "data": {"shift": 2, "border": "reflect", "whitening": 32},
    "model": {"widths": (32, 64, 128), "dropout": (0.0, 0.0, 0.0)},
    "train": {
        "optimizer": "muon",
        "num_epochs": 10,
        "batch_size": 120,
        "learning_rate": 0.05,
        "weight_decay": 0.05,
        "label_smoothing": 0.2,
        "routes": "partitioned",
        "distillation": 0.5,
        "global_rate": 0.5,
        "local_rate": 0.05,
    },
}

# What it takes to train many nets by it.
SMALL = {
    "data": {"num_train": 22_500},
    "model": {"widths": (16, 32, 64)},
    "train": {"num_epochs": 3},
}
ALONE = {"routes": "sampled", "distillation": 0.0, "local_rate": 0.0, "global_rate": 0.0}
"""How a net is trained that has no columns, or whose columns are not used."""

# As small as a run can be that still takes every turn.
QUICK = {
    "data": {"num_train": 250, "num_test": 100, "num_validation": 50},
    "model": {"columns": 2, "widths": (4,), "dropout": (0.0,)},
    "train": {"num_epochs": 2, "batch_size": 48, "log_every": 1},
}


def options(config: NetConfig, posterior: PosteriorConfig | None = None) -> dict[str, Any]:
    """The options of `jfractal.nn.block_net` for all nets; with a posterior, of a Bayesian net."""
    dtype = jnp.bfloat16 if config.train.precision == "bfloat16" else jnp.float32
    settings = asdict(config.model) | {"dtype": dtype}
    del settings["columns"]
    if posterior is None or posterior.method == "ivon":  # which draws every weight by itself
        return settings
    conv = partial(jf.BayesConv, scale=posterior.scale, estimator=posterior.estimator)
    return settings | {"conv": conv}


def fractal_net(
    config: NetConfig, num_classes: int, posterior: PosteriorConfig | None = None
) -> BlockNet:
    """The net; with a posterior, a Gaussian for every weight of its convolutions and its head."""
    columns = config.model.columns
    return jf.FractalNet(num_classes, columns=columns, **options(config, posterior))


def model_of(config: NetConfig, net: Any, prior: jf.priors.Prior | None = None) -> jf.FractalModel:
    """The model of a net by its routes; without a prior, weight decay is the optimizer's."""
    return jf.fractal_model(
        net,
        prior=jf.priors.Flat() if prior is None else prior,
        likelihood=jf.likelihoods.Categorical(smoothing=config.train.label_smoothing),
        routes=config.train.routes,
        global_rate=config.train.global_rate,
        drop_path=config.train.local_rate,
        distillation=config.train.distillation,
    )


def method_of(
    config: NetConfig, posterior: PosteriorConfig | None, net: Any, num_examples: int
) -> jf.Method:
    """Maximum likelihood with weight decay; with a posterior, Bayes by Backprop or IVON."""
    steps = num_steps(config.train, num_examples)
    if posterior is None:
        return jf.maximum_a_posteriori(model_of(config, net), optimizer(config.train, steps))
    model = model_of(config, net, jf.priors.Gaussian(posterior.prior_scale))
    if posterior.method == "ivon":
        return jf.ivon(
            model,
            learning_rate=optax.cosine_decay_schedule(posterior.ivon_rate, steps),
            hessian_init=posterior.hessian_init,
            kl_weight=posterior.kl_weight,
        )
    descent = optimizer(config.train, steps, std_rate=posterior.std_rate)
    return jf.variational(model, descent, kl_weight=posterior.kl_weight)


def train(
    config: NetConfig,
    run: Run,
    net: Any,
    split: Examples,
    *,
    name: str = "net",
    posterior: PosteriorConfig | None = None,
) -> Any:
    """Trains a net, or continues where its last checkpoint left off.

    Logs the loss and, after each epoch, validation figures of the whole net (its means, if it is
    Bayesian) and of every column.

    Returns:
        The posterior; its ``variables`` are those of the trained net.
    """
    examples, labels = split.validation

    def validate(posterior: Any) -> dict[str, float]:
        point = jf.Point({**posterior.sample(jax.random.key(0)), "params": posterior.mean()})
        row = {}
        for route, of in routes_of(net).items():
            prediction = classify(of.apply, point, split, examples, num_samples=1)
            row[f"accuracy/{route}"] = float(metrics.accuracy(prediction.probs, labels))
            row[f"nll/{route}"] = float(metrics.nll(prediction.log_probs, labels))
        return row

    key_init, key_fit = jax.random.split(jax.random.key(config.seed))
    example = split.standardise(split.train[0][:1])
    if config.train.precision == "auto":
        half = net.clone(dtype=jnp.bfloat16)
        method = method_of(config, posterior, half, len(split.train[0]))
        net = net.clone(dtype=_faster(run, name, method, half, example, config.train.batch_size))
    return run.fit(
        method_of(config, posterior, net, len(split.train[0])),
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


def _faster(run: Run, name: str, half: jf.Method, net: Any, example: Any, batch: int) -> Any:
    """The type in which a net trains the faster; the log says which, and why.

    Args:
        run: A run that is continued stays with its type.
        name: Of the net.
        half: The method, with the net in bfloat16.
        net: The net in bfloat16.
        example: One example.
        batch: Examples in a step.
    """
    if not run.rows(precision_of=name):
        key = jax.random.key(0)
        state = jax.eval_shape(lambda key: half.init(net.init(key, example), key), key)
        x = jax.ShapeDtypeStruct((batch, *example.shape[1:]), example.dtype)
        y = jax.ShapeDtypeStruct((batch,), jnp.int32)
        step = lambda state, x, y: half.update(state, (x, y), key)
        run.log({"precision_of": name, **jf.ops.faster_precision(step, state, x, y)._asdict()})
    return jnp.dtype(run.rows(precision_of=name)[0]["dtype"])


def mesh(num_devices: int) -> jax.sharding.Mesh | None:
    """Devices that share each batch."""
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
    with doing("measuring batch statistics"):
        return jf.training.recalibrate(net.apply, variables, batches, routes=routes)

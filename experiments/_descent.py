"""Stochastic gradient descent in the experiments: its settings, its steps, its optimiser."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import optax

from experiments.ranges import Count, Fraction, NotNegative, Positive, Precision, Rate
from experiments.settings import Settings, require


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Stochastic optimisation with drop-path."""

    # sgd: with Nesterov momentum; adam: for weights of very different gradients; muon: steps of
    # convolutions are orthogonal matrices, the other weights go by adam.
    optimizer: Literal["sgd", "adam", "muon"] = "sgd"
    num_epochs: Count = 8  # Passes over the training examples.
    batch_size: Count = 32  # Examples in a batch.
    # In which the net computes, its weights are float32 in any case. auto: the faster for this net
    # on this processor; the report says which and why.
    precision: Literal[Precision, "auto"] = "float32"
    learning_rate: Positive = 0.02  # Highest learning rate.
    # one_cycle: linearly up for a fifth of the steps, then linearly to 0; halving: a tenth whenever
    # the remaining epochs halve (the paper's).
    schedule: Literal["one_cycle", "halving"] = "one_cycle"
    momentum: Rate = 0.9  # Nesterov momentum of sgd and muon.
    # L2 penalty of the kernels, added to the gradient; with muon, decay of the convolutions, which
    # is not.
    weight_decay: NotNegative = 5e-4
    label_smoothing: Fraction = 0.0  # Share of every label that goes to all classes alike.
    # Drop-path: probability of dropping a join input while the whole net runs.
    local_rate: Rate = 0.15
    # How columns are trained. sampled: some steps run one random column alone (the paper's text);
    # two_pass: every batch runs the whole net and all columns (the authors' code; twice the cost);
    # partitioned: every batch runs the whole net, and each column an equal part of it.
    routes: Literal["sampled", "two_pass", "partitioned"] = "sampled"
    # Share of the whole net's prediction in the targets of the columns; 0 where routes are sampled.
    distillation: Fraction = 0.0
    global_rate: Fraction = 0.5  # Drop-path: share of the lone columns in the loss.
    num_devices: Count = 1  # Devices that share each batch.
    log_every: Count = 20  # Steps between two rows of metrics.

    def __post_init__(self):
        super().__post_init__()
        require(
            self.distillation == 0 or self.routes != "sampled",
            "`distillation` must be 0 where `routes` are sampled, whose columns run without the "
            f"whole net, got {self.distillation}",
        )
        if self.num_devices > 1:  # only then is JAX asked, which starts it
            require(
                self.num_devices <= jax.device_count(),
                f"`num_devices` must be between 1 and {jax.device_count()}, all there are, "
                f"got {self.num_devices}",
            )


def num_steps(config: TrainConfig, num_examples: int) -> int:
    """Steps of a training."""
    return max(config.num_epochs * (num_examples // config.batch_size), 1)


def optimizer(
    config: TrainConfig, steps: int, *, std_rate: float = 1.0
) -> optax.GradientTransformation:
    """The optimiser with its schedule over so many steps; weight decay on the kernels only.

    Args:
        config: The settings.
        steps: Steps of the training.
        std_rate: Factor of the steps of standard deviations, where weights are Gaussians.
    """
    if config.schedule == "one_cycle":
        rise = max(steps // 5, 1)
        up = optax.linear_schedule(config.learning_rate / 10, config.learning_rate, rise)
        down = optax.linear_schedule(config.learning_rate, 0.0, max(steps - rise, 1))
        schedule = optax.join_schedules([up, down], [rise])
    else:
        drops = {int(steps * (1 - 0.5**k)): 0.1 for k in (1, 2, 3, 4)}
        schedule = optax.piecewise_constant_schedule(config.learning_rate, drops)
    if std_rate != 1:
        faster = optax.masked(optax.scale(std_rate), _stds)
        return optax.chain(optimizer(config, steps), faster)
    if config.optimizer == "muon":
        return _muon(config, schedule)
    descent = {
        "sgd": optax.sgd(schedule, config.momentum, nesterov=True),
        "adam": optax.adam(schedule),
    }
    decay = optax.add_decayed_weights(config.weight_decay, mask=_kernels)
    # The authors count the columns beside the whole net, ours is the mean: half of theirs.
    scale = optax.scale(2.0 if config.routes == "two_pass" else 1.0)
    return optax.chain(scale, decay, descent[config.optimizer])


ADAM = 0.2  # learning rate of norms and head, as a share of that of the convolutions by muon


def _muon(config: TrainConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.contrib.muon(
        schedule,
        beta=config.momentum,
        weight_decay=config.weight_decay,
        muon_weight_dimension_numbers=_matrices,
        adam_learning_rate=lambda count: ADAM * schedule(count),
    )


def _matrices(params: Any) -> Any:
    """Which axes of a convolution, or of its means, are its inputs, and which its outputs."""
    matrix = lambda ndim: optax.contrib.MuonDimensionNumbers(tuple(range(ndim - 1)), ndim - 1)
    return jax.tree.map(
        lambda leaf, is_std: matrix(leaf.ndim) if leaf.ndim > 2 and not is_std else None,
        params,
        _stds(params),
    )


def _stds(params: Any) -> Any:
    """Which arrays are parameters of standard deviations."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: getattr(path[-1], "name", None) == "rho", params
    )


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

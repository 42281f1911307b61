"""How far are cheap posteriors on CIFAR-10 from full-batch HMC, by its published predictions?

Izmailov et al. (ICML 2021) sampled the weights of a ResNet-20 by HMC on 512 TPU cores and published
what all draws together predict for the test images. Here cheap posteriors of a ResNet-20 and of a
small fractal net stand beside that table by agreement (how often both predict the same class) and
total variation. As there, the prior is N(0, 1/5), there is no augmentation and norms are
filter-response. Other than there, the ResNet has no convolution before its blocks, ReLU for swish,
no ReLU behind its sums, max-pools for strides, and a laptop trains on a fifth of the images. The
table is that of their net on all of their images: distances are of the net and of the data, too.

MAP is the first member of the ensemble; all others go on from it, as their mean field does. Laptop:
an hour on two cores of 50 GFLOP/s together, by the operations of the nets: 165 TFLOP, half of them
for the members. The laptop preset has not been run yet, and no setting was tuned.

    make experiment NAME=cifar_hmc
    make experiment NAME=cifar_hmc ARGS="--preset paper"    # all of their images; needs a GPU
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from experiments import report
from experiments._from_member import METHODS, FitConfig, Fits, num_passes
from experiments._hmc_table import CIFAR10, with_table
from experiments._methods import computed_in
from experiments._perceptron import classifier, predict, start
from experiments._routes import scores
from experiments.ranges import Choices, Columns, Count, OneOf, Positive, Some
from experiments.report import Outcome, Section, lowest
from experiments.rows import Rows, intervals
from experiments.run import Options, Run
from experiments.settings import Settings, SourceConfig, presets, require
from jfractal import metrics
from jfractal.data import ImageData
from jfractal.nn import BlockNet

NETS = ("ResNet", "fractal")
PAPER = "ResNet-20, published"
PUBLISHED = {"ensemble": 0.915, "mean field": 0.888, "SGHMC": 0.927}
"""Agreement with HMC in the paper: of 50 members; of SGHMC with a cyclical rate."""
DISTANCES = ("agreement", "total_variation")


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """How many images: the first of both parts, as they were published."""

    num_train: Count = 8192  # Training images; the paper has 40,960.
    num_test: Count = 2000  # Test images.


@dataclass(frozen=True)
class ModelConfig(Settings):
    """Both nets."""

    depth: Count = 6  # Convolutions in a block of the ResNet.
    resnet_widths: Some[Count] = (16, 32, 64)  # Channels of each block of the ResNet.
    columns: Columns = 3  # Columns of a block of the fractal net.
    widths: Some[Count] = (8, 16, 32)  # Channels of each of its blocks.
    prior_scale: Positive = 0.2**0.5  # Standard deviation of the Gaussian prior of every weight.

    def __post_init__(self):
        super().__post_init__()
        require(self.depth % 2 == 0, f"`depth` must be an even number, got {self.depth}")


@dataclass(frozen=True)
class Config(Options):
    """Settings of `cifar_hmc`."""

    nets: Choices[Annotated[str, OneOf(NETS)]] = NETS  # Which nets.
    methods: Choices[Annotated[str, OneOf(METHODS)]] = METHODS  # What to compare with HMC.
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    fit: FitConfig = FitConfig()

    def __post_init__(self):
        super().__post_init__()
        most, got = self.data.num_train, self.fit.batch_size
        require(got <= most, f"`batch_size` must be at most {most}, all images, got {got}")


PRESETS = presets(
    Config(),
    paper={
        "data": {"num_train": 40_960, "num_test": 10_000},
        "fit": {"num_members": 50, "num_epochs": 500, "num_epochs_after": 300, "num_samples": 50},
    },
    quick={
        "data": {"num_train": 48, "num_test": 30},
        "model": {"depth": 2, "resnet_widths": (4,), "columns": 2, "widths": (4,)},
        "fit": {"num_members": 2, "num_epochs": 1, "num_epochs_after": 1, "batch_size": 12}
        | {"num_samples": 2},
    },
)

FINDING = lowest("total_variation", "method", of="total variation from HMC", per="net")


def run(config: Config, run: Run) -> Outcome:
    """Fits every method to every net, and compares what it predicts with the table."""
    images = jf.data.load_images(CIFAR10, strict=config.data.strict)
    source, table = with_table(images, **asdict(config.data))
    rows, sections = Rows(), []
    for name in config.nets:
        benchmark = Benchmark(config, run, name, source, table)
        rows.extend(run.sweep(benchmark.one, net=[name], method=config.methods))
        rows.add({"mflops": benchmark.flops / 1e6, "num_params": benchmark.num_params}, net=name)
    if table is not None:
        log_probs = np.log(np.maximum(table, np.finfo(table.dtype).tiny))
        itself = scores(jf.Prediction.of(jnp.asarray(log_probs)[None]), source.test_labels)
        rows.add(itself, net=PAPER, method="HMC, published")
        for method, figure in PUBLISHED.items():
            rows.add({"agreement": figure}, net=PAPER, method=f"{method}, published")
    sections = [net_section(config, name, source, rows) for name in config.nets]
    return Outcome.of(source, rows, *sections)


class Benchmark:
    """One net, and all methods on it."""

    def __init__(
        self, config: Config, run: Run, name: str, source: ImageData, table: np.ndarray | None
    ):
        self.table = table
        moments = jf.data.channel_moments(source.train_images)
        read = lambda images: jf.data.standardise(images, *moments)
        data = read(source.train_images), jnp.asarray(source.train_labels)
        self.test = read(source.test_images), source.test_labels
        self.net = net_of(config.model, name, len(source.class_names))
        shape = data[0].shape[1:]
        self.flops, self.num_params = self.net.num_flops(shape), self.net.num_params(shape)
        key = jax.random.fold_in(jax.random.key(config.seed), NETS.index(name))
        key_fit, self.key_test, self.key_compare = jax.random.split(key, 3)
        model = classifier(self.net, config.model.prior_scale)
        model = computed_in(config.fit.precision, model)
        begin = start(self.net, data[0])
        self.fits = Fits(config.fit, run, name, model, begin, data, key_fit)

    def one(self, *, method: str, **_: Any) -> dict[str, float]:
        """What a method is worth, how near it is to HMC, and what it costs."""
        found, (x, labels) = self.fits.of(method), self.test
        draws = {"num_samples": found.num_samples}
        prediction = predict(self.net, found.posterior, x, self.key_test, **draws)
        near = {}
        if self.table is not None:
            compared = metrics.compare(prediction, self.table, self.key_compare)
            near = intervals({of: compared[of] for of in DISTANCES})
        cost = {"gradients": found.gradients, "seconds": found.seconds}
        return scores(prediction, labels) | near | cost


def net_of(model: ModelConfig, name: str, num_classes: int) -> BlockNet:
    """A net whose weights can be Gaussians."""
    options: Any = {"norm": "frn", "conv": jf.BayesConv}
    if name == "ResNet":
        return jf.ResNet(num_classes, depth=model.depth, widths=model.resnet_widths, **options)
    return jf.FractalNet(num_classes, columns=model.columns, widths=model.widths, **options)


# Report


def net_section(config: Config, name: str, source: ImageData, rows: Rows) -> Section:
    """All methods with one net, and what is published."""
    beside = rows.where(net=(name, PAPER))
    (mflops,), (num_params,) = (rows.values(of, net=name) for of in ("mflops", "num_params"))
    tflop = num_passes(config.fit, config.data.num_train, config.data.num_test) * mflops / 1e6
    compared = bool(len(rows.values("total_variation")))
    figure = "total_variation" if compared else "accuracy"
    says = (
        "Distances are to the published predictions of all draws of HMC, with 95 % bootstrap "
        "intervals over test images. Rows with “published” are of the paper: a full-size "
        "ResNet-20, 40,960 images, all test images; of HMC, accuracy, NLL and ECE of its table on "
        "the test images here. "
        if compared
        else "No distances: there is no table of HMC for these images. "
    )
    return Section(
        f"{name}: {source.name}",
        f"{num_params:,} weights, {mflops:.1f} MFLOP an image forward; all methods together some "
        f"{tflop:,.3g} TFLOP. {len(source.train_labels):,} training images without augmentation, "
        f"{len(source.test_labels):,} test images. {says}Gradients are over all training images, "
        "and like seconds include those of the member that a method starts from; steps of SMILE "
        "also take forward passes, which are no gradients.",
        report.table(
            beside, ("accuracy", "nll", "ece", *DISTANCES, "gradients", "seconds"), digits=3
        ),
        [report.intervals(beside, figure, xlabel=report.label(figure))],
    )

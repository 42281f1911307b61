"""Uncertainty at every price: one fractal net asked in many ways, beside what it has to beat.

A trained fractal net (Larsson, Maire & Shakhnarovich, ICLR 2017) answers at many depths, and every
answer comes with an uncertainty. Which way of asking is worth its operations? Asked are every
column, the whole net, and cascades: early exit by confidence, and early exit with risk control,
whose threshold is chosen so that leaving early spoils at most a given share of the answers (Jazbec
et al., "Fast yet safe", NeurIPS 2024). Further the mixture over columns (as in depth uncertainty
networks, NeurIPS 2020), drop-path Monte Carlo, and SWAG, a mean field and a last-layer Laplace
around the trained weights. They stand beside an ensemble of fractal nets, and beside plain nets of
the columns' shapes that were trained alone: each by itself, all of them together, and two of them
as a window cascade (Xia & Bouganis, ICCV 2023).

Every answer is judged by its error, NLL, ECE and AURC; by the coverage of its prediction sets, and
whether these only shrink with depth (Jazbec et al., UAI 2024); and by how well its entropy finds
images of another set, near (the other CIFAR) or far (Fashion-MNIST). One half of the validation
images chooses the thresholds of cascades, the other calibrates the prediction sets.

Laptop: CIFAR-10, 3 seeds of 6 nets, each trained on 60,000 images by the recipe of `cifar_fractal`.
By counting operations, 130 TFLOP: 55 minutes at 40 GFLOP/s. The preset has not been run, and no
setting of the posteriors was tuned. A residual net with exits is not among the methods.

    make experiment NAME=anytime_uncertainty
    make experiment NAME=anytime_uncertainty ARGS="--data.name cifar100"
    make experiment NAME=anytime_uncertainty ARGS="--preset paper"   # needs a GPU or TPU
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import jfractal as jf
from experiments import _answers as answers
from experiments import _exits as exits
from experiments import _nets as nets
from experiments import _routes as routes
from experiments import report
from experiments._answers import Answer, Price, Questions
from experiments._around import AroundConfig, posteriors
from experiments._images import Split
from experiments._strangers import Strangers, strangers
from experiments._timing import milliseconds
from experiments.ranges import Count, Level
from experiments.report import Outcome, Section, lowest
from experiments.rows import Rows
from experiments.run import Run, SeedsOptions
from experiments.settings import presets, require
from jfractal import anytime
from jfractal.typing import Variables

WINDOW = (0.5, 0.9)
"""Quantiles of its entropy between which the shallowest plain net asks the deepest."""
JUDGED = ("mflops", "milliseconds", "error", "nll", "ece", "aurc", "auroc_near", "auroc_far")
SETS = ("coverage", "classes", "nested", "coverage_nested", "classes_nested")
LINES = dict.fromkeys(("column", "whole"), "columns and whole net")
LINES |= dict.fromkeys(("early exit", "exit"), "early exits")
LINES |= {"plain net ": "plain nets alone", "plain nets": "plain nets together"}
"""Methods that a picture joins by a line, by how their names begin."""
AXES = {"by": "series", "xlabel": "MFLOP an example"}


@dataclass(frozen=True)
class Config(nets.Config, SeedsOptions):
    """Settings of `anytime_uncertainty`."""

    around: AroundConfig = AroundConfig()
    threshold: Level = 0.6  # Confidence at which early exit lets an image leave.
    # Share of the answers that an exit with risk control may spoil, against the deepest column.
    risk: Level = 0.05
    delta: Level = 0.05  # Probability that the exit with risk control may spoil more.
    alpha: Level = 0.1  # Share of labels that the prediction sets may miss.
    num_members: Count = 3  # Fractal nets of the ensemble.
    num_strange: Count = 2500  # Images of each other set, at most.
    num_timings: Count = 100  # Passes of one image that the latency of a net is the median of.

    def __post_init__(self):
        super().__post_init__()
        columns = self.model.columns
        require(columns > 1, f"`columns` must be at least 2, which differ in depth, got {columns}")


SMALL = {**nets.SMALL, "data": {**nets.SMALL["data"], "num_test": 5000}}
FEW = {"num_seeds": 1, "num_members": 2, "num_timings": 3, "num_strange": 50}
QUICK = {**nets.QUICK, **FEW, "around": {"num_samples": 2}}
PRESETS = presets(Config().but(**nets.RECIPE).but(**SMALL), quick=QUICK)
PRESETS |= {"paper": Config(preset="paper").but(**nets.PAPER, around={"num_epochs": 20})}

FINDING = lowest("aurc", "method", of="AURC")


def run(config: Config, run: Run) -> Outcome:
    """Trains all nets of a seed, then asks them in every way."""
    split, rows = Split.load(config.data, config.seed), Rows()
    strange = strangers(config.data, split, config.num_strange)
    questions = Questions.of(split, strange)
    for cell in run.each(seed=range(config.num_seeds)):
        here = config.but(seed=config.seed + cell["seed"])
        found = Seed(here, run, split, questions, f"seed_{cell['seed']}").answers()
        rows.extend(answers.figures(found, questions, config.alpha, **cell))
    return Outcome.of(split.source, rows, *sections(config, rows, strange))


class Seed:
    """All nets of one seed, and the ways to ask them."""

    def __init__(self, config: Config, run: Run, split: Split, questions: Questions, name: str):
        """Trains the fractal nets and the plain ones."""
        self.config, self.run, self.name = config, run, name
        self.split, self.questions = split, questions
        self.net = net = nets.fractal_net(config, split.num_classes)
        self.trained = self.train(config, net, "net")
        every = (None, *net.columns)
        self.variables = nets.recalibrated(net, self.trained, split, routes=every)
        self.plain = {f"plain net {c}": self.twin(c) for c in net.columns}
        routes_here = {of: (lone, self.variables) for of, lone in routes.routes_of(net).items()}
        image = split.standardise(split.test[0][:1])
        times = milliseconds(routes_here | self.plain, image, num_rounds=config.num_timings)
        flops = {of: routes.cost(net, split, of)["mflops"] for of in routes_here}
        flops |= {of: lone.num_flops(split.shape) / 1e6 for of, (lone, _) in self.plain.items()}
        self.prices = {of: Price(flops[of], times[of]) for of in flops}

    def train(self, config: Config, net: Any, name: str) -> Variables:
        """The variables of a net, trained here or earlier."""
        fit = nets.train(config, self.run, net, self.split, name=f"{name}_{self.name}")
        return fit.variables

    def twin(self, column: int) -> tuple[Any, Variables]:
        """The plain net of the shape of a column, trained alone."""
        options = nets.options(self.config)
        net = jf.PlainNet(self.split.num_classes, depth=2 ** (column - 1), **options)
        return net, self.train(self.config.but(train=nets.ALONE), net, f"plain_{column}")

    def ask(self, net: Any, posterior: jf.Posterior, price: str, num_samples: int = 1) -> Answer:
        """What a net answers, at so many times the price of a route."""
        here = (self.split, self.questions, self.prices[price])
        return answers.ask(net, posterior, *here, num_samples=num_samples)

    def answers(self) -> dict[str, Answer]:
        """What every method answers, by its name."""
        point = jf.Point(self.variables)
        columns = [self.ask(self.net.column(c), point, f"column {c}") for c in self.net.columns]
        whole = self.ask(self.net, point, "whole net")
        plain = {of: self.ask(net, jf.Point(w), of) for of, (net, w) in self.plain.items()}
        alone = [*plain.values()]
        return {
            **{f"column {c}": answer for c, answer in zip(self.net.columns, columns, strict=True)},
            "whole net": whole,
            "early exit": self.leave(self.config.threshold),
            "exit with risk control": self.leave(self.safe(columns)),
            "mixture over columns": answers.together(columns),
            **self.monte_carlo(),
            f"ensemble of {self.config.num_members}": self.ensemble(whole),
            **plain,
            "plain nets, ensemble": answers.together(alone),
            "plain nets, window cascade": answers.window(alone[0], alone[-1], WINDOW),
        }

    def safe(self, columns: list[Answer]) -> float:
        """The lowest threshold of early exit that is safe by the images of choice."""
        return anytime.risk_controlled_threshold(
            [np.asarray(answer.said["choice"].probs) for answer in columns],
            self.questions.labels["choice"],
            risk=self.config.risk,
            delta=self.config.delta,
        )

    def leave(self, threshold: float) -> Answer:
        """Early exit: an image costs all columns up to the one that answers."""
        model = nets.model_of(self.config, self.net)
        left = {
            of: exits.answer(model, self.variables, self.split, images, threshold)
            for of, images in self.questions.images.items()
        }
        passed = np.cumsum([self.prices[f"column {c}"].milliseconds for c in self.net.columns])
        return Answer(
            {of: exits.prediction_of(one) for of, one in left.items()},
            left["test"].flops.mean() / 1e6,
            passed[left["test"].column - 1].mean(),
        )

    def monte_carlo(self) -> dict[str, Answer]:
        """Draws of sub-networks and of weights."""
        config, net, around = self.config, self.net, self.config.around
        # The statistics of training belong to nets that paths were dropped from.
        point, rate = jf.Point(self.trained), config.train.local_rate
        here = (config, around, self.run, net, self.variables, self.split)
        drawn: dict[str, jf.Posterior] = {
            "drop-path Monte Carlo": jf.sub_networks(net, point, rate=rate),
            **posteriors(*here, name=self.name),
        }
        ask = lambda posterior: self.ask(net, posterior, "whole net", around.num_samples)
        return {name: ask(posterior) for name, posterior in drawn.items()}

    def ensemble(self, first: Answer) -> Answer:
        """Whole nets that differ in their start and their batches, this seed's net among them."""
        members = [first]
        for m in range(1, self.config.num_members):
            # A seed of its own, and none that another repetition has.
            seed = int(jax.random.bits(jax.random.fold_in(jax.random.key(self.config.seed), m)))
            variables = self.train(self.config.but(seed=seed), self.net, f"member_{m}")
            variables = nets.recalibrated(self.net, variables, self.split, routes=(None,))
            members.append(self.ask(self.net, jf.Point(variables), "whole net"))
        return answers.together(members)


# Report


def sections(config: Config, rows: Rows, strange: dict[str, Strangers]) -> list[Section]:
    """The table, the prediction sets, and what a price buys."""
    near, far = strange["near"].title, strange["far"].title
    return [
        Section(
            "Every way to ask, and what it has to beat",
            "Operations and latency are those of one image. Cascades cost what their images have "
            "passed on average, mixtures and ensembles the sum of their parts, and Monte Carlo "
            f"{config.around.num_samples} passes of the whole net, the last-layer Laplace among "
            "them, although its draws could share a pass. All latencies are counted from those of "
            "single nets. The entropy of the answer ranks test images for the AURC, and finds "
            f"strangers: near are {near}, far are {far}. SWAG, the mean field and the Laplace "
            "begin at the weights of the net.",
            report.table(rows, JUDGED),
        ),
        Section(
            "Prediction sets",
            f"Sets that should hold the label of {100 * (1 - config.alpha):.0f} % of the images. "
            "nested: the share of images whose set holds no class that the column (or the plain "
            "net) before it had excluded. Coverage and classes, nested: of the intersections of "
            "the columns' sets, which only shrink and together keep the promise.",
            report.table(rows, SETS, digits=3),
        ),
        Section(
            "What a price buys",
            "Means over the seeds.",
            pictures=[
                report.curves(placed(rows, worth), "price", worth, log10=True, **AXES)
                for worth in ("error", "aurc")
            ],
        ),
    ]


def placed(rows: Rows, worth: str) -> Rows:
    """A figure of every method at its mean price, and the line that it belongs to."""
    found = Rows()
    for row in rows.where(metric=worth):
        method = row["method"]
        price = float(rows.values("mflops", method=method).mean())
        line = next((line for of, line in LINES.items() if method.startswith(of)), method)
        found.add({worth: row["value"]}, series=line, price=price, seed=row["seed"])
    return found

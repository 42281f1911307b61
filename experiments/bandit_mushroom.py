"""Eat the mushroom or pass it by: Thompson sampling from a Bayesian net against greedy agents.

This is the contextual bandit of Blundell et al. (ICML 2015, §5.3 and figure 6). Eating an edible
mushroom is worth 5, eating a poisonous one 5 or −35 with equal probability, and passing by 0. An
agent learns the reward of (mushroom, action) with a net of two layers, from a buffer of the last
4,096 turns. One agent has a mean-field posterior, draws two networks and takes the action with the
best mean reward. The others have a single network and explore at random. Regret is the expected
reward lost against an oracle. The noise scale of the likelihood was chosen by regret on this
bandit. Results: docs/results.md. Laptop: 5 minutes of processor time.

    make experiment NAME=bandit_mushroom
    make experiment NAME=bandit_mushroom ARGS="--preset paper"    # 50,000 turns; best on a GPU
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

import jfractal as jf
from experiments import report
from experiments._mushrooms import Agent, AgentsConfig, Bandit
from experiments._perceptron import Perceptron
from experiments.ranges import Count
from experiments.report import Outcome, Section, lowest
from experiments.rows import Rows
from experiments.run import Run
from experiments.settings import SourceConfig, presets, require
from jfractal.typing import Array, KeyArray

# By name, the share of turns in which an agent explores by chance; one is Bayesian instead.
AGENTS = {"Thompson sampling": None, "0% greedy": 0.0, "1% greedy": 0.01, "5% greedy": 0.05}


@dataclass(frozen=True)
class Config(AgentsConfig):
    """Settings of `bandit_mushroom`."""

    num_turns: Count = 4000  # Mushrooms that an agent meets.
    num_seeds: Count = 5  # Runs of each agent, side by side.
    turns_per_row: Count = 100  # Turns between two rows of metrics.
    data: SourceConfig = SourceConfig()

    def __post_init__(self):
        super().__post_init__()
        require(
            self.num_turns % self.turns_per_row == 0 and self.num_turns > 1,
            f"`num_turns` must be a multiple of `turns_per_row`, {self.turns_per_row}, and above 1,"
            f" got {self.num_turns}",
        )


PRESETS = presets(
    Config(),
    paper={"num_turns": 50_000, "train": {"updates": 64}},
    quick={
        "num_turns": 20,
        "num_seeds": 2,
        "turns_per_row": 10,
        "model": {"hidden": (8,)},
        "train": {"updates": 2, "batch_size": 8},
    },
)

FINDING = lowest("regret", "agent", of="cumulative regret")


def run(config: Config, run: Run) -> Outcome:
    """Lets every agent meet the same kinds of mushrooms."""
    data = jf.data.load_mushrooms(strict=config.data.strict)
    net = Perceptron(config.model.hidden, 1)
    bandit = Bandit(config, net, jnp.asarray(data.features, jnp.float32), jnp.asarray(data.targets))
    rows, curve = Rows(), Rows()
    times = np.unique(np.geomspace(10, config.num_turns, 200).astype(int)).tolist()
    late = config.num_turns // 2
    for name in (cell["agent"] for cell in run.each(agent=AGENTS)):
        regrets = run.once(partial(live, config, run, bandit, name), agent=name)
        for seed, regret in enumerate(regrets):
            slope = (regret[-1] - regret[late - 1]) / (config.num_turns - late)
            rows.add({"regret": regret[-1], "late_regret": slope}, agent=name, seed=seed)
            for time in times:
                shown = {"regret": max(regret[time - 1], 1)}
                curve.add(shown, agent=name, turn=time, seed=seed)
    axes = {"by": "agent", "xlabel": "turn", "ylabel": "cumulative regret", "logy": True}
    section = Section(
        "Regret",
        f"{config.num_turns:,} turns, means over {config.num_seeds} seeds ± standard errors. "
        "Late regret is that of a turn in the second half.",
        report.table(rows, ("regret", "late_regret"), by=("agent",), digits=2),
        [report.curves(curve, "turn", "regret", **axes)],
    )
    rows.add({"num_turns": config.num_turns})
    return Outcome.of(data, rows, section)


def live(config: Config, run: Run, bandit: Bandit, name: str) -> np.ndarray:
    """Cumulative regret of one agent, "seeds turns"."""
    seeds = jax.random.split(jax.random.key(config.seed), config.num_seeds)
    epsilon = AGENTS[name]

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None, 0))
    def turns(agent: Agent, first: Array, key: KeyArray) -> tuple[Agent, Array]:
        def turn(agent, time):
            return bandit.turn(epsilon, agent, time, jax.random.fold_in(key, time))

        return jax.lax.scan(turn, agent, first + jnp.arange(config.turns_per_row))

    agents = jax.jit(jax.vmap(partial(bandit.agent, epsilon)))(seeds)
    regrets, total = [], 0.0
    for first in tqdm(
        range(0, config.num_turns, config.turns_per_row), desc=name, unit="row", disable=None
    ):
        agents, regret = turns(agents, first, seeds)
        regrets.append(np.asarray(regret))
        total += float(regrets[-1].sum(1).mean())
        run.log({"agent": name, "step": first + config.turns_per_row, "regret": total})
    return np.cumsum(np.concatenate(regrets, axis=1), axis=1)

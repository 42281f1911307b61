"""Mushrooms, and agents that learn which to eat from what they ate."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import jfractal as jf
from experiments._methods import computed_in
from experiments._perceptron import Perceptron
from experiments.ranges import Count, Positive, Precision
from experiments.run import VmappedSeedsOptions
from experiments.settings import Settings
from jfractal.typing import Array, KeyArray, Params, Scalar

NUM_ACTIONS = 2  # pass by, eat
CAPACITY = 4096  # turns that the buffer holds


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The network that predicts a reward, and the posterior of its weights."""

    hidden: tuple[Count, ...] = (100, 100)  # Units of each hidden layer (ReLU).
    # Standard deviation of the Gaussian likelihood of a reward: the larger it is, the more turns
    # the posterior takes to leave its prior.
    noise_scale: Positive = 0.5
    scale: Positive = 0.02  # Initial standard deviation of every weight of the Bayesian net.
    prior_scale: Positive = 0.3  # Standard deviation of the Gaussian prior.
    num_samples: Count = 2  # Networks that the Bayesian agent draws for a turn and averages.


@dataclass(frozen=True)
class TrainConfig(Settings):
    """How an agent learns from its buffer."""

    updates: Count = 16  # Gradient steps after each turn (the paper: 64).
    batch_size: Count = 64  # Turns in a step.
    learning_rate: Positive = 1e-3  # Of Adam.
    precision: Precision = "float32"  # In which the net computes while it learns.


@dataclass(frozen=True)
class AgentsConfig(VmappedSeedsOptions):
    """Settings of agents."""

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()


class Buffer(NamedTuple):
    """The last turns: which mushroom, what was done, what it was worth."""

    mushroom: Array
    action: Array
    reward: Array


class Agent(NamedTuple):
    """What an agent carries from turn to turn."""

    params: Params
    opt_state: Any
    buffer: Buffer


@dataclass(frozen=True, eq=False)
class Bandit:
    """The mushrooms, and the rules by which agents act and learn."""

    config: AgentsConfig
    net: Perceptron
    features: Array
    edible: Array

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """One for all agents."""
        return optax.adam(self.config.train.learning_rate)

    def agent(self, epsilon: float | None, key: KeyArray) -> Agent:
        """An agent that has seen nothing; a Bayesian one without `epsilon`."""
        params = self.net.init(key, self.inputs(jnp.zeros(1, int), jnp.zeros(1, int)))["params"]
        params = jf.mean(params)
        if epsilon is None:
            params = jf.mean_field(params, scale=self.config.model.scale)
        empty = jnp.zeros(CAPACITY, jnp.int32)
        buffer = Buffer(empty, empty, jnp.zeros(CAPACITY))
        return Agent(params, self.optimizer.init(params), buffer)

    def inputs(self, mushroom: Array, action: Array) -> Array:
        """What the network reads: the mushroom and the action, one-hot."""
        return jnp.concatenate(
            [self.features[mushroom], jax.nn.one_hot(action, NUM_ACTIONS)], axis=-1
        )

    def turn(
        self, epsilon: float | None, agent: Agent, time: Array, key: KeyArray
    ) -> tuple[Agent, Array]:
        """Meets one mushroom, acts, learns; returns the regret of the action."""
        key_mushroom, key_act, key_reward, key_learn = jax.random.split(key, 4)
        mushroom = jax.random.randint(key_mushroom, (), 0, len(self.edible))
        action = self.act(epsilon, agent.params, mushroom, key_act)
        edible = self.edible[mushroom] > 0
        harmed = ~edible & jax.random.bernoulli(key_reward)
        reward = jnp.where(action == 1, jnp.where(harmed, -35.0, 5.0), 0.0)
        regret = jnp.where(edible, 5.0 * (action == 0), 15.0 * (action == 1))
        place = time % CAPACITY
        written = Buffer(mushroom, action, reward)
        buffer = jax.tree.map(lambda all, one: all.at[place].set(one), agent.buffer, written)
        known = jnp.minimum(time + 1, CAPACITY)
        return self.learn(agent._replace(buffer=buffer), known, key_learn), regret

    def act(self, epsilon: float | None, params: Params, mushroom: Array, key: KeyArray) -> Array:
        """The action of the highest reward, predicted by drawn networks or by the one there is."""
        actions = jnp.arange(NUM_ACTIONS)
        x = self.inputs(jnp.full(NUM_ACTIONS, mushroom), actions)
        key_explore, key_action, *keys = jax.random.split(key, 2 + self.config.model.num_samples)
        if epsilon is None:
            rewards = [self.rewards(jf.sample(params, k), x) for k in keys]
            return jnp.argmax(jnp.mean(jnp.stack(rewards), axis=0))
        greedy = jnp.argmax(self.rewards(params, x))
        explore = jax.random.bernoulli(key_explore, epsilon)
        return jnp.where(explore, jax.random.choice(key_action, actions), greedy)

    def rewards(self, params: Params, x: Array) -> Array:
        """What one network expects."""
        outputs: Any = self.net.apply({"params": params}, x)
        return outputs[:, 0]

    def learn(self, agent: Agent, known: Array, key: KeyArray) -> Agent:
        """Gradient steps on batches out of the buffer."""

        def step(carry, key):
            params, state = carry
            key_batch, key_loss = jax.random.split(key)
            size = (self.config.train.batch_size,)
            rows = jax.random.randint(key_batch, size, 0, known)
            mushroom, action, reward = jax.tree.map(lambda x: x[rows], agent.buffer)
            batch = self.inputs(mushroom, action), reward[:, None]
            gradient = jax.grad(self.loss)(params, batch, key_loss, known)
            updates, state = self.optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        keys = jax.random.split(key, self.config.train.updates)
        (params, state), _ = jax.lax.scan(step, (agent.params, agent.opt_state), keys)
        return agent._replace(params=params, opt_state=state)

    def loss(
        self, params: Params, batch: tuple[Array, Array], key: KeyArray, known: Array
    ) -> Scalar:
        """The negative ELBO per turn, from a batch of a buffer that holds `known` turns.

        Without Gaussian leaves the KL is 0, and this is the mean squared error of a net.
        """
        given = self.config.model
        model = jf.Model(
            self.net.apply,
            prior=jf.priors.Gaussian(given.prior_scale),
            likelihood=jf.likelihoods.Gaussian(given.noise_scale),
        )
        model = computed_in(self.config.train.precision, model)
        # `known` is traced, which `num_data` must not be.
        weight = CAPACITY / known
        bound = jf.elbo(model, params, batch, key, num_data=CAPACITY, kl_weight=weight)
        return -bound.value

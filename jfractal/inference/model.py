"""A model: how a net runs, the prior of its weights, and the likelihood of the targets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, TypeVar

from flax.linen import Module

from jfractal.arguments import check_functions, check_key, described, naming
from jfractal.errors import InputError
from jfractal.identity import key_of
from jfractal.inference import frameworks
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.net_errors import named_errors
from jfractal.likelihoods import Likelihood, check_likelihood, per_example
from jfractal.nn.fast import fast
from jfractal.posterior.gaussian import check_weights, gaussians
from jfractal.priors import PriorLike, as_prior
from jfractal.typing import Apply, Array, Float, KeyArray, Params, Scalar, Variables

__all__ = ["Model", "Pass", "TrainingPass"]

Tree = TypeVar("Tree")
TrainingPass = Callable[[Variables, Any, KeyArray], tuple[Any, Variables]]
"""``train(variables, x, key) -> (outputs, variables)``: may draw, and may update statistics."""


class Pass(NamedTuple):
    """What a training pass over a batch returns.

    Attributes:
        log_likelihood: Log-likelihood of every example, in nats.
        metrics: Metrics of the batch by name, e.g. ``{"accuracy": ...}``.
        variables: The model's variables after the pass.
    """

    log_likelihood: Float[Array, " batch"]
    metrics: dict[str, Scalar]
    variables: Variables


@dataclass(frozen=True, repr=False)
class Model:
    """``p(y | x, w) p(w)``: a net, a likelihood of the targets, and a prior of the weights w.

    Attributes:
        apply: ``apply(variables, x) -> outputs`` for evaluation, e.g. ``net.apply`` of a Linen
            module. The weights are ``variables["params"]``, any tree of floating-point arrays.
        prior: Prior of the weights; a `numpyro.distributions` object becomes one.
        likelihood: Likelihood of the targets given the outputs. It decides what `predict` returns.
        train: The training pass, if it differs from `apply`: ``train(variables, x, key) ->
            (outputs, variables)``. It may drop activations and update batch statistics.

    Raises:
        InputError: If `apply` is not a function, `prior` not a prior, or `likelihood` not a
            likelihood.

    Example:
        `from_linen`, `from_nnx` and `from_equinox` make both passes from a module with dropout or
        batch norm; `jfractal.fractal_model` makes both for a fractal net with drop-path::

            model = jf.Model(
                net.apply,
                prior=jf.priors.Gaussian(1.0),
                likelihood=jf.likelihoods.Categorical(),
            )
    """

    apply: Apply
    _: KW_ONLY
    prior: Any  # a `PriorLike`, of which a `Prior` is made
    likelihood: Likelihood
    train: TrainingPass | None = None

    def __post_init__(self):
        if not callable(self.apply) or isinstance(self.apply, Module):
            raise InputError(
                "`apply` must be a function (variables, x) -> outputs, such as `net.apply`, got a "
                f"{type(self.apply).__name__}"
            )
        if self.train is not None:
            check_functions(train=self.train)
        object.__setattr__(self, "prior", as_prior(self.prior))
        check_likelihood(self.likelihood)

    def __eq__(self, other: object) -> bool:
        """Compares contents, so that models of equal nets are equal static arguments of `jit`."""
        return type(self) is type(other) and key_of(self) == key_of(other)

    def __hash__(self) -> int:
        return hash(key_of(self))

    def __repr__(self) -> str:
        net = getattr(self.apply, "__self__", self.apply)
        name = getattr(net, "__name__", type(net).__name__)
        kind = type(self).__name__
        return f"{kind}({name}, prior={self.prior!r}, likelihood={self.likelihood!r})"

    @classmethod
    def from_linen(
        cls,
        net: Any,
        *,
        prior: PriorLike,
        likelihood: Likelihood,
        training: str | None = None,
        rngs: Sequence[str] = ("dropout",),
    ) -> "Model":
        """The model of a Flax Linen module with dropout, batch norm, or both.

        In training, every collection other than ``params`` is mutable. If the net has such
        collections, start a method from all variables, ``net.init(key, x)``.

        Args:
            net: The module.
            prior: Prior of the weights; a `numpyro.distributions` object becomes one.
            likelihood: Likelihood of the targets given the outputs.
            training: The keyword of ``net.__call__`` that is true in training. By default, the
                usual names are looked for: ``train``, ``training`` and ``is_training``, and
                ``deterministic`` and ``use_running_average``, which are false in training.
            rngs: Names of the random streams that a training pass draws from.

        Returns:
            A `Model`.

        Raises:
            InputError: If `net` is not a Linen module, or does not take the keyword `training`.

        Example:
            ::

                model = jf.Model.from_linen(net, prior=prior, likelihood=likelihood)
                state = jf.swag(model, optax.sgd(0.1)).init(net.init(key, x), key)
        """
        passes = frameworks.from_linen(net, training=training, rngs=rngs)
        return cls(passes.evaluate, prior=prior, likelihood=likelihood, train=passes.train)

    @classmethod
    def from_nnx(
        cls, module: Any, *, prior: PriorLike, likelihood: Likelihood, training: str | None = None
    ) -> "tuple[Model, Variables]":
        """The model of a Flax NNX module, and its variables.

        A pass runs a copy of the module: the module itself is never changed. A training pass runs
        the copy after ``module.train()``, updates batch statistics and all other state, and starts
        every random stream from the key of the pass. Evaluation runs it after ``module.eval()``.

        Args:
            module: The module.
            prior: Prior of the weights; a `numpyro.distributions` object becomes one.
            likelihood: Likelihood of the targets given the outputs.
            training: The keyword of ``__call__`` that is true in training, if the module has one.
                By default, the usual names are looked for.

        Returns:
            A `Model`, and its variables as nested dictionaries: the `nnx.Param` arrays as
            ``params``, batch statistics as ``batch_stats``, all other state as ``state``.

        Raises:
            InputError: If `module` is not an NNX module, or does not take the keyword `training`.

        Example:
            A function of a key gives every member of an ensemble its own start::

                of = partial(jf.Model.from_nnx, prior=prior, likelihood=likelihood)
                model, variables = of(Net(nnx.Rngs(0)))
                state = jf.ivon(model, learning_rate=0.1).init(variables, key)
                starts = lambda key: of(Net(nnx.Rngs(key)))[1]
        """
        passes = frameworks.from_nnx(module, training=training)
        model = cls(passes.evaluate, prior=prior, likelihood=likelihood, train=passes.train)
        return model, passes.variables

    @classmethod
    def from_equinox(
        cls,
        module: Any,
        state: Any = None,
        *,
        prior: PriorLike,
        likelihood: Likelihood,
        axis_name: str = "batch",
    ) -> "tuple[Model, Variables]":
        """The model of an Equinox module, and its variables.

        The module takes a single example, ``module(x)``, and is vmapped over batches. If it takes a
        `key`, each example gets its own. Every ``inference`` flag is off in training and on in
        evaluation.

        Args:
            module: The module.
            state: The state of the module, if it has one: ``module, state =
                eqx.nn.make_with_state(Net)(...)``. The module is then called as ``module(x, state)
                -> (outputs, state)``.
            prior: Prior of the weights; a `numpyro.distributions` object becomes one.
            likelihood: Likelihood of the targets given the outputs.
            axis_name: The name of the batch axis in the module's BatchNorm layers.

        Returns:
            A `Model`, and its variables as nested dictionaries: all floating-point arrays of the
            module as ``params``, those of `state` as ``state``. Kernels are transposed to Flax's
            order, "*window inputs outputs", which priors and posteriors expect.

        Raises:
            InputError: If Equinox is not installed, `module` is not an Equinox module, or its state
                is missing.

        Example:
            ::

                net = eqx.nn.MLP(4, 3, width_size=32, depth=2, key=key)
                model, variables = jf.Model.from_equinox(net, prior=prior, likelihood=likelihood)
        """
        passes = frameworks.from_equinox(module, state, axis_name=axis_name)
        model = cls(passes.evaluate, prior=prior, likelihood=likelihood, train=passes.train)
        return model, passes.variables

    def choose(self, key: KeyArray, step: Callable[["Model"], Tree]) -> Tree:
        """``step(model)`` for the model that a step trains: this one, unless a route is drawn.

        Args:
            key: Random key, used by a model that draws routes.
            step: The part of the step that depends on the model, gradients included.
        """
        check_key("key", key)
        check_functions(step=step)
        return step(self)

    @property
    def draws_routes(self) -> bool:
        """Whether `choose` branches: under `vmap` all branches would run, for every member."""
        return False

    def log_likelihood(self, variables: Variables, batch: Batch) -> Float[Array, " batch"]:
        """``log p(y | x, w)`` of every example of a batch, in evaluation, in nats.

        Args:
            variables: Variables of the net, as `apply` takes them.
            batch: Inputs and targets, ``(x, y)``.
        """
        _check_pass(variables, batch)
        x, y = batch
        with named_errors(x):
            outputs = fast(self.apply)(variables, x)
        return per_example(self.likelihood, outputs, y)

    def log_joint(self, params: Params, data: Batch) -> Scalar:
        """``log p(D | w) + log p(w)`` in nats, summed over the data and over all weights.

        Args:
            params: The weights, a tree of arrays.
            data: All inputs and targets, ``(x, y)``.
        """
        log_likelihood = self.log_likelihood({"params": params}, data).sum()
        return log_likelihood + self.prior.tree_log_prob(params)

    def training_pass(self, variables: Variables, batch: Batch, key: KeyArray) -> Pass:
        """One training pass over a batch.

        Args:
            variables: Variables of the net, as `apply` takes them. Gaussian weights may stay
                distributions, for Bayesian layers to draw.
            batch: Inputs and targets, ``(x, y)``.
            key: Random key of this pass.

        Returns:
            A `Pass`.

        Raises:
            InputError: If the net needs variables or random streams that are missing.
        """
        _check_pass(variables, batch)
        check_key("key", key)
        x, y = batch
        with named_errors(x):
            if self.train is not None:
                outputs, variables = fast(self.train)(variables, x, key)
            elif gaussians(variables["params"]):
                outputs = fast(self.apply)(variables, x, rngs={"posterior": key})
            else:
                outputs = fast(self.apply)(variables, x)
        log_likelihood = per_example(self.likelihood, outputs, y)
        return Pass(log_likelihood, self.likelihood.metrics(outputs, y), variables)


def _check_pass(variables: Any, batch: Any) -> None:
    """Refuses what no net can run on: other things than weights, and no examples with targets."""
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise InputError(
            f"`variables` must be those of the net, {{'params': ...}}, got {described(variables)}"
        )
    check_weights(variables["params"])
    with naming("batch"):
        batch_size(batch)

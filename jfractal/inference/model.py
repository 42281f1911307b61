"""A model: how a net runs, and what is believed of its weights and of the targets."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, TypeVar

from flax import errors

from jfractal.errors import InputError
from jfractal.inference import frameworks
from jfractal.inference.batch import Batch
from jfractal.posterior.gaussian import gaussians
from jfractal.posterior.likelihoods import Likelihood, check_likelihood, per_example
from jfractal.posterior.priors import PriorLike, as_prior
from jfractal.typing import Apply, Array, Float, KeyArray, Params, Scalar, Variables

__all__ = ["Model", "Pass", "TrainingPass", "named_errors"]

Tree = TypeVar("Tree")
TrainingPass = Callable[[Variables, Any, KeyArray], tuple[Any, Variables]]
"""``train(variables, x, key) -> (outputs, variables)``: may draw, and may update statistics."""


class Pass(NamedTuple):
    """What a training pass over a batch gives.

    Attributes:
        log_likelihood: Of every example, in nats.
        metrics: Figures of the batch by name, e.g. ``{"accuracy": ...}``.
        variables: The model's variables after the pass.
    """

    log_likelihood: Float[Array, " batch"]
    metrics: dict[str, Scalar]
    variables: Variables


@dataclass(frozen=True)
class Model:
    """``p(y | x, w) p(w)``: a net, a likelihood of the targets, and a prior of the weights w.

    Attributes:
        apply: ``apply(variables, x) -> outputs`` for evaluation, e.g. ``net.apply`` of a Linen
            module. The weights are ``variables["params"]``, any tree of floating-point arrays.
        prior: Prior of the weights; a `numpyro.distributions` object becomes one.
        likelihood: Likelihood of the targets given the outputs. It decides what `predict` returns.
        train: The pass of training where it differs, ``train(variables, x, key) -> (outputs,
            variables)``: it may drop activations and update batch statistics.

    Raises:
        InputError: If `prior` or `likelihood` is not one.

    Example:
        ::

            model = jf.Model(
                net.apply,
                prior=jf.priors.Gaussian(1.0),
                likelihood=jf.likelihoods.Categorical(),
            )

        `from_linen`, `from_nnx` and `from_equinox` make both passes from a module with dropout or
        batch norm; `jfractal.fractal_model` makes those of a fractal net with its drop-path.
    """

    apply: Apply
    _: KW_ONLY
    prior: PriorLike
    likelihood: Likelihood
    train: TrainingPass | None = None

    def __post_init__(self):
        object.__setattr__(self, "prior", as_prior(self.prior))
        check_likelihood(self.likelihood)

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

        In training every collection beside ``params`` is mutable. Give `fit` all variables,
        ``net.init(key, x)``, if there are such collections.

        Args:
            net: The module.
            prior: As for `Model`.
            likelihood: As for `Model`.
            training: The keyword of ``net.__call__`` that tells training from evaluation; found by
                its usual names if left out: ``train``, ``training``, ``is_training``,
                ``deterministic``, ``use_running_average``.
            rngs: Streams of random numbers that a training pass draws from.

        Returns:
            A `Model`.
        """
        apply, train = frameworks.linen(net, training=training, rngs=rngs)
        return cls(apply, prior=prior, likelihood=likelihood, train=train)

    def choose(self, key: KeyArray, step: Callable[["Model"], Tree]) -> Tree:
        """``step(model)`` of the model that a step trains: this one, unless a route is drawn.

        Args:
            key: Random key, for a model that draws.
            step: All that depends on the model, gradients included.
        """
        return step(self)

    @property
    def draws_routes(self) -> bool:
        """Whether `choose` branches: under `vmap` all branches would run, for every member."""
        return False

    def log_likelihood(self, variables: Variables, batch: Batch) -> Float[Array, " batch"]:
        """``log p(y | x, w)`` of every example of a batch, in evaluation, in nats.

        Args:
            variables: As `apply` takes them.
            batch: Inputs and targets, ``(x, y)``.
        """
        x, y = batch
        with named_errors():
            outputs = self.apply(variables, x)
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
        """One pass over a batch as in training.

        Args:
            variables: As `apply` takes them; Gaussian weights may be left to Bayesian layers.
            batch: Inputs and targets, ``(x, y)``.
            key: Random key of this pass.

        Returns:
            A `Pass`.

        Raises:
            InputError: If the net needs variables or random numbers that it is not given.
        """
        x, y = batch
        with named_errors():
            if self.train is not None:
                outputs, variables = self.train(variables, x, key)
            elif gaussians(variables["params"]):
                outputs = self.apply(variables, x, rngs={"posterior": key})
            else:
                outputs = self.apply(variables, x)
        metrics = self.likelihood.metrics(outputs, y)
        return Pass(per_example(self.likelihood, outputs, y), metrics, variables)


@contextmanager
def named_errors() -> Iterator[None]:
    """What Flax refuses in a pass, said in terms of the model."""
    try:
        yield
    except errors.InvalidRngError as error:
        raise InputError(
            "`model` draws random numbers in a pass that has none to give: make it with "
            "`jf.Model.from_linen(net, ...)`, whose `rngs` names the streams "
            f"({_first_line(error)})"
        ) from error
    except errors.ModifyScopeVariableError as error:
        raise InputError(
            "`model` updates batch statistics in a pass that may not: make it with "
            f"`jf.Model.from_linen(net, ...)` ({_first_line(error)})"
        ) from error
    except (errors.ScopeCollectionNotFound, errors.ScopeVariableNotFoundError) as error:
        raise InputError(
            "`params` lacks what the net reads: if that is batch statistics, start from all of "
            f"`net.init(key, x)` in place of its 'params' ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]

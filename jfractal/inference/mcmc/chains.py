"""Draws of Markov chains: a posterior like any other, with convergence diagnostics."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jfractal import ops
from jfractal.arguments import (
    as_array,
    check_flags,
    check_functions,
    check_key,
    check_positive,
    described,
    naming,
)
from jfractal.errors import InputError
from jfractal.identity import ByContent
from jfractal.inference.batch import count_inputs
from jfractal.inference.mcmc.diagnosis import (
    MAX_RHAT,
    MIN_ESS_PER_CHAIN,
    Diagnosis,
    convergence,
    reasons,
)
from jfractal.inference.mcmc.inference_data import inference_data
from jfractal.inference.net_errors import named_errors
from jfractal.metrics.convergence import ebfmi
from jfractal.posterior.gaussian import named_leaves
from jfractal.posterior.posterior import Posterior
from jfractal.posterior.samples import Point, Samples, check_place
from jfractal.storage import storable
from jfractal.typing import Apply, Array, Float, KeyArray, Params, Scalar, Variables

__all__ = ["Chains"]


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Chains(Posterior):
    """Draws of Markov chains: a posterior like any other.

    Attributes:
        variables: Variables as `apply` takes them, with leading axes "chains draws". Variables that
            were not sampled have "chains 1".
        statistics: Statistics of each draw by name, "chains draws": ``log_joint`` (nats),
            ``num_gradients`` and ``divergences`` (both since the previous draw). `nuts` and `hmc`
            add ``energy`` (nats). All samplers but `mclmc` add ``accept_prob``; `mclmc` adds
            ``energy_error`` (nats per √weight, of the last step).
        warmup_gradients: Number of gradients that each chain took in warm-up, "chains".
    """

    variables: Variables
    statistics: dict[str, Any]
    warmup_gradients: Any

    @classmethod
    def joined(cls, parts: "Sequence[Chains]") -> "Chains":
        """The chains of several runs as one, for instance the runs of several hosts.

        Args:
            parts: `Chains` of the same model and number of draws, each run with its own random key.

        Returns:
            `Chains`.

        Raises:
            InputError: If there are no parts, or they differ in weights, statistics or number of
                draws.
        """
        are_chains = isinstance(parts, Sequence) and all(isinstance(x, Chains) for x in parts)
        if not (parts and are_chains):
            raise InputError(f"`parts` must be a list of `Chains`, got {described(parts)}")
        kinds = [(jax.tree.structure(x), [w.shape[1:] for w in jax.tree.leaves(x)]) for x in parts]
        if any(kind != kinds[0] for kind in kinds):
            raise InputError("`parts` must be alike in their weights, statistics and `num_draws`")
        return jax.tree.map(_side_by_side, *parts)

    @property
    def num_chains(self) -> int:
        """Number of chains."""
        return self.statistics["log_joint"].shape[0]

    @property
    def num_draws(self) -> int:
        """Number of draws of each chain."""
        return self.statistics["log_joint"].shape[1]

    @property
    def params(self) -> Params:
        """The tree of weights, all with leading axes "chains draws"."""
        return jax.tree.map(self._full, self.variables["params"])

    @property
    def samples(self) -> Samples:
        """All draws, chain after chain, in one axis."""
        flat = jax.tree.map(lambda x: self._full(x).reshape(-1, *x.shape[2:]), self.variables)
        return Samples(flat.pop("params"), flat)

    @property
    def references(self) -> tuple[str, ...]:
        """BibTeX keys of the papers on the sampler, which the statistics identify."""
        if "energy" in self.statistics:  # `nuts`, or `hmc` with the same warm-up
            return ("neal2011", "hoffman2014", "phan2019")
        if "accept_prob" in self.statistics:
            return ("robnik2025",)
        return ("robnik2024", "sommer2025")

    def sample(self, key: KeyArray) -> Variables:
        """One of the draws, uniformly over all chains."""
        check_key("key", key)
        return self.member(jax.random.uniform(key)).variables

    def member(self, u: float | Scalar) -> Point:
        """Draw ``⌊u · chains · draws⌋``, with u in [0, 1), chain after chain."""
        check_place(u)
        number = self.num_chains * self.num_draws
        # In float32 the product may round up to their number.
        place = jnp.minimum(jnp.floor(jnp.asarray(u) * number).astype(int), number - 1)
        chain, draw = jnp.divmod(place, self.num_draws)

        def taken(x: Any) -> Array:
            return jnp.asarray(x)[chain, draw if x.shape[1] > 1 else 0]

        return Point(jax.tree.map(taken, self.variables))

    def mean(self) -> Params:
        """The mean over all draws."""
        return jax.tree.map(lambda w: jnp.asarray(w).mean((0, 1)), self.variables["params"])

    def variance(self) -> Params:
        """The variance over all draws."""
        return jax.tree.map(lambda w: jnp.asarray(w).var((0, 1)), self.variables["params"])

    def outputs(self, apply: Apply, x: Any) -> Float[Array, "chains draws batch *event"]:
        """The net's output at `x` for every draw, e.g. for R-hat and ESS of predictions."""
        check_functions(apply=apply)
        count_inputs(x)
        with named_errors(x):
            return _outputs(ByContent(apply), self.num_draws, self.variables, x)

    @property
    def _sampled(self) -> dict[str, Any]:
        """The weights that moved, by path."""
        weights = named_leaves(self.variables["params"])
        return {path: w for path, w in weights if w.shape[1] == self.num_draws}

    def _full(self, x: Any) -> Any:
        """A leaf with its full axis of draws; for a NumPy array that was not sampled, a view."""
        if x.shape[1] == self.num_draws:
            return x
        numpy = jnp if isinstance(x, jax.Array) else np
        return numpy.broadcast_to(x, (x.shape[0], self.num_draws, *x.shape[2:]))

    def to_arviz(self) -> Any:
        """The draws for ArviZ: an InferenceData, or a DataTree with ArviZ 1.0 and newer.

        The group ``posterior`` holds the weights that were sampled, by path with dots instead of
        slashes: ``block1.conv.kernel``. The group ``sample_stats`` holds ``lp``, ``energy``,
        ``acceptance_rate``, ``n_steps`` and ``diverging``.

        Raises:
            InputError: If ArviZ is not installed, or two weights would get the same name.

        Example:
            ::

                chains = jf.nuts(model, (x, y), key, starts=start, num_warmup=50, num_draws=50)
                chains.to_arviz().to_netcdf("chains.nc")
        """
        return inference_data(self._sampled, self.statistics)

    @property
    def diagnostics(self) -> dict[str, float]:
        """The `figures` of `diagnose`, without those of predictions."""
        return dict(self.diagnose().figures)

    def diagnose(
        self,
        outputs: Float[ArrayLike, "chains draws *event"] | None = None,
        *,
        weights: bool = False,
        max_rhat: float = MAX_RHAT,
    ) -> Diagnosis:
        """Checks whether the chains have converged.

        Chains have converged if all of these hold: R-hat of the log joint and of every prediction
        is at most `max_rhat`; bulk and tail effective sample sizes are at least 100 per chain; no
        trajectory diverged; E-BFMI is at least 0.3; and the energy error of steps without an
        accept/reject test has a variance of at most 0.002 per weight. Single weights do not count,
        because the units of a net can be permuted.

        Args:
            outputs: Predictions of each draw, e.g. logits from `outputs`, or better the quantities
                that you report.
            weights: Whether to compute the figures of single weights as well.
            max_rhat: The largest acceptable R-hat.

        Returns:
            A `Diagnosis`.

        Source: Vehtari et al., "Rank-normalization, folding, and localization", 2021, §4;
            Betancourt, "Diagnosing suboptimal cotangent disintegrations", 2016, §6 (E-BFMI).
        """
        check_flags(weights=weights)
        check_positive(max_rhat=max_rhat)
        statistics = {name: np.asarray(value) for name, value in self.statistics.items()}
        sizes = convergence(statistics["log_joint"], "")
        if outputs is not None:
            shape = self.num_chains, self.num_draws
            if (outputs := np.asarray(as_array("outputs", outputs))).shape[:2] != shape:
                raise InputError(
                    f"`outputs` must have the axes `chains draws *event`, {shape} and more, got "
                    f"shape {outputs.shape}"
                )
            with naming("outputs"):
                sizes |= convergence(outputs, "_predictions")
        if weights:
            flat = [w.reshape(*w.shape[:2], -1) for w in self._sampled.values()]
            sizes |= convergence(np.concatenate(flat, axis=-1), "_weights")
        figures = {
            **sizes,
            "divergences": float(statistics["divergences"].sum()),
            "num_gradients": float(statistics["num_gradients"].sum()),
            "num_warmup_gradients": float(np.sum(self.warmup_gradients)),
        }
        if "energy" in statistics:
            figures["ebfmi"] = float(ebfmi(statistics["energy"]).min())
        if "accept_prob" in statistics:
            figures["accept_prob"] = float(statistics["accept_prob"].mean())
        if "energy_error" in statistics:
            figures["energy_variance"] = float((statistics["energy_error"] ** 2).mean())
        min_ess = MIN_ESS_PER_CHAIN * len(statistics["log_joint"])
        return Diagnosis(figures, tuple(reasons(figures, max_rhat, min_ess)))


def _side_by_side(*parts: Any) -> Any:
    numpy = jnp if isinstance(parts[0], jax.Array) else np
    return numpy.concatenate(parts)


@partial(ops.jit, static_argnums=(0, 1))
def _outputs(apply: ByContent[Apply], num_draws: int, variables: Variables, x: Any) -> Any:
    leaves, structure = jax.tree.flatten(variables)

    def of_chain(leaves):
        moving = [w if w.shape[0] == num_draws else None for w in leaves]
        still = [w[0] for w in leaves]

        def one(moving):
            both = [old if new is None else new for old, new in zip(still, moving)]
            return apply.value(jax.tree.unflatten(structure, both), x)

        return jax.lax.map(one, moving, batch_size=100)

    return jax.lax.map(of_chain, leaves)

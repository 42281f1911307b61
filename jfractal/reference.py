"""Reference posteriors on disk: draws or their predictions, and the model and data behind them."""

import hashlib
import io
import json
import platform
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jfractal.arguments import as_array, as_path, check_flags, check_type, described, naming
from jfractal.array_files import read_arrays, read_table, write_file
from jfractal.errors import InputError
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.mcmc.chains import Chains
from jfractal.inference.mcmc.diagnosis import Diagnosis
from jfractal.inference.model import Model
from jfractal.posterior.gaussian import named_leaves
from jfractal.predictions.classification import Prediction
from jfractal.summary import summary
from jfractal.typing import Apply, Float, Params

__all__ = ["Reference", "load", "load_probs", "save"]

PACKAGES = ("jfractal", "jax", "flax", "numpyro")
ABOUT = {
    **dict.fromkeys(("net", "prior", "likelihood", "data", "inputs", "outputs_of"), str),
    **dict.fromkeys(("log_prior_at_probe", "log_likelihood_at_probe", "output_at_probe"), float),
    **{"weights": dict, "figures": dict, "reasons": list, "arrays": list},
}
"""The entries in which a file describes its posterior, and their types."""
RTOL = 1e-3  # of the log joint on another device or with another number of threads


@dataclass(frozen=True)
class Reference:
    """A stored posterior to compare others with.

    Attributes:
        outputs: Outputs of the net at the inputs that it was saved for, for each draw.
        chains: The draws of the weights; None if only the outputs were saved.
        diagnosis: Whether the chains had converged.
        about: Net, prior, likelihood, fingerprints and versions, as JSON.
    """

    outputs: Float[np.ndarray, "chains draws batch *event"]
    chains: Chains | None
    diagnosis: Diagnosis
    about: dict[str, Any]

    __repr__ = summary

    @property
    def prediction(self) -> Prediction:
        """The prediction of classes by all draws, if outputs are logits."""
        return Prediction.of(jax.nn.log_softmax(self.outputs.reshape(-1, *self.outputs.shape[2:])))

    @property
    def prediction_by_chain(self) -> tuple[Prediction, ...]:
        """The prediction of each chain; other methods cannot agree better than chains do."""
        return tuple(
            Prediction.of(jax.nn.log_softmax(jnp.asarray(chain))) for chain in self.outputs
        )


def save(
    path: Path,
    chains: Chains,
    model: Model,
    data: Batch,
    x: Any,
    *,
    apply: Apply | None = None,
    with_weights: bool = True,
) -> Reference:
    """Saves chains as a reference: outputs at `x`, the diagnosis, and the model and data.

    Args:
        path: The file, ``.npz``. If it exists, it is replaced atomically.
        chains: Draws from `nuts` or `hmc`.
        model: The model that they were drawn from.
        data: Inputs and targets that they were drawn for, ``(x, y)``.
        x: Inputs to predict at, e.g. those of a test set.
        apply: Function that predicts, e.g. one column of the net. By default, the model's `apply`.
        with_weights: Whether to store the weights as well as the outputs.

    Returns:
        The `Reference`, as `load` returns it.

    Raises:
        InputError: If the file cannot be written.
    """
    path = as_path("path", path)
    check_type("chains", chains, Chains, "the Chains of `nuts` or `hmc`")
    check_type("model", model, Model, "a Model")
    check_flags(with_weights=with_weights)
    _check_data(data, x)
    apply = model.apply if apply is None else apply
    if not callable(apply):
        raise InputError(f"`apply` must be a function, got {described(apply)}")
    outputs = np.asarray(chains.outputs(apply, x))
    diagnosis = chains.diagnose(outputs)
    weights = dict(named_leaves(chains.variables["params"]))
    shapes = {name: w.shape[2:] for name, w in weights.items()}
    about = {
        "net": _described(getattr(model.apply, "__self__", model.apply)),
        "prior": _described(model.prior),
        "likelihood": _described(model.likelihood),
        "num_data": batch_size(data),
        "data": _fingerprint(data),
        "inputs": _fingerprint(x),
        "weights": shapes,
        "outputs_of": _described(getattr(apply, "__self__", apply)),
        **_probe(model, data, shapes, apply, x),
        "figures": dict(diagnosis.figures),
        "reasons": diagnosis.reasons,
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
    }
    arrays: dict[str, Any] = {"outputs": outputs, "warmup_gradients": chains.warmup_gradients}
    arrays |= {f"statistics/{name}": value for name, value in chains.statistics.items()}
    if with_weights:
        arrays |= {f"weights/{name}": w for name, w in weights.items()}
    content = io.BytesIO()
    arrays["about"] = json.dumps({**about, "arrays": [*arrays]})
    np.savez(content, **{name: np.asarray(x) for name, x in arrays.items()})  # type: ignore
    write_file(path, content.getvalue())
    return Reference(outputs, chains if with_weights else None, diagnosis, about)


def load(path: Path, model: Model, data: Batch, x: Any, *, apply: Apply | None = None) -> Reference:
    """Loads a reference, and checks that it is for this model, data and inputs.

    The prior and the likelihood of the data are evaluated at fixed weights and compared with the
    values in the file. The check therefore depends on what a model computes, not on how it is
    written.

    Args:
        path: The file.
        model: The model to compare with the reference.
        data: Its data.
        x: The inputs to predict at.
        apply: Function that predicts, as for `save`.

    Returns:
        The `Reference`.

    Raises:
        InputError: If the file is not a reference, is damaged, or was saved for another net, prior
            or likelihood, other data, other inputs or another `apply`.
    """
    path = as_path("path", path)
    check_type("model", model, Model, "a Model")
    _check_data(data, x)
    if apply is not None and not callable(apply):
        raise InputError(f"`apply` must be a function, got {described(apply)}")
    arrays = read_arrays(path)
    about = _about(path, arrays)
    _check(path, about, model, data, x, apply or model.apply)
    group = lambda name: {
        key.removeprefix(name): value for key, value in arrays.items() if key.startswith(name)
    }
    weights, chains = group("weights/"), None
    if weights:
        params = unflatten_dict(weights, sep="/")
        chains = Chains({"params": params}, group("statistics/"), arrays["warmup_gradients"])
    diagnosis = Diagnosis(about["figures"], tuple(about["reasons"]))
    return Reference(arrays["outputs"], chains, diagnosis, about)


def load_probs(path: Path) -> Float[np.ndarray, "batch classes"]:
    """Class probabilities predicted by a posterior from elsewhere, from a table.

    Args:
        path: A ``.csv`` with one row for each example and one column for each class, with or
            without a header; or an ``.npz`` or ``.npy`` with one such array. If an ``.npz`` holds
            several arrays, ``probs`` is read.

    Returns:
        The probabilities, float32, for `jf.metrics`.

    Raises:
        InputError: If the file cannot be read, or its rows are not probabilities.
    """
    table = read_table(path := as_path("path", path), "probs")
    if table.ndim != 2 or not table.size or not np.issubdtype(table.dtype, np.number):
        raise InputError(
            f"`path`: {path} must hold numbers with the axes `batch classes`, got shape "
            f"{table.shape} of {table.dtype}"
        )
    if not (np.all(table >= 0) and np.allclose(table.sum(-1), 1, atol=1e-3)):
        sums = table.sum(-1)
        raise InputError(
            f"`path`: the rows of {path} must be probabilities that sum to 1, got values from "
            f"{table.min():g} and sums from {sums.min():g} to {sums.max():g}"
        )
    return table.astype(np.float32)


def _check_data(data: Batch, x: Any) -> None:
    with naming("data"):
        batch_size(data)
    leaves = [as_array("x", leaf) for leaf in jax.tree.leaves(x)]
    if not leaves or not all(leaf.ndim and leaf.size for leaf in leaves):
        raise InputError(f"`x` must hold at least one example, got {described(x)}")


def _about(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The description of a reference, from a file that holds a complete one."""
    about: dict[str, Any] = {}
    try:
        about = json.loads(str(arrays["about"]))
        is_whole = all(isinstance(about[name], kind) for name, kind in ABOUT.items())
        is_whole &= arrays.keys() == {*about["arrays"], "about"} and arrays["outputs"].ndim >= 3
    except (LookupError, TypeError, ValueError, RecursionError):
        is_whole = False
    if not is_whole:
        raise InputError(f"`path`: {path} is not a reference; `jf.reference.save` writes one")
    return about


def _described(part: Any) -> str:
    """A one-line description of a part of the model, without memory addresses."""
    return " ".join(re.sub(r" at 0x[0-9a-f]+", "", repr(part)).split())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # used from a checkout
        return None


def _fingerprint(tree: Any) -> str:
    digest = hashlib.sha256()
    for leaf in map(np.asarray, jax.tree.leaves(tree)):
        digest.update(f"{leaf.dtype}{leaf.shape}".encode() + np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _probe(
    model: Model, data: Batch, shapes: dict[str, Any], apply: Apply, x: Any
) -> dict[str, float]:
    """Prior, likelihood and outputs at fixed weights."""
    draw = np.random.RandomState(0).standard_normal
    weights = {name: jnp.asarray(draw(shape) / 4, "float32") for name, shape in shapes.items()}
    params: Params = unflatten_dict(weights, sep="/")
    return {
        "log_prior_at_probe": float(model.prior.tree_log_prob(params)),
        "log_likelihood_at_probe": float(model.log_likelihood({"params": params}, data).sum()),
        "output_at_probe": float(jnp.abs(apply({"params": params}, x)).mean()),
    }


def _check(
    path: Path, about: dict[str, Any], model: Model, data: Batch, x: Any, apply: Apply
) -> None:
    for name, of, now in (("data", "data", data), ("inputs", "inputs", x)):
        if about[of] != _fingerprint(now):
            raise InputError(f"`path`: {path} is a reference for other {name}")
    try:
        probe = _probe(model, data, about["weights"], apply, x)
    except Exception as error:  # whatever a net of another shape raises
        raise InputError(
            f"`path`: {path} is a reference for another net: {about['net']}"
        ) from error
    if not np.isclose(probe["log_prior_at_probe"], about["log_prior_at_probe"], rtol=RTOL):
        raise InputError(
            f"`path`: {path} is a reference for another prior: {about['prior']}, "
            f"not {_described(model.prior)}"
        )
    found, saved = probe["log_likelihood_at_probe"], about["log_likelihood_at_probe"]
    if not np.isclose(found, saved, rtol=RTOL):
        raise InputError(
            f"`path`: {path} is a reference for another net or likelihood: {about['net']} with "
            f"{about['likelihood']}, whose log likelihood at fixed weights is {saved:g} nats, "
            f"not {found:g}"
        )
    if not np.isclose(probe["output_at_probe"], about["output_at_probe"], rtol=RTOL):
        raise InputError(
            f"`path`: {path} holds the outputs of another `apply`: that of {about['outputs_of']}"
        )

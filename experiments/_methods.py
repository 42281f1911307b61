"""Every inference method as one recipe: the same model, start, data, steps and batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any

import optax
from jfractal.inference.sgmcmc import cosine_cycles

import jfractal as jf
from jfractal.posterior.gaussian import Estimator
from jfractal.typing import KeyArray, Params

__all__ = ["Fit", "FitConfig", "chosen", "num_gradients", "num_steps", "recipes", "slug"]

Fit = Callable[[KeyArray], jf.Posterior]


@dataclass(frozen=True)
class FitConfig:
    """What all methods share, and the few settings that one of them has to itself."""

    num_epochs: int = 40
    """Passes over the training data."""
    batch_size: int = 128
    """Examples in a step."""
    learning_rate: float = 1e-3
    """Of Adam, falling to 0 along a cosine."""
    kl_weight: float = 1.0
    """Factor of the KL of variational methods, the temperature of the posterior."""
    scale: float = 0.02
    """Initial standard deviation of every weight of a mean-field posterior."""
    dropout_rate: float = 0.2
    """Share of the inputs of each layer that dropout drops."""
    num_members: int = 5
    """Members of an ensemble."""
    ivon_rate: float = 0.1
    """Learning rate of IVON."""
    hessian_init: float = 0.1
    """Hessian that IVON starts from."""
    swag_rate: float = 0.05
    """Constant learning rate of SWAG's gradient descent."""
    sgld_rate: float = 0.1
    """Learning rate at the start of each cycle of SGLD; it falls along a cosine."""
    sghmc_rate: float = 0.02
    """The same of SGHMC."""
    temperature: float = 1.0
    """Of SGLD and SGHMC."""
    num_samples: int = 32
    """Draws of the weights for a prediction, iterates that SWAG keeps, and cycles of SGLD and
    SGHMC in the second half of their steps: each ends in one draw."""


def num_steps(config: FitConfig, num_data: int) -> int:
    """Steps of a fit."""
    return config.num_epochs * max(num_data // config.batch_size, 1)


def _thinning(config: FitConfig, num_data: int) -> int:
    """Steps from draw to draw, of which one half forgets the start."""
    return max(num_steps(config, num_data) // (2 * config.num_samples), 1)


def num_gradients(config: FitConfig, method: str, num_data: int) -> float:
    """What a recipe costs, in gradients over all data; curvatures of a Laplace aside."""
    steps, thinning = num_steps(config, num_data), _thinning(config, num_data)
    if method == "ensemble":
        steps *= config.num_members
    elif method == "SWAG":
        steps += config.num_samples * max(thinning // 2, 1)
    elif method in ("SGLD", "SGHMC"):
        steps = 2 * config.num_samples * thinning
    return steps * min(config.batch_size, num_data) / num_data


def recipes(
    config: FitConfig,
    log_joint: jf.LogJoint,
    init: Callable[[KeyArray], Params],
    *,
    last_layer: str = "output",
    fixed: str = "",
) -> Mapping[str, Fit]:
    """A function from a random key to a posterior, for each method by name.

    Args:
        config: The settings.
        log_joint: Data, model, prior and likelihood.
        init: Draws arrays to start from.
        last_layer: First part of the paths of the weights that the last-layer Laplace is over.
        fixed: Path of a weight outside all layers, e.g. of the noise: no Laplace is over it, and a
            mean field draws it by itself, as it does the weights of norms.
    """
    steps = num_steps(config, log_joint.num_data)
    batch_size = min(config.batch_size, log_joint.num_data)
    cosine = optax.cosine_decay_schedule(config.learning_rate, steps)
    common: dict[str, Any] = {"num_steps": steps, "batch_size": batch_size}
    adam: dict[str, Any] = {"optimizer": optax.adam(cosine), **common}

    free = lambda path, leaf: path != fixed
    in_layers = lambda path, leaf: free(path, leaf) and "/norm/" not in path

    def mean_field(estimator: Estimator) -> Fit:
        def start(key: KeyArray) -> Params:
            params = jf.mean_field(init(key), scale=config.scale)
            return jf.mean_field(params, scale=config.scale, estimator=estimator, where=in_layers)

        return partial(jf.variational, log_joint, start, kl_weight=config.kl_weight, **adam)

    thinning = _thinning(config, log_joint.num_data)

    def chain(method: Callable[..., jf.Samples], learning_rate: float) -> Fit:
        return partial(
            method,
            log_joint,
            init,
            learning_rate=cosine_cycles(learning_rate, thinning),
            num_warmup=config.num_samples * thinning,
            num_samples=config.num_samples,
            thinning=thinning,
            batch_size=batch_size,
            temperature=config.temperature,
        )

    masks = gcd(4, batch_size)
    point = partial(jf.maximum_a_posteriori, log_joint, init, **adam)
    head = lambda path, leaf: path.startswith(last_layer)
    return {
        "MAP": point,
        "MC dropout": partial(
            jf.mc_dropout, log_joint, init, rate=config.dropout_rate, num_samples=masks, **adam
        ),
        "mean field": mean_field("reparam"),
        "mean field, local": mean_field("local_reparam"),
        "mean field, flipout": mean_field("flipout"),
        "mean field, antithetic": mean_field("antithetic"),
        "mean field, per example": mean_field("per_example"),
        "IVON": partial(
            jf.ivon,
            log_joint,
            init,
            learning_rate=optax.cosine_decay_schedule(config.ivon_rate, steps),
            hessian_init=config.hessian_init,
            kl_weight=config.kl_weight,
            **common,
        ),
        "ensemble": lambda key: jf.ensemble(point, key, config.num_members),
        "SWAG": partial(
            jf.swag,
            log_joint,
            init,
            learning_rate=config.swag_rate,
            rank=min(20, config.num_samples),
            num_samples=config.num_samples,
            thinning=max(thinning // 2, 1),
            **adam,
        ),
        "Laplace, last layer": partial(jf.laplace, log_joint, init, where=head, **adam),
        "Laplace, full": partial(jf.laplace, log_joint, init, where=free, **adam),
        "Laplace, diagonal": partial(jf.diagonal_laplace, log_joint, init, where=free, **adam),
        "SGLD": chain(jf.sgld, config.sgld_rate),
        "SGHMC": chain(jf.sghmc, config.sghmc_rate),
    }


def chosen(fits: Mapping[str, Fit], methods: Sequence[str]) -> dict[str, Fit]:
    """The methods that the settings name.

    Raises:
        InputError: If there is none of a name.
    """
    if unknown := set(methods) - set(fits):
        raise jf.InputError(
            f"`methods` must be out of {', '.join(map(repr, fits))}, got {min(unknown)!r}"
        )
    return {name: fits[name] for name in methods}


def slug(name: str) -> str:
    """A method's name in result.json."""
    return name.lower().replace(",", "").replace("-", "_").replace(" ", "_")

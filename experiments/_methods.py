"""Every inference method as one recipe: the same model, start, data, steps and batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any, Literal

import jax
import optax

import jfractal as jf
from jfractal.posterior.gaussian import Estimator, Where
from jfractal.training import scan
from jfractal.typing import KeyArray, Params

__all__ = ["Fit", "FitConfig", "chosen", "num_gradients", "num_steps", "recipes"]

Fit = Callable[[Any, KeyArray], jf.Posterior]
"""From inputs and targets, and a random key, to a posterior; a pure function."""


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
    model: jf.Model,
    init: Callable[[KeyArray], Params],
    num_data: int,
    *,
    last_layer: str = "output",
    fixed: str = "",
) -> Mapping[str, Fit]:
    """A function from data and a random key to a posterior, for each method by name.

    Args:
        config: The settings.
        model: Net, prior and likelihood.
        init: Draws arrays to start from.
        num_data: Number of examples of the data.
        last_layer: First part of the paths of the weights that the last-layer Laplace is over.
        fixed: Path of a weight outside all layers, e.g. of the noise: no Laplace is over it, and a
            mean field draws it by itself, as it does the weights of norms.
    """
    steps, batch_size = num_steps(config, num_data), min(config.batch_size, num_data)
    adam = optax.adam(optax.cosine_decay_schedule(config.learning_rate, steps))
    thinning = _thinning(config, num_data)
    free = lambda path, leaf: path != fixed
    in_layers = lambda path, leaf: free(path, leaf) and "/norm/" not in path

    def fitted(method: jf.Method, start: Any = init, num_steps: int = steps) -> Fit:
        def fit(data: Any, key: KeyArray) -> jf.Posterior:
            return scan(method, start, data, key, num_steps=num_steps, batch_size=batch_size)[0]

        return fit

    def mean_field(estimator: Estimator) -> Fit:
        def start(key: KeyArray) -> Params:
            params = jf.mean_field(init(key), scale=config.scale)
            return jf.mean_field(params, scale=config.scale, estimator=estimator, where=in_layers)

        return fitted(jf.variational(model, adam, kl_weight=config.kl_weight), start)

    def chain(method: Callable[..., jf.Method], learning_rate: float) -> Fit:
        sampler = method(
            model,
            learning_rate=jf.cosine_cycles(learning_rate, thinning),
            num_warmup=config.num_samples * thinning,
            num_draws=config.num_samples,
            thinning=thinning,
            temperature=config.temperature,
        )
        return fitted(sampler, num_steps=2 * config.num_samples * thinning)

    point = jf.maximum_a_posteriori(model, adam)

    def after_point(finish: Callable[[Params, Any, KeyArray], jf.Posterior]) -> Fit:
        def fit(data: Any, key: KeyArray) -> jf.Posterior:
            key_point, key_finish = jax.random.split(key)
            return finish(fitted(point)(data, key_point).mean(), data, key_finish)

        return fit

    def laplace(where: Where, structure: Literal["full", "diagonal"]) -> Fit:
        return after_point(
            lambda params, data, key: jf.laplace(
                model, params, data, where=where, structure=structure, batch_size=batch_size
            )
        )

    def swag(params: Params, data: Any, key: KeyArray) -> jf.Posterior:
        pause, rank = max(thinning // 2, 1), min(20, config.num_samples)
        method = jf.swag(model, optax.sgd(config.swag_rate), thinning=pause, rank=rank)
        return fitted(method, params, config.num_samples * pause)(data, key)

    dropout = jf.mc_dropout(model, adam, rate=config.dropout_rate, num_samples=gcd(4, batch_size))
    newton = jf.ivon(
        model,
        learning_rate=optax.cosine_decay_schedule(config.ivon_rate, steps),
        hessian_init=config.hessian_init,
        kl_weight=config.kl_weight,
    )
    return {
        "MAP": fitted(point),
        "MC dropout": fitted(dropout),
        "mean field": mean_field("reparam"),
        "mean field, local": mean_field("local_reparam"),
        "mean field, flipout": mean_field("flipout"),
        "mean field, antithetic": mean_field("antithetic"),
        "mean field, per example": mean_field("per_example"),
        "IVON": fitted(newton),
        "ensemble": fitted(jf.ensemble(point, config.num_members)),
        "SWAG": after_point(swag),
        "Laplace, last layer": laplace(lambda path, leaf: path.startswith(last_layer), "full"),
        "Laplace, full": laplace(free, "full"),
        "Laplace, diagonal": laplace(free, "diagonal"),
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

"""A recipe for every inference method, with the same model, start, data, steps and batches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax

import jfractal as jf
from experiments.ranges import Count, NotNegative, OneOf, Positive, Precision, Rate
from experiments.settings import Settings
from jfractal.posterior.gaussian import Estimator, Where
from jfractal.training import scan
from jfractal.typing import KeyArray, Params

Fit = Callable[[Any, KeyArray], jf.Posterior]
"""From inputs and targets, and a random key, to a posterior; a pure function."""


METHODS = (
    "MAP",
    "MC dropout",
    "mean field",
    "mean field, local",
    "mean field, flipout",
    "mean field, antithetic",
    "mean field, per example",
    "IVON",
    "ensemble",
    "SWAG",
    "Laplace, last layer",
    "Laplace, full",
    "Laplace, diagonal",
    "SGLD",
    "SGHMC",
)
Method = Annotated[str, OneOf(METHODS)]


def without(*names: str) -> tuple[str, ...]:
    """All methods but these."""
    return tuple(name for name in METHODS if name not in names)


@dataclass(frozen=True)
class FitConfig(Settings):
    """The settings that all methods share, and the few that belong to one of them."""

    num_epochs: Count = 40  # Passes over the training data.
    batch_size: Count = 128  # Examples in a step.
    learning_rate: Positive = 1e-3  # Of Adam, falling to 0 along a cosine.
    precision: Precision = "float32"  # In which the net computes while it is trained.
    kl_weight: NotNegative = 1.0  # Factor of the KL, the temperature of variational methods.
    scale: Positive = 0.02  # Initial standard deviation of every weight of a mean field.
    dropout_rate: Rate = 0.2  # Share of the inputs of each layer that dropout drops.
    num_members: Count = 5  # Members of an ensemble.
    ivon_rate: Positive = 0.1  # Learning rate of IVON.
    hessian_init: Positive = 0.1  # Hessian that IVON starts from.
    swag_rate: Positive = 0.05  # Constant learning rate of SWAG's gradient descent.
    sgld_rate: Positive = 0.1  # Learning rate of SGLD at the start of each cycle, a cosine.
    sghmc_rate: Positive = 0.02  # The same of SGHMC.
    temperature: NotNegative = 1.0  # Of SGLD and SGHMC.
    # Draws of the weights for a prediction, iterates that SWAG keeps, and cycles of SGLD and SGHMC
    # in the second half of their steps: each ends in one draw.
    num_samples: Count = 32


def num_steps(config: FitConfig, num_data: int) -> int:
    """Steps of a fit."""
    return config.num_epochs * max(num_data // config.batch_size, 1)


def _thinning(config: FitConfig, num_data: int) -> int:
    """Steps from draw to draw, of which one half forgets the start."""
    return max(num_steps(config, num_data) // (2 * config.num_samples), 1)


def num_gradients(config: FitConfig, method: str, num_data: int) -> float:
    """The cost of a recipe in gradients over all data, without the curvature of Laplace."""
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
    model = computed_in(config.precision, model)
    steps, batch_size = num_steps(config, num_data), min(config.batch_size, num_data)
    adam = optax.adam(optax.cosine_decay_schedule(config.learning_rate, steps))
    thinning = _thinning(config, num_data)
    free = lambda path, leaf: path != fixed

    def fitted(method: jf.Method, start: Any = init, num_steps: int = steps) -> Fit:
        def fit(data: Any, key: KeyArray) -> jf.Posterior:
            return scan(method, start, data, key, num_steps=num_steps, batch_size=batch_size)[0]

        return fit

    def mean_field(estimator: Estimator) -> Fit:
        def start(key: KeyArray) -> Params:
            return lifted(init(key), config.scale, estimator, fixed=fixed)

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


def lifted(params: Params, scale: float, estimator: Estimator, *, fixed: str = "") -> Params:
    """A Gaussian around every weight; the estimator draws those of layers, not those of norms.

    Args:
        params: The means.
        scale: Standard deviation of every weight.
        estimator: How layers draw their weights.
        fixed: Path of a weight outside all layers.
    """
    in_layers = lambda path, leaf: path != fixed and "/norm/" not in path
    drawn = jf.mean_field(params, scale=scale)
    return jf.mean_field(drawn, scale=scale, estimator=estimator, where=in_layers)


def computed_in(precision: Precision, model: jf.Model) -> jf.Model:
    """The model whose net computes in another precision; its weights and outputs stay float32."""
    if precision == "float32":
        return model

    def apply(variables: Any, x: Any, **options: Any) -> Any:
        outputs = model.apply(_cast(variables, precision), _cast(x, precision), **options)
        return _cast(outputs, "float32")

    return replace(model, apply=apply)


def _cast(tree: Any, dtype: str) -> Any:
    """Numbers with a point in another precision, all else as it is."""
    is_real = lambda leaf: jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating)
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if is_real(x) else x, tree)

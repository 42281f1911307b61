"""Posteriors around the weights of a trained net: SWAG, a mean field, a last-layer Laplace."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

import jfractal as jf
from experiments import _nets as nets
from experiments._images import Split
from experiments._routes import BATCH
from experiments.ranges import Count, NotNegative, Positive
from experiments.run import Run
from experiments.settings import Settings
from jfractal.nn import BlockNet
from jfractal.typing import Variables

ITERATES = 20  # that SWAG averages; half of them span its covariance


@dataclass(frozen=True)
class AroundConfig(Settings):
    """Posteriors around a trained net, and how many draws of each make a prediction."""

    num_samples: Count = 8  # Draws for a prediction.
    num_epochs: Count = 1  # Passes over the images of SWAG and the mean field.
    swag_rate: Positive = 0.02  # Constant learning rate of SWAG's gradient descent.
    learning_rate: Positive = 1e-3  # Of the mean field, by Adam, falling to 0 along a cosine.
    scale: Positive = 0.01  # Standard deviation at which every weight of the mean field starts.
    # Standard deviation of the Gaussian prior of the mean field and of the last-layer Laplace.
    prior_scale: Positive = 0.1
    kl_weight: NotNegative = 0.003  # Factor of the KL of the mean field, its temperature.


def posteriors(
    config: nets.Config,
    around: AroundConfig,
    run: Run,
    net: BlockNet,
    variables: Variables,
    split: Split,
    *,
    name: str,
) -> dict[str, jf.Posterior]:
    """Posteriors of the whole net by method, all begun at the same trained weights.

    Args:
        config: How the net was trained.
        around: The posteriors.
        run: Where their fits are kept.
        net: The net.
        variables: Of the trained net, with the batch statistics of the whole net.
        split: The images.
        name: Of the net, in the log.
    """
    alone = config.but(train=nets.ALONE)
    steps = around.num_epochs * (len(split.train[0]) // config.train.batch_size)
    wander = jf.swag(
        nets.model_of(alone, net),
        optax.sgd(around.swag_rate, momentum=0.9),
        thinning=max(steps // ITERATES, 1),
        rank=ITERATES // 2,
    )
    bayes = jf.variational(
        nets.model_of(alone, net, jf.priors.Gaussian(around.prior_scale)),
        optax.adam(optax.cosine_decay_schedule(around.learning_rate, steps)),
        kl_weight=around.kl_weight,
        scale=around.scale,
    )
    found: dict[str, jf.Posterior] = {}
    for method, fitted in {"SWAG": wander, "mean field": bayes}.items():
        posterior: Any = run.fit(
            fitted,
            variables,
            split.train,
            jax.random.key(config.seed),
            name=f"{method.lower().replace(' ', '_')}_{name}",
            num_epochs=around.num_epochs,
            batch_size=config.train.batch_size,
            augment=split.augment,
            log_every=config.train.log_every,
            mesh=nets.mesh(config.train.num_devices),
        ).posterior
        found[method] = drawn(net, posterior, split, around.num_samples, config.seed)
    return found | {"last-layer Laplace": last_layer(config, around, net, variables, split)}


def drawn(
    net: BlockNet, posterior: jf.Posterior, split: Split, num_samples: int, seed: int
) -> jf.Ensemble:
    """Draws from a posterior, each with the batch statistics that its own weights have."""
    draws = [
        nets.recalibrated(net, posterior.sample(key), split, routes=(None,), num_batches=8)
        for key in jax.random.split(jax.random.key(seed), num_samples)
    ]
    return jf.Ensemble(jf.Point(jax.tree.map(lambda *leaves: jnp.stack(leaves), *draws)))


def last_layer(
    config: nets.Config, around: AroundConfig, net: BlockNet, variables: Variables, split: Split
) -> jf.Posterior:
    """A Gaussian over the weights of the head, of the curvature that all training images give."""
    images, labels = split.train
    model = jf.fractal_model(
        net,
        prior=jf.priors.Gaussian(around.prior_scale),
        likelihood=jf.likelihoods.Categorical(smoothing=config.train.label_smoothing),
    )
    return jf.laplace(
        model,
        variables,
        (
            (split.standardise(images[i : i + BATCH]), jnp.asarray(labels[i : i + BATCH]))
            for i in range(0, len(labels), BATCH)
        ),
        where=lambda path, leaf: path.startswith("head/"),
        structure="kronecker",
    )

"""Every method, made of a model alone."""

import optax

import jfractal as jf

METHODS = {
    "maximum_a_posteriori": lambda model: jf.maximum_a_posteriori(model, optax.sgd(1e-2)),
    "variational": lambda model: jf.variational(model, optax.sgd(1e-2), num_samples=2),
    "ivon": lambda model: jf.ivon(model, learning_rate=0.1, num_samples=2),
    "sgld": lambda model: jf.sgld(model, learning_rate=1e-3, num_draws=2, thinning=1),
    "sghmc": lambda model: jf.sghmc(model, learning_rate=1e-3, num_draws=2, thinning=1),
    "sgld, found": lambda model: jf.sgld(model, num_warmup=2, num_draws=2, thinning=1),
    "smile": lambda model: jf.smile(model, num_warmup=2, num_draws=2, thinning=1),
    "swag": lambda model: jf.swag(model, optax.sgd(1e-2), rank=2),
    "mc_dropout": lambda model: jf.mc_dropout(model, optax.sgd(1e-2), num_samples=2),
    "mc_drop_path": lambda model: jf.mc_drop_path(model, optax.sgd(1e-2), rate=0.5),
    "ensemble": lambda model: jf.ensemble(jf.swag(model, optax.sgd(1e-2), rank=2), 2),
}
PRIOR, LIKELIHOOD = jf.priors.Gaussian(1.0), jf.likelihoods.Categorical()

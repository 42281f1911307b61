"""Drop-path Monte Carlo: training with drop-path, read as inference."""

from dataclasses import replace

import optax

from jfractal.arguments import check_rate
from jfractal.errors import InputError
from jfractal.inference.fractal_model import FractalModel
from jfractal.inference.maximum_a_posteriori import maximum_a_posteriori
from jfractal.inference.method import Descent, Method
from jfractal.inference.sub_networks import SubNetworks, sub_networks
from jfractal.posterior.samples import Point

__all__ = ["mc_drop_path"]


def mc_drop_path(
    model: FractalModel, optimizer: optax.GradientTransformation, *, rate: float = 0.15
) -> Method:
    """``argmax_w E_alive[log p(D, w | alive)]``: trains with drop-path, as the net predicts.

    Every step drops join inputs over the whole net; no step trains a single column alone. For a net
    that is already trained see `sub_networks`.

    Args:
        model: The model of a fractal net, see `fractal_model`.
        optimizer: An optax optimizer; it sees the expected log joint in nats per example.
        rate: Probability of dropping a join input, in [0, 1).

    Returns:
        A `Method` whose posterior is a `SubNetworks` of the trained weights.

    Raises:
        InputError: If an argument is out of range, or `model` is not that of a fractal net.

    Example:
        ::

            model = jf.fractal_model(fractal, prior=prior, likelihood=likelihood)
            method = jf.mc_drop_path(model, optax.adam(1e-3), rate=0.15)

    References:
        Larsson et al., ICLR 2017, §3. The reading as inference follows that of dropout by Gal &
        Ghahramani, ICML 2016.
    """
    if not isinstance(model, FractalModel):
        raise InputError(
            "`model` must be that of a fractal net, `jf.fractal_model(net, ...)`, to drop join "
            f"inputs, got a {type(model).__name__}"
        )
    check_rate(rate=rate)
    joined = replace(model, routes="sampled", global_rate=0.0, drop_path=rate)
    method = maximum_a_posteriori(joined, optimizer)

    def posterior(state: Descent) -> SubNetworks:
        point = Point({"params": state.params, **state.variables})
        return sub_networks(model.net, point, rate=rate)

    return method._replace(name="MC drop-path", posterior=posterior, references=("gal2016",))

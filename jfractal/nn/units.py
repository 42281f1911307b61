"""What stands at a `topology.Unit`: convolution, dropout, normalisation, activation."""

from collections.abc import Callable

import flax.linen as nn

from jfractal.nn.bayes import Conv
from jfractal.nn.initializers import Initializer, he
from jfractal.nn.norms import get_norm
from jfractal.typing import Array

__all__ = ["ConvUnit"]


class ConvUnit(nn.Module):
    """conv 3×3 – dropout – norm – ReLU.

    Attributes:
        features: Number of output channels.
        conv: `Conv`, `BayesConv`, `nn.Conv` or a partial of one.
        norm: Name of the normalisation, see `jfractal.nn.norms.get_norm`.
        dropout: Probability of dropping an activation in training.
        kernel_init: Initial kernel, see `jfractal.nn.initializers`.

    Source: Larsson et al., ICLR 2017, §2; the place of the dropout is that of the authors' code.
    """

    features: int
    conv: Callable[..., nn.Module] = Conv
    norm: str = "batch"
    dropout: float = 0.0
    kernel_init: Initializer = he

    @nn.compact
    def __call__(self, x: Array, *, train: bool, alone: bool) -> Array:
        """Maps "batch height width channels" to "batch height width features"."""
        conv = self.conv(
            self.features, (3, 3), use_bias=False, kernel_init=self.kernel_init, name="conv"
        )
        x = conv(x)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        x = get_norm(self.norm)()(x, train=train, alone=alone)
        return nn.relu(x)

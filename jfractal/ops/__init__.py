"""Operations that know how to be fast."""

from jfractal.ops.conv import conv_general_dilated as conv_general_dilated
from jfractal.ops.pool import max_pool as max_pool

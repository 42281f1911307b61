"""Operations with fast implementations for each platform."""

from jfractal.ops.compiler import jit as jit
from jfractal.ops.conv import conv_general_dilated as conv_general_dilated
from jfractal.ops.dot import dot_general as dot_general
from jfractal.ops.maximum import maximum as maximum
from jfractal.ops.memory import device_memory as device_memory
from jfractal.ops.memory import even_part as even_part
from jfractal.ops.memory import largest_batch as largest_batch
from jfractal.ops.memory import live_bytes as live_bytes
from jfractal.ops.memory import memory_budget as memory_budget
from jfractal.ops.memory import side_by_side_budget as side_by_side_budget
from jfractal.ops.normalize import Normalized as Normalized
from jfractal.ops.normalize import normalize as normalize
from jfractal.ops.pool import max_pool as max_pool
from jfractal.ops.precision import Precision as Precision
from jfractal.ops.precision import faster_precision as faster_precision
from jfractal.ops.random import bernoulli as bernoulli
from jfractal.ops.random import normal as normal

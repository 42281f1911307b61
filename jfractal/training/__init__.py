"""Training by stochastic gradients: state, objectives, loop, checkpoints."""

from jfractal.training import kl_weight as kl_weight
from jfractal.training.checkpoint import Checkpoints as Checkpoints
from jfractal.training.drop_path import DropPath as DropPath
from jfractal.training.learned_routes import learned_routes as learned_routes
from jfractal.training.loop import Trainer as Trainer
from jfractal.training.loop import count_steps as count_steps
from jfractal.training.objective import cross_entropy as cross_entropy
from jfractal.training.objective import every_route as every_route
from jfractal.training.objective import negative_elbo as negative_elbo
from jfractal.training.objective import partitioned as partitioned
from jfractal.training.state import TrainState as TrainState
from jfractal.training.statistics import recalibrate as recalibrate

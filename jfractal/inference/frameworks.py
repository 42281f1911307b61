"""The two passes of a model, for evaluation and for training, made from a module."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import getitem
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from jfractal.arguments import as_strings, check_type
from jfractal.errors import InputError
from jfractal.typing import Apply, Array, KeyArray, PyTree, Variables

__all__ = ["Passes", "from_equinox", "from_linen", "from_nnx"]

# Keywords that tell training from evaluation, and their value in training.
TRAINING = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}

Layout = tuple[Callable[[Array], Array], Callable[[Array], Array]]
"""Turns the axes of a framework into those used here, and back."""


class Passes(NamedTuple):
    """How a module runs.

    Attributes:
        evaluate: ``evaluate(variables, x) -> outputs``.
        train: ``train(variables, x, key) -> (outputs, variables)``.
        variables: Variables that the module itself holds.
    """

    evaluate: Apply
    train: Callable[[Variables, Any, KeyArray], tuple[Any, Variables]]
    variables: Variables


class Form(NamedTuple):
    """The tree in which a framework holds the arrays of one collection of variables.

    Attributes:
        structure: Structure of the framework's tree.
        paths: Path of each of its leaves among the variables.
    """

    structure: Any
    paths: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, collection: str, tree: PyTree, names: PyTree | None = None) -> "Form":
        """The form of a tree; `names` has the same leaves in the same order, if it names them."""
        leaves = jax.tree_util.tree_leaves_with_path(tree if names is None else names)
        name = lambda key: jax.tree_util.keystr((key,), simple=True)
        paths = tuple((collection, *map(name, path)) for path, _ in leaves)
        return cls(jax.tree.structure(tree), paths)

    def variables(self, tree: PyTree) -> Variables:
        """The framework's tree as nested dictionaries."""
        nested: Variables = {}
        for (*above, name), leaf in zip(self.paths, jax.tree.leaves(tree), strict=True):
            level = reduce(lambda level, key: level.setdefault(key, {}), above, nested)
            # Of a type of its own: a weak one could change from pass to pass.
            level[name] = jnp.asarray(leaf, jnp.result_type(leaf))
        return nested

    def tree(self, variables: Variables) -> Any:
        """The framework's tree, from nested dictionaries."""
        return self.structure.unflatten([_at(variables, path) for path in self.paths])


def _at(variables: Variables, path: tuple[str, ...]) -> Any:
    try:
        return reduce(getitem, path, variables)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"`params` lacks '{'/'.join(path)}': start from all of the variables that came with "
            "the model"
        ) from error


def from_linen(net: Any, *, training: str | None, rngs: Sequence[str]) -> Passes:
    """See `Model.from_linen`."""
    if not isinstance(net, linen.Module):
        raise InputError(
            f"`net` must be a Flax Linen module, got a {type(net).__name__}: see also "
            "`jf.Model.from_nnx` and `jf.Model.from_equinox`"
        )
    rngs = as_strings("rngs", rngs)
    off, on = _switches(net, training)

    def evaluate(variables: Variables, x: Any, **options: Any) -> Any:
        return net.apply(variables, x, **off | options)

    evaluate.__name__ = type(net).__name__

    def train(variables: Variables, x: Any, key: KeyArray) -> tuple[Any, Variables]:
        streams = (*rngs, "posterior")
        keys = dict(zip(streams, jax.random.split(key, len(streams))))
        mutable = [name for name in variables if name != "params"]
        outputs, updates = net.apply(variables, x, mutable=mutable, rngs=keys, **on)
        return outputs, {**variables, **updates}

    return Passes(evaluate, train, {})


def from_nnx(module: Any, *, training: str | None) -> Passes:
    """See `Model.from_nnx`."""
    from flax import nnx  # here, since whoever has no NNX module can spare it

    if not isinstance(module, nnx.Module):
        raise InputError(f"`module` must be a Flax NNX module, got a {type(module).__name__}")
    off, on = _switches(module, training)
    module = nnx.clone(module)  # for `eval` and `train` change what they are called on
    module.eval()
    evaluation = nnx.graphdef(module)
    module.train()
    graph, rngs, *states = _split(module)
    names = ("params", "batch_stats", "state")
    forms = [Form.of(n, s, nnx.to_pure_dict(s)) for n, s in zip(names, states, strict=True)]
    rng_structure, rng_types = (
        jax.tree.structure(rngs),
        tuple(map(jax.typeof, jax.tree.leaves(rngs))),
    )

    def run(graph: Any, variables: Variables, x: Any, key: KeyArray, options: dict) -> Any:
        rngs = rng_structure.unflatten(_reseeded(rng_types, key))
        net = nnx.merge(graph, rngs, *(form.tree(variables) for form in forms))
        outputs = net(x, **options)
        nnx.pop(net, nnx.Intermediate)  # what the pass has sown
        return outputs, _split(net)[3:]

    def evaluate(variables: Variables, x: Any, **options: Any) -> Any:
        # A net that draws in evaluation draws the same in every pass.
        return run(evaluation, variables, x, jax.random.key(0), off | options)[0]

    evaluate.__name__ = type(module).__name__

    def train(variables: Variables, x: Any, key: KeyArray) -> tuple[Any, Variables]:
        outputs, after = run(graph, variables, x, key, on)
        for form, state in zip(forms[1:], after, strict=True):
            variables = {**variables, **form.variables(state)}
        return outputs, variables

    variables: Variables = {}
    for form, state in zip(forms, states, strict=True):
        variables |= form.variables(state)
    return Passes(evaluate, train, variables)


def from_equinox(module: Any, state: Any, *, axis_name: str) -> Passes:
    """See `Model.from_equinox`."""
    eqx = _equinox()
    if not isinstance(module, eqx.Module) or not callable(module):
        raise InputError(
            f"`module` must be an Equinox module that can be called, got a {type(module).__name__}"
        )
    check_type("axis_name", axis_name, str, "the name of an axis")
    if state is not None:
        check_type("state", state, eqx.nn.State, "the State of `eqx.nn.make_with_state`")
    is_index = lambda x: isinstance(x, eqx.nn.StateIndex)
    if state is None and any(map(is_index, jax.tree.leaves(module, is_leaf=is_index))):
        raise InputError(
            "`state` must be given for a module that has one, e.g. in a BatchNorm: "
            "`module, state = eqx.nn.make_with_state(Net)(...)`"
        )
    parts = lambda value: eqx.partition(eqx.nn.inference_mode(module, value), eqx.is_inexact_array)
    (weights, training), (_, evaluation) = parts(False), parts(True)
    form, state_form = Form.of("params", weights), Form.of("state", state)
    layouts = _layouts(module)
    takes_key = "key" in inspect.signature(type(module).__call__).parameters

    def run(rest: Any, variables: Variables, x: Any, keys: KeyArray | None) -> Any:
        weights = _laid_out(form.tree(variables), layouts, 1)
        net, state = eqx.combine(weights, rest), state_form.tree(variables)

        def one(x: Any, key: KeyArray | None) -> Any:
            arguments = () if state is None else (state,)
            outputs = net(x, *arguments, **({"key": key} if takes_key else {}))
            return (outputs, None) if state is None else outputs

        return jax.vmap(one, out_axes=(0, None), axis_name=axis_name)(x, keys)

    def evaluate(variables: Variables, x: Any) -> Any:
        return run(evaluation, variables, x, None)[0]

    evaluate.__name__ = type(module).__name__

    def train(variables: Variables, x: Any, key: KeyArray) -> tuple[Any, Variables]:
        keys = jax.random.split(key, len(jax.tree.leaves(x)[0]))
        outputs, after = run(training, variables, x, keys)
        return outputs, {**variables, **state_form.variables(after)}

    variables = form.variables(_laid_out(weights, layouts, 0)) | state_form.variables(state)
    return Passes(evaluate, train, variables)


def _switches(net: Any, training: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords that switch a net to evaluation, and those that switch it to training."""
    parameters = inspect.signature(type(net).__call__).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    if training is None:
        names = [name for name in TRAINING if name in parameters]
    else:
        check_type("training", training, str, "the name of a keyword")
        if training not in parameters and not takes_any:
            raise InputError(
                f"`training` must be a keyword of {type(net).__name__}.__call__, which takes "
                f"{', '.join(list(parameters)[1:])}, got {training!r}"
            )
        names = [training]
    on = {name: TRAINING.get(name, True) for name in names}
    return {name: not value for name, value in on.items()}, on


def _split(module: Any) -> tuple:
    """The graph of an NNX module, its random state, weights, batch statistics and other state."""
    from flax import nnx

    graph, rngs, *states = nnx.split(module, nnx.RngState, nnx.Param, nnx.BatchStat, ...)
    return graph, rngs, *states


def _reseeded(types: Sequence[Any], key: KeyArray) -> list[Array]:
    """Random state of these types: each stream gets its own key, and counts of 0."""
    is_key = lambda t: jnp.issubdtype(t.dtype, jax.dtypes.prng_key)
    keys = iter(jax.random.split(key, max(1, sum(map(is_key, types)))))
    return [_keys(next(keys), t.shape) if is_key(t) else jnp.zeros(t.shape, t.dtype) for t in types]


def _keys(key: KeyArray, shape: tuple[int, ...]) -> Array:
    return jax.random.split(key, shape) if shape else key


def _equinox() -> Any:
    try:
        import equinox
    except ImportError as error:
        raise InputError(
            "`from_equinox` needs Equinox, which is not installed: pip install equinox"
        ) from error
    return equinox


def _layouts(module: Any) -> dict[str, Layout]:
    """The weights of an Equinox module whose layout differs from Flax's, by path.

    Equinox keeps kernels as "outputs inputs *window" and biases of convolutions as "outputs 1 1".
    Priors and posteriors read "*window inputs outputs" and "outputs", as in Flax.
    """
    nn = _equinox().nn
    layers = nn.Linear, nn.Conv, nn.ConvTranspose, nn.GRUCell, nn.LSTMCell
    is_layer = lambda x: isinstance(x, layers)
    layouts = {}
    for path, layer in jax.tree_util.tree_leaves_with_path(module, is_leaf=is_layer):
        if not is_layer(layer):
            continue
        window = getattr(layer, "num_spatial_dims", 0)
        theirs, ours = (-2 - window, -1 - window), (-1, -2)
        kernel = (
            partial(jnp.moveaxis, source=theirs, destination=ours),
            partial(jnp.moveaxis, source=ours, destination=theirs),
        )
        ones = tuple(range(-window, 0))
        bias = partial(jnp.squeeze, axis=ones), partial(jnp.expand_dims, axis=ones)
        kernels = dict.fromkeys(("weight", "weight_ih", "weight_hh"), kernel)
        for name, layout in (kernels | {"bias": bias}).items():
            layouts[_name((*path, jax.tree_util.GetAttrKey(name)))] = layout
    return layouts


def _laid_out(weights: PyTree, layouts: dict[str, Layout], side: int) -> PyTree:
    """The weights in the layout of Flax (side 0), or of Equinox (side 1)."""

    def one(path: Any, w: Any) -> Any:
        return layouts[_name(path)][side](w) if _name(path) in layouts else w

    return jax.tree_util.tree_map_with_path(one, weights)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path)

"""FractalNet against an implementation of its own, in PyTorch.

It is written the way the authors generate their nets, column by column and without recursion:
time runs over the units of the deepest column, and wherever columns end at one time they join.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.nn import FractalNet

torch = pytest.importorskip("torch")
from benchmarks.torch_net import TorchFractalNet  # noqa: E402, for it needs PyTorch

WIDTHS = (4, 6)


def carry_over(net, params):
    """Copies weights into the PyTorch net; returns each of its parameters by our path."""
    by_path = {}
    for i, units in enumerate(net.blocks, start=1):
        for name, (conv, norm, _) in units.items():
            unit = (f"block{i}", name)
            by_path[*unit, "conv", "kernel"] = conv.weight, (2, 3, 1, 0)
            by_path[*unit, "norm", "scale"] = norm.weight, (0,)
            by_path[*unit, "norm", "bias"] = norm.bias, (0,)
    by_path["head", "kernel"] = net.head.weight, (1, 0)
    by_path["head", "bias"] = net.head.bias, (0,)
    with torch.no_grad():
        for path, (weight, order) in by_path.items():
            leaf = params
            for key in path:
                leaf = leaf[key]
            weight.copy_(torch.tensor(np.asarray(leaf).transpose(np.argsort(order))))
    return by_path


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_outputs_and_gradients_in_training(columns):
    net = FractalNet(5, columns=columns, widths=WIDTHS)
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), leaf.dtype), shapes["params"]
    )
    statistics = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes["batch_stats"])

    @jax.jit
    def run(params):
        variables = {"params": params, "batch_stats": statistics}
        logits, _ = net.apply(variables, x, train=True, mutable=["batch_stats"])
        return (logits**2).mean(), logits

    (_, logits), gradient = jax.value_and_grad(run, has_aux=True)(params)
    peer = TorchFractalNet(5, columns, WIDTHS)
    by_path = carry_over(peer, params)
    expected = peer(torch.from_numpy(np.asarray(x).copy()).permute(0, 3, 1, 2))
    (expected**2).mean().backward()
    np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=1e-4, atol=1e-4)
    assert len(by_path) == len(jax.tree.leaves(params)) == len(list(peer.parameters()))
    for path, (weight, order) in by_path.items():
        leaf = gradient
        for key in path:
            leaf = leaf[key]
        ours, theirs = np.asarray(leaf), np.transpose(weight.grad.numpy(), order)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * abs(theirs).max())

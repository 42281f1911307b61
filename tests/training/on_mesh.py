"""A program: fits on meshes of many devices, and without one; prints how far apart they are.

python -m tests.training.on_mesh NUM_DEVICES [PROCESS_ID PORT DIRECTORY]

With the last three, it is one of two processes, of so many devices each.
"""

import json
import sys
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

import jfractal as jf

AXES = [("data",), ("members",), ("members", "data")]
OPTIONS: dict[str, Any] = {"num_steps": 6, "batch_size": 8, "validate_every": 3}


def main(
    num_devices: int, process_id: int | None = None, port: int | None = None, directory: str = ""
) -> None:
    """Prints a JSON object: the largest deviation by method and axes of the mesh."""
    jax.config.update("jax_num_cpu_devices", num_devices)
    if process_id is not None:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=process_id)
    from tests.training.problems import FRACTAL_MODEL, IMAGES, LABELS, MODEL, X, Y, start

    devices, key = np.array(jax.devices()), jax.random.key(0)
    net = jf.maximum_a_posteriori(FRACTAL_MODEL, optax.sgd(0.1))
    chain = jf.sghmc(MODEL, learning_rate=1e-3, num_draws=2, thinning=2)
    weights = lambda key: MODEL.apply.__self__.init(key, X)["params"]
    calls = {
        "fractal net": (net, start, (IMAGES, LABELS)),
        "ensemble": (jf.ensemble(net, 4), start, (IMAGES, LABELS)),
        "chains": (jf.ensemble(chain, 4), weights, (X, Y)),
    }
    deviations = {}
    for name, (method, params, data) in calls.items():
        augment = lambda key, x: x + 0.1 * jax.random.normal(key, x.shape)
        options = {**OPTIONS, "validation": data, "augment": augment}
        alone = jf.fit(method, params, data, key, **options)
        for axes in AXES[:1] if method.num_members is None else AXES:
            # Of either process, where there are two.
            some = devices[::2] if axes == ("members",) else devices
            mesh = Mesh(some.reshape(4, -1) if len(axes) == 2 else some, axes)
            options["directory"] = f"{directory}/{name}/{' '.join(axes)}" if directory else None
            together = jf.fit(method, params, data, key, mesh=mesh, **options)
            deviations[f"{name} {' '.join(axes)}"] = deviation(together, alone)
    batches = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)]
    method, options = calls["chains"][0], {"num_steps": 6, "num_data": 40}
    alone = jf.fit(method, weights, batches, key, **options)
    together = jf.fit(method, weights, batches, key, mesh=Mesh(devices, ("data",)), **options)
    deviations["iterable data"] = deviation(together, alone)
    report = {"devices": len(devices), "deviations": deviations}
    if process_id is not None:
        foreign = Mesh(devices.reshape(2, -1)[1 - process_id], ("data",))
        try:
            jf.fit(method, weights, batches, key, mesh=foreign, **options)
        except jf.InputError as error:
            report["of another process"] = str(error)
    print(json.dumps(report))


def deviation(one: jf.Fit, other: jf.Fit) -> float:
    """The largest, of any number in the state or the history."""
    trees = [jax.tree.leaves((fit.state, dict(fit.history))) for fit in (one, other)]
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(*trees))


if __name__ == "__main__":
    number, *rest = sys.argv[1:]
    main(int(number), *map(int, rest[:2]), *rest[2:])

"""A program: predicts on meshes of many devices, and without one; prints how far apart they are.

python -m tests.predict.on_mesh NUM_DEVICES [PROCESS_ID PORT]

With the last two, it is one of two processes, of so many devices each.
"""

import json
import sys
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

import jfractal as jf

AXES = [("data",), ("samples",), ("data", "samples"), ("samples", "data")]


def main(num_devices: int, process_id: int | None = None, port: int | None = None) -> None:
    """Prints a JSON object: the largest deviation by the axes of the mesh."""
    jax.config.update("jax_num_cpu_devices", num_devices)
    if process_id is not None:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=process_id)
    devices = np.array(jax.devices())
    net = jf.FractalNet(4, columns=2, widths=(4, 8), conv=jf.BayesConv, norm="group")
    x = np.random.default_rng(0).normal(size=(11, 8, 8, 3)).astype(np.float32)
    key = jax.random.key(0)
    mean_field = jf.MeanField(net.init(key, x)["params"])
    members = jf.Samples(jax.vmap(mean_field.sample)(jax.random.split(key, 3))["params"])

    def figures(posterior: jf.Posterior, **options: Any) -> np.ndarray:
        p = jf.predict(net.apply, posterior, x, key, num_samples=5, **options)
        return np.concatenate([p.log_probs, p.aleatoric[:, None], p.epistemic[:, None]], axis=1)

    deviations = {}
    for posterior in (mean_field, members):
        alone = figures(posterior)
        for axes in AXES:
            mesh = Mesh(devices.reshape(2, -1) if len(axes) == 2 else devices, axes)
            for keep_samples in (True, False) if axes == AXES[-1] else (True,):
                options = {"batch_size": 6, "keep_samples": keep_samples}
                together = figures(posterior, mesh=mesh, **options)
                name = f"{type(posterior).__name__} {' '.join(axes)} {keep_samples}"
                deviations[name] = float(np.abs(together - alone).max())
    print(json.dumps({"devices": len(devices), "deviations": deviations}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

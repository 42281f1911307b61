"""Peak memory of a prediction that is compiled already, in MiB, beyond what there was before it.

python -m benchmarks.memory NUM_SAMPLES
"""

import ctypes
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

import jfractal as jf
from benchmarks.training import CPU, fractal_net, images


def main(num_samples: int) -> None:
    """Prints it, of the accelerator if there is one."""
    x, _ = images(64)
    net = fractal_net(CPU, jf.BayesConv, norm="group")
    posterior = jf.MeanField(jax.jit(net.init)(jax.random.key(0), x[:1])["params"])

    def prediction() -> None:
        jax.block_until_ready(
            jf.predict(net.apply, posterior, x, jax.random.key(0), num_samples=num_samples)
        )

    prediction()
    print(peak_during(prediction))


def peak_during(call: Callable[[], Any]) -> float:
    """The most memory during a call, in MiB, beyond what there was before it.

    Of an accelerator, and where there is no ``/proc``, since the process began.
    """
    before = 0.0
    refs = Path("/proc/self/clear_refs")
    if refs.exists() and not jax.local_devices()[0].memory_stats():
        ctypes.CDLL(None).malloc_trim(0)  # what has been freed is given back
        refs.write_text("5")  # the peak is counted anew
        before = peak()
    call()
    return peak() - before


def peak() -> float:
    """Of the accelerator, or of the process."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics:
        return statistics["peak_bytes_in_use"] / 2**20
    status = Path("/proc/self/status")
    if status.exists():  # where getrusage starts from the peak of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS: bytes


if __name__ == "__main__":
    main(int(sys.argv[1]))

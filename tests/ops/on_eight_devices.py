"""Every operation over a batch on all devices; run in a process of its own by the tests."""

import jax

from tests.ops.test_transformations import OPERATIONS, over_devices

if __name__ == "__main__":
    assert jax.device_count() == 8
    for operation in OPERATIONS:
        over_devices(operation, 8)

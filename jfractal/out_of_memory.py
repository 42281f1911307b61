"""Advice for when a device or the host runs out of memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

__all__ = ["out_of_memory"]


@contextmanager
def out_of_memory(what: str, lower: str) -> Iterator[None]:
    """Turns errors about memory within the block into a message that says what to lower.

    Args:
        what: Subject of the message, the work within the block.
        lower: The arguments that memory grows with, and what else helps, to follow a colon.

    Raises:
        MemoryError: In place of the errors of XLA and NumPy.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        is_ours = isinstance(error.__cause__, jax.errors.JaxRuntimeError | MemoryError)
        if is_ours or not (isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)):
            raise
        first_line = str(error).partition("\n")[0]
        raise MemoryError(
            f"{what} needs more memory than there is: {lower} ({first_line})"
        ) from error

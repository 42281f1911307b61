"""The two errors that are not bugs: bad input, and divergence."""


class InputError(ValueError):
    """A value from the caller cannot be used; the message names it and says what is allowed."""


class DivergenceError(FloatingPointError):
    """A computation diverged: a loss or another quantity is NaN or infinite."""

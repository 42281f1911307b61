"""The two ways a call can fail that are not a bug."""


class InputError(ValueError):
    """A value from the caller is not usable; the message names it and what is allowed."""


class DivergenceError(FloatingPointError):
    """The optimisation left the numbers: a loss is NaN or infinite."""

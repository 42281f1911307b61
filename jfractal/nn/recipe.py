"""Recipes for layers that compare by value."""

from functools import partial
from typing import Any

__all__ = ["Recipe", "recipe"]


class Recipe(partial):
    """A `functools.partial` that equals any other of equal content, also after pickling.

    Plain partials compare by identity. Nets hold partials, so no two nets would be equal, and
    `jax.jit` would compile again for each net.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self._content == other._content

    def __hash__(self) -> int:
        return hash((self.func, len(self.args), frozenset(self.keywords)))

    @property
    def _content(self) -> tuple:
        return self.func, self.args, self.keywords


def recipe(make: Any) -> Any:
    """Turns every partial in a callable into a `Recipe`.

    Args:
        make: A class, a function, or a partial of one whose arguments may be partials too.
            Anything else is returned as it is.
    """
    if not isinstance(make, partial):
        return make
    keywords = {name: recipe(value) for name, value in make.keywords.items()}
    return Recipe(recipe(make.func), *map(recipe, make.args), **keywords)

"""The variables of a model in two parts: weights that move, and everything that stays fixed."""

from dataclasses import dataclass
from typing import Any

import jax

from jfractal.errors import InputError
from jfractal.posterior.gaussian import Where, named_leaves
from jfractal.typing import Array, Variables

__all__ = ["Parts"]


@dataclass(frozen=True)
class Parts:
    """Splits variables into two parts and joins them again.

    Attributes:
        structure: Tree structure of the variables.
        moves: Whether each leaf moves, in the order of the tree.
    """

    structure: Any
    moves: tuple[bool, ...]

    @classmethod
    def of(cls, variables: Variables, where: Where) -> "Parts":
        """The parts in which the weights that ``where(path, leaf)`` picks move.

        Raises:
            InputError: If `where` picks no weights.
        """
        weights = dict(named_leaves(variables["params"]))
        chosen = {path: bool(where(path, leaf)) for path, leaf in weights.items()}
        if not any(chosen.values()):
            raise InputError(f"`where` must pick at least one of the leaves {list(chosen)}")
        params = jax.tree.unflatten(jax.tree.structure(variables["params"]), chosen.values())
        still = {name: tree for name, tree in variables.items() if name != "params"}
        marks = {**jax.tree.map(lambda _: False, still), "params": params}
        return cls(jax.tree.structure(variables), tuple(jax.tree.leaves(marks)))

    def split(self, variables: Variables) -> tuple[list[Array], list[Array]]:
        """The leaves that move, and those that stay fixed."""
        leaves = jax.tree.leaves(variables)
        moving = [x for x, moves in zip(leaves, self.moves, strict=True) if moves]
        return moving, [x for x, moves in zip(leaves, self.moves, strict=True) if not moves]

    def joined(self, moving: list[Array], still: list[Array]) -> Variables:
        """The variables, from their two parts."""
        both = iter(moving), iter(still)
        leaves = [next(both[0]) if moves else next(both[1]) for moves in self.moves]
        return jax.tree.unflatten(self.structure, leaves)

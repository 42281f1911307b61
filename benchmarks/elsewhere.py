"""Functions that run in a process of their own."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Self

__all__ = ["Elsewhere", "Peer"]

Peer = tuple[Callable[[], Any], int]
"""A function, and the number of weights of its net."""


class Elsewhere:
    """A function in a process of its own; calling it waits for one call there.

    What one library does to the memory of a process can slow another by a third.
    """

    def __init__(self, make: Callable[[], Peer], num_weights: int):
        """Makes the function there, and checks that its net has as many weights as ours."""
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(make, there), daemon=True)
        self.process.start()
        there.close()  # so that we are told if the process dies
        theirs = self.connection.recv()
        if theirs != num_weights:
            raise AssertionError(f"the nets differ: {num_weights} and {theirs} weights")

    def __call__(self) -> None:
        self.connection.send(True)
        self.connection.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()


def _serve(make: Callable[[], Peer], connection: Connection) -> None:
    function, num_weights = make()
    connection.send(num_weights)
    while connection.recv():
        function()
        connection.send(True)

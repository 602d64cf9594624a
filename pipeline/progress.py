"""How the stages of a command tell what they are at."""

from typing import Protocol


class Progress(Protocol):
    """Told the name of each stage as it begins, and how much of it is done: ``done`` of ``total``, 0 of 0 where that is not known."""

    def __call__(self, stage: str, done: int = 0, total: int = 0, /) -> None:
        """Take note."""


def silent(_stage: str, _done: int = 0, _total: int = 0, /) -> None:
    """Nobody is watching."""

"""A pattern as an option of commands, by its name of now or of an earlier version. Reads the cards, nothing else."""

from __future__ import annotations

import click

from siphonwatch.models.detect.registry import current
from siphonwatch.models.engine.patterns import patterns


class Pattern(click.Choice):  # type: ignore[type-arg]
    """One of the installed patterns; a name of an earlier version stands for that of now.

    Examples
    --------
    >>> Pattern().convert("relay", None, None)
    'campaign'
    """

    def __init__(self) -> None:
        super().__init__([pattern.pattern for pattern in patterns()])

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name of now."""
        return str(super().convert(current(value), param, ctx))

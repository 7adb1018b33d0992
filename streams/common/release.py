"""Which release of siphonwatch this is. Read once: reading a package's metadata takes most of a millisecond."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


@cache
def release() -> str:
    """Return the version that is installed."""
    return version("siphonwatch")

"""Which release of siphonwatch this is, and beside which packages. Read once: metadata take a millisecond a package."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import distributions, version


@cache
def release() -> str:
    """Return the version that is installed."""
    return version("siphonwatch")


@cache
def packages_digest() -> str:
    """Return the sha256 over `name==version` of all installed packages, a line each, ascending."""
    lines = {f"{found.name.lower()}=={found.version}\n" for found in distributions()}
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()

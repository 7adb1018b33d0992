"""What an archive and a registry need of any place that fsspec reaches: the place itself, and its errors in words."""

from __future__ import annotations

import sys
from typing import Any

BASES = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),  # S3
    "aiohttp": ("ClientError",),  # Google Cloud Storage, plain HTTP
    "azure.core.exceptions": ("AzureError",),
}
"""Errors of drivers that are no `OSError`, by the module that has them."""
CREDENTIALS = (
    "give credentials that may read and write there: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a "
    "role of the machine; of a store that is not Amazon's its address in AWS_ENDPOINT_URL"
)


def reach(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the path in it; what others write there is seen at once.

    Raises
    ------
    ValueError
        Where no driver for the URL is installed; the message names the extra that brings one.
    """
    import fsspec

    try:
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{url}: {error}; S3 comes with `pip install 'siphonwatch[s3]'`") from None
    return fs, str(root)


def is_local(fs: Any) -> bool:
    """Whether a file system is this machine's: it has folders, and renames files in one step."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def failures() -> tuple[type[BaseException], ...]:
    """Return the errors by which the drivers that are loaded say that something cannot be read or written."""
    found: list[type[BaseException]] = [OSError]
    for module, names in BASES.items():
        if (loaded := sys.modules.get(module)) is not None:
            found += [getattr(loaded, name) for name in names]
    return tuple(found)


def code(error: BaseException) -> str:
    """Return the code that a store speaking S3 gave for an error of its driver; empty without one."""
    answer = getattr(error.__cause__, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def said(error: BaseException) -> str:
    """Return what an error of a driver means, and where credentials are wrong, how to give them.

    Examples
    --------
    >>> said(FileNotFoundError("bucket/folder/file"))
    'no such file'
    >>> said(PermissionError("Access Denied")).partition(":")[0]
    'Access Denied; give credentials that may read and write there'
    """
    text = getattr(error, "strerror", None) or str(error).rstrip(".") or type(error).__name__
    if isinstance(error, FileNotFoundError) and "not exist" not in text and " " not in text:
        return "no such file"
    refused = (isinstance(error, PermissionError) and not error.errno) or "Credential" in type(error).__name__
    return f"{text}; {CREDENTIALS}" if refused else text

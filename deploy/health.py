"""The image's health check: asks /healthz of the server that this container's command starts, at the port of its
settings. A command that starts none is healthy while it runs."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from siphonwatch.streams.common.settings import Settings, SettingsError, load

SECONDS = 4.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Docker may set proxies for every container: this very one is reached without."""


def url(command: bytes, settings: Settings) -> str | None:
    """Return what to ask of a process by its command line, as in /proc/PID/cmdline; None where it serves nothing."""
    words = command.decode(errors="replace").split("\0")
    if "worker" in words:
        return f"http://127.0.0.1:{settings.web.port}/healthz"
    if "deliver" in words:
        return f"http://127.0.0.1:{settings.deliver.port}/healthz"
    if "desk" in words:
        return f"http://127.0.0.1:{settings.desk.status_port}/healthz"
    if "archive" in words and "--metrics-port" in words[:-1]:
        return f"http://127.0.0.1:{words[words.index('--metrics-port') + 1]}/healthz"
    return None


def main(process: Path = Path("/proc/1/cmdline"), environ: Mapping[str, str] = os.environ) -> int:
    """Return 0 when healthy, 1 when not; says what is wrong."""
    try:
        address = url(process.read_bytes(), load(environ).settings)
        if address is not None:
            DIRECT.open(address, timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        print(f"{error.url}: {error.code} {error.read().decode(errors='replace').strip()}")
        return 1
    except (OSError, SettingsError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A real PostgreSQL of a test session, on a socket in a folder of its own, as a user that is not root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from siphonwatch.streams.lab.broker.process import PR_SET_PDEATHSIG

REQUIRE = "REQUIRE_POSTGRES"
"""In CI: without its programs the tests fail instead of being skipped."""
SECONDS = 120.0
_LIBC = ctypes.CDLL(None)


def programs() -> Path | None:
    """The folder of initdb and postgres; Debian's are in none that is searched for commands."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


def missing() -> str:
    """Why no PostgreSQL can run here; empty where one can."""
    if programs() is None:
        return "initdb and postgres are not installed: apt-get install postgresql"
    return ""


def _die_with_us() -> None:
    """Have the kernel end it with a test session that was killed."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


class Postgres:
    """A server; a context manager.

    Parameters
    ----------
    fsync
        Whether it writes as one does that is to survive a crash of the machine, with a cache of its own size.

    Attributes
    ----------
    folder
        Of its socket and data.
    """

    def __init__(self, *, fsync: bool = False) -> None:
        self._fsync = fsync
        self.folder = Path(tempfile.mkdtemp(prefix="siphonwatch-pg-"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:  # which postgres refuses to run as
            names = {one.pw_name for one in pwd.getpwall()}
            user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """What connects to it, as its superuser."""
        return f"postgresql:///{database}?host={self.folder}&user=postgres"

    def __enter__(self) -> Self:
        place = programs()
        assert place is not None
        with (self.folder.with_suffix(".log")).open("wb") as log:
            subprocess.run(
                [
                    place / "initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8",
                    "--locale=C.UTF-8", "-D", self.folder / "data",
                ],
                cwd="/", check=True, stdout=log, stderr=log, timeout=SECONDS, **self._as,
            )  # fmt: skip
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.with_suffix(".log").unlink(missing_ok=True)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        place = programs()
        assert place is not None
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "max_connections": "80"}
        if not self._fsync:
            settings |= {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder.with_suffix(".log")).open("ab") as log:
            self._process = subprocess.Popen(
                [place / "postgres", "-D", self.folder / "data", *options], cwd="/", stdout=log, stderr=log,
                preexec_fn=_die_with_us, **self._as,
            )  # fmt: skip
        import psycopg

        end = time.monotonic() + SECONDS
        while True:
            try:
                psycopg.connect(self.url()).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None and time.monotonic() < end, "PostgreSQL does not start"
                time.sleep(0.05)
            else:
                return

    def seconds(self) -> float:
        """Processor time of its processes, those that have ended included."""
        assert self._process is not None
        total = 0.0
        for place in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = place.read_text().rpartition(")")[2].split()
                if self._process.pid in (int(fields[1]), int(place.parent.name)):
                    total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # with children waited for
        return total

    def stop(self) -> None:
        """End it at once; its sessions end with it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(SECONDS)
            self._process = None

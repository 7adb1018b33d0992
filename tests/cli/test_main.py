"""What holds for every command."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

CODE = """
import os, signal, time
import streams.cli as commands

own = os.getpid()
os.getpid = lambda: {}
commands.cli = lambda **_: (os.kill(own, signal.SIGTERM), time.sleep(30))
commands.main()
"""


@pytest.mark.parametrize(("process", "code"), [(1, 128 + signal.SIGTERM), (2, -signal.SIGTERM)])
def test_process_1_of_a_container_ends_when_told_to_before_it_has_begun(process: int, code: int) -> None:
    """What a signal does by default it does not do to process 1."""
    done = subprocess.run([sys.executable, "-c", CODE.format(process)], timeout=20, check=False)
    assert done.returncode == code

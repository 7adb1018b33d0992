"""Finds the published ways of ranking accounts that siphonwatch is compared with, only when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol

from siphonwatch.models.account.request import Array
from siphonwatch.models.evaluate.bootstrap import Floats, Ints

PACKAGE = "siphonwatch.models.evaluate.baselines"


class Baseline(Protocol):
    """A way of ranking accounts by their requests."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    def score(self, requests: Array, account_index: Ints, n_accounts: int) -> Floats:
        """Return `(n_accounts,)` scores, higher is more suspicious.

        `requests` is `(m,) REQUEST` in the order of the log, `account_index` each one's account.
        """


class NoBaselines(RuntimeError):
    """This installation has none."""


def load_baselines() -> Sequence[Baseline]:
    """Return the baselines.

    Raises
    ------
    NoBaselines
        When the package that holds them is not there.
    """
    try:
        package = importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        if error.name != PACKAGE:
            raise
        raise NoBaselines(f"--baselines: this installation has no {PACKAGE}; leave the option out") from None
    found: Sequence[Baseline] = list(package.baselines())
    return found

"""Which updates of a case say something that a person would act on. Counts nothing and sends nothing."""

from __future__ import annotations

from typing import Literal

import msgspec

from siphonwatch.models.evidence.process import SEVERITIES
from siphonwatch.streams.deliver.alert import AlertRecord

Wanted = Literal["all", "changes", "doublings"]
MOST_CASES = 20_000
"""Open cases of a partition that are remembered; of one that was forgotten the next update is shown."""


class _Shown(msgspec.Struct):
    """What the last alert of a case that was shown said."""

    severity: int
    accounts: int
    members: frozenset[str]
    log_e: float


class Changes:
    """Tells which alerts of a partition to show, given those shown before; the opening and the closing always are.

    Evidence has doubled where the logarithm of the e-value has: a case that opened at 1 in 1,000 is shown again from 1
    in 1,000,000 and 1 in 10^12 on. Severity can rise three times and evidence double about seven times from the bar to
    the largest number, so a case of one account is shown some ten times at most, however long it goes on.

    Parameters
    ----------
    wanted
        `all`; `changes`: severity rose, an account joined, or evidence doubled; `doublings`: severity rose, or the
        number of accounts or the evidence doubled.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._shown: dict[str, _Shown] = {}

    def takes(self, alert: AlertRecord) -> bool:
        """Tell whether to show an alert, and take note of it where so.

        Called for each alert in the order of the topic, also for those that an earlier process showed: so a restart
        shows nothing again that this has read about.
        """
        if self._wanted == "all":
            return True
        before = self._shown.get(alert.case)
        if alert.kind == "closed":
            self._shown.pop(alert.case, None)
            return True
        if alert.kind == "updated" and before is not None and not self._says_more(alert, before):
            return False
        self._shown.pop(alert.case, None)
        own = alert.own
        members = frozenset(own.accounts) if self._wanted == "changes" else frozenset()
        severity = SEVERITIES.index(alert.severity)
        self._shown[alert.case] = _Shown(severity, len(own.accounts), members, own.log_e_value)
        if len(self._shown) > MOST_CASES:
            del self._shown[next(iter(self._shown))]
        return True

    def _says_more(self, alert: AlertRecord, before: _Shown) -> bool:
        own = alert.own
        if SEVERITIES.index(alert.severity) > before.severity or own.log_e_value >= 2 * before.log_e > 0:
            return True
        if self._wanted == "changes":
            return not before.members.issuperset(own.accounts)
        return len(own.accounts) >= 2 * before.accounts

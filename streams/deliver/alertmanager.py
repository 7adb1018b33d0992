"""Alertmanager by its API v2: a case fires from its opening to its closing. No account is ever a label.

Alertmanager keeps alerts in memory and resolves one whose end has come, so open cases are sent again and again, with an
end far enough ahead that a deliverer or worker away for hours resolves nothing that is still going on.
"""

from __future__ import annotations

from typing import Any

import msgspec

from siphonwatch.streams.common.sink_settings import Sink, secret
from siphonwatch.streams.contracts.alert import rfc3339
from siphonwatch.streams.contracts.wording import evidence
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.dialect import Chat
from siphonwatch.streams.deliver.outcome import Verdict, judge
from siphonwatch.streams.deliver.post import Message
from siphonwatch.streams.deliver.template import Writer
from siphonwatch.streams.deliver.text import accounts, carried_by, clean, clip, is_url, runbook, signals, summary
from siphonwatch.streams.deliver.webhook import bearer

NAME = "SiphonwatchCase"
AGAIN_SECONDS = 240.0
"""Open cases are sent again so often: an Alertmanager that restarted knows them again within its default 5 minutes."""
MARGIN_SECONDS = 6 * 3600.0
"""An alert fires for `scoring.close_after` and so much longer unless its closing comes: what workers may be behind."""
SKEW_SECONDS = 60.0
"""A closed case is sent as ended so long ago: with an end ahead of its clock, Alertmanager would keep the later one."""
AT_ONCE = 200
"""Alerts in one request that sends them again."""
MOST_OPEN = 20_000
"""Open cases of a partition that are sent again; beyond them the oldest fire until their end all the same."""
TITLE, TEXT = 500, 4000
"""Of a summary and of a body, in characters: annotations are in memory there, and in every notification."""
ACCOUNTS = 20
SIGNALS = 5


class _Open(msgspec.Struct, frozen=True):
    alert: dict[str, Any]
    severity: str
    until: float


class Alertmanager:
    """Formats alerts, and remembers the open cases of each partition so that they can be sent again.

    Parameters
    ----------
    sink
        `url`, with Alertmanager's path prefix where it has one and without /api/v2, and, if wanted, `token`.
    runbook
        `settings.links.runbook`.
    close_after
        `settings.scoring.close_after`, seconds.
    """

    needs: tuple[str, ...] = ("url",)
    uses: tuple[str, ...] = ("url", "token")
    fields: tuple[str, ...] = ("title", "body")

    def __init__(self, sink: Sink, runbook: str, close_after: float) -> None:
        self._sink = sink
        self._runbook = runbook
        self._writer = Writer(sink, runbook, Chat())  # whatever its receivers render
        self._lasts = close_after + MARGIN_SECONDS
        self._open: dict[int, dict[str, _Open]] = {}

    @property
    def reach(self) -> float:
        """Seconds back from now within which an alert was delivered of every case that still fires."""
        return self._lasts

    def message(self, alert: AlertRecord, now: float) -> Message:
        """Return the request for an alert.

        A case that became graver has another severity, which is another alert there: the one before is resolved with
        it. Only that one: else people would get a resolution of what never fired.

        Raises
        ------
        UnusableSecret
            When the URL or the token cannot be had.
        """
        ended = now - SKEW_SECONDS
        until = ended if alert.kind == "closed" else now + self._lasts
        alerts = [self._alert(alert, alert.severity, now, until)]
        for cases in self._open.values():
            before = cases[alert.case].severity if alert.case in cases else alert.severity
            if before != alert.severity:
                alerts.append(self._alert(alert, before, now, ended))
        return self._request(alerts)

    def judge(self, status: int, _: bytes) -> Verdict:
        """Return what an answer means."""
        return judge(status)

    def note(self, partition: int, alert: AlertRecord, at: float) -> None:
        """Remember a case that was delivered as open at a time, seconds since 1970, or forget it when it closed."""
        cases = self._open.setdefault(partition, {})
        cases.pop(alert.case, None)
        if alert.kind != "closed":
            until = at + self._lasts
            cases[alert.case] = _Open(self._alert(alert, alert.severity, at, until), alert.severity, until)
            if len(cases) > MOST_OPEN:
                del cases[next(iter(cases))]

    def leave(self, partition: int) -> None:
        """Forget a partition that another deliverer looks after now."""
        self._open.pop(partition, None)

    def again(self, now: float) -> list[Message]:
        """Return the requests that send every open case once more.

        Raises
        ------
        UnusableSecret
            When the URL or the token cannot be had.
        """
        for cases in self._open.values():
            for case in [case for case, known in cases.items() if known.until <= now]:
                del cases[case]
        alerts = [known.alert for cases in self._open.values() for known in cases.values()]
        return [self._request(alerts[i : i + AT_ONCE]) for i in range(0, len(alerts), AT_ONCE)]

    def _request(self, alerts: list[dict[str, Any]]) -> Message:
        url = secret(self._sink, "url").rstrip("/") + "/api/v2/alerts"
        return Message(url, msgspec.json.encode(alerts), {"Content-Type": "application/json"} | bearer(self._sink))

    def _alert(self, alert: AlertRecord, severity: str, now: float, until: float) -> dict[str, Any]:
        link = runbook(self._runbook, alert)
        own = alert.own
        annotations = {
            "summary": self._writer.title(alert, TITLE) if self._sink.title else summary(alert, TITLE),
            "description": self._writer.body(alert, TEXT) if self._sink.body else "",
            "accounts": ", ".join(accounts(alert, ACCOUNTS)),
            "evidence": f"{evidence(own.e_value)} after {own.requests_seen:,} requests",
            "signals": "; ".join(signals(alert, SIGNALS)),
            "counterfactual": clip(clean(own.counterfactual), 1000),
            "carried_by": carried_by(alert),
            "runbook": clip(link, 1000),
            "verdict": f"siphonwatch verdict {clip(clean(alert.case), 100)} DECISION",
        }
        posted: dict[str, Any] = {
            "labels": {
                "alertname": NAME,
                "pattern": clip(clean(own.pattern), 100),
                "severity": severity,
                "case": clip(clean(alert.case), 100),
            },
            "annotations": {name: text for name, text in annotations.items() if text},
            # Event time may be ahead of the clock, and an alert that ends before it starts is refused.
            "startsAt": rfc3339(min(alert.opened, until, now)),
            "endsAt": rfc3339(until),
        }
        return posted | ({"generatorURL": link} if is_url(link) else {})

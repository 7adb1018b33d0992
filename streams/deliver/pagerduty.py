"""PagerDuty by its Events API v2: a case is one alert there, triggered and updated by its id, resolved when it closes.

It never acknowledges, and never sends more than the API takes.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from siphonwatch.streams.common.sink_settings import Sink, secret
from siphonwatch.streams.contracts.alert import rfc3339
from siphonwatch.streams.contracts.wording import chance
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.dialect import Plain
from siphonwatch.streams.deliver.outcome import Verdict, judge
from siphonwatch.streams.deliver.post import Message
from siphonwatch.streams.deliver.template import Writer, checks
from siphonwatch.streams.deliver.text import accounts, carried_by, clean, clip, is_url, runbook, signals, summary

URL = "https://events.pagerduty.com/v2/enqueue"
SUMMARY = 1024
KEY = 255
"""Longest summary and dedup_key that the API takes, in characters; an event may have 512 KB."""
ACCOUNTS = 50
SIGNALS = 5
SAMPLES = 10
SEVERITY = {"low": "info", "medium": "warning", "high": "error", "critical": "critical"}
TEXT = 10_000
"""Of a body, in characters: an event may have 512 KB, and a page is read on a phone."""
SOURCE = "siphonwatch"
_BAD_KEY = re.compile(rb"routing[_ ]key", re.IGNORECASE)
"""In an answer: a key of another form is called `routing_key`, one that no service has `Invalid routing key`."""


class PagerDuty:
    """Formats alerts as events.

    Parameters
    ----------
    sink
        `routing_key`, and `url` where it is another region's: https://events.eu.pagerduty.com/v2/enqueue.
    runbook
        `settings.links.runbook`.

    Source: PagerDuty developer documentation, "Events API v2: Send an alert event".
    """

    needs: tuple[str, ...] = ("routing_key",)
    uses: tuple[str, ...] = ("url", "routing_key")
    fields: tuple[str, ...] = ("title", "body")

    def __init__(self, sink: Sink, runbook: str) -> None:
        self._sink = sink
        self._runbook = runbook
        self._writer = Writer(sink, runbook, Plain())

    check = staticmethod(checks(Plain))

    def message(self, alert: AlertRecord, now: float) -> Message:
        """Return the request for an alert.

        Raises
        ------
        UnusableSecret
            When the routing key cannot be had.
        """
        event: dict[str, Any] = {
            "routing_key": secret(self._sink, "routing_key"),
            "event_action": "resolve" if alert.kind == "closed" else "trigger",
            "dedup_key": clip(alert.case, KEY),
        }
        if alert.kind != "closed":
            event |= {"payload": self._payload(alert), "client": SOURCE}
            link = runbook(self._runbook, alert)
            if is_url(link):
                event["links"] = [{"href": link, "text": "Runbook"}]
        url = secret(self._sink, "url") or URL
        return Message(url, msgspec.json.encode(event), {"Content-Type": "application/json"})

    def judge(self, status: int, said: bytes) -> Verdict:
        """Return what an answer means; a bad routing key is answered with 400, like a bad event."""
        return "misconfigured" if status == 400 and _BAD_KEY.search(said) else judge(status)

    def _payload(self, alert: AlertRecord) -> dict[str, Any]:
        own = alert.own
        details: dict[str, Any] = {"text": self._writer.body(alert, TEXT)} if self._sink.body else {}
        details |= {
            "case": clip(alert.case, KEY),
            "alert": clip(alert.id, KEY),
            "accounts": accounts(alert, ACCOUNTS),
            "account_count": len(own.accounts),
            "e_value": own.e_value,
            "chance": chance(own.e_value),
            "requests_seen": own.requests_seen,
            "first_seen": clip(clean(own.first_seen), 40),
            "signals": signals(alert, SIGNALS),
            "counterfactual": clip(clean(own.counterfactual), 1000),
            "carried_by": carried_by(alert),
            "sample_requests": [clip(clean(request), 200) for request in own.sample_requests[:SAMPLES]],
            "runbook": clip(runbook(self._runbook, alert), 1000),
            "verdict": f"siphonwatch verdict {clip(alert.case, KEY)} DECISION",
        }
        return {
            "summary": self._writer.title(alert, SUMMARY) if self._sink.title else summary(alert, SUMMARY),
            "source": SOURCE,
            "severity": SEVERITY[alert.severity],
            "timestamp": rfc3339(alert.time),
            "component": "api",
            "class": clip(clean(own.pattern), 200),
            "custom_details": details,
        }

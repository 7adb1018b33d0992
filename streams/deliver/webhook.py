"""Webhooks: the alert as the topic holds it, a CloudEvent in structured mode, signed. It changes no byte of it."""

from __future__ import annotations

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink, secret
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.outcome import Verdict, judge
from siphonwatch.streams.deliver.post import Message
from siphonwatch.streams.deliver.signature import keys, sign


class Webhook:
    """Signs with every secret that is set; `siphonwatch.streams.deliver.signature` says how receivers verify.

    Parameters
    ----------
    sink
        `url`, `secret` and, if wanted, `token`.
    runbook
        Not used: the alert has its link.
    """

    needs: tuple[str, ...] = ("url", "secret")
    uses: tuple[str, ...] = ("url", "secret", "token")

    def __init__(self, sink: Sink, runbook: str = "") -> None:
        self._sink = sink

    @staticmethod
    def check(settings: Settings, sink: Sink) -> None:
        """Refuse a secret that cannot sign.

        Raises
        ------
        BadSecret
            When it cannot.
        """
        keys(secret(sink, "secret"))

    def message(self, alert: AlertRecord, now: float) -> Message:
        """Return the request for an alert; the signature is of the moment of this attempt.

        Raises
        ------
        UnusableSecret, BadSecret
            When a secret cannot be had.
        """
        timestamp = int(now)
        headers = {
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            "webhook-id": alert.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(keys(secret(self._sink, "secret")), alert.id, timestamp, alert.value),
        }
        return Message(secret(self._sink, "url"), alert.value, headers | bearer(self._sink))

    def judge(self, status: int, _: bytes) -> Verdict:
        """Return what an answer means."""
        return judge(status)


def bearer(sink: Sink) -> dict[str, str]:
    """Return the header of a sink's token; none without one."""
    token = secret(sink, "token")
    return {"Authorization": f"Bearer {token}"} if token else {}

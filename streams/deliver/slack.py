"""Slack messages by an incoming webhook: a few blocks that fit a phone, and a line for notifications. Mentions nobody.

Receivers that take Slack's incoming webhooks and know no blocks, such as Mattermost, show that line alone.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from siphonwatch.streams.common.sink_settings import Sink, secret
from siphonwatch.streams.contracts.wording import evidence
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.outcome import Verdict, judge
from siphonwatch.streams.deliver.post import Message
from siphonwatch.streams.deliver.template import Writer, checks
from siphonwatch.streams.deliver.text import (
    ELLIPSIS,
    accounts,
    carried_by,
    clean,
    clip,
    is_url,
    runbook,
    signals,
    summary,
)

HEADER = 140
SECTION = 3000
FIELD = 2000
"""Longest texts, in characters: what Slack takes (Block Kit reference), for a header less the width of its emoji."""
FALLBACK = 400
ACCOUNTS = 10
SIGNALS = 3
SIGN = {"low": "⚪", "medium": "🟡", "high": "🟠", "critical": "🔴"}
HEADLINE = {"opened": "", "updated": " (update)", "closed": " (closed)"}
LONG = 100_000
"""More than any value that a template prints."""
_CUT = re.compile(r"&[a-z]{0,3}…")
"""An escape that was cut."""
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape(text: str, limit: int) -> str:
    """Return text that Slack shows as it is, at most `limit` characters once escaped, never cut within an escape.

    Without a raw `<`, in a text that is `verbatim`, nothing can be a link, a mention or a call of the whole channel.
    """
    parts = [_ESCAPES.get(character, character) for character in clean(text)]
    if sum(map(len, parts)) <= limit:
        return "".join(parts)
    kept = ""
    for part in parts:
        if len(kept) + len(part) >= limit:
            break
        kept += part
    return kept + ELLIPSIS


def code(text: str, limit: int) -> str:
    """Return text in a code span: a back-tick of its own would end it."""
    return f"`{escape(text.replace('`', chr(0x2B9)), limit - 2)}`" if text.strip() else ""


class Mrkdwn:
    """Slack's markup, for the values that a template prints."""

    def value(self, text: str) -> str:
        """Return text in which nothing is a link or a mention."""
        return escape(text, LONG)

    def code(self, text: str) -> str:
        """Return a code span."""
        return code(text, LONG) or "-"


class Slack:
    """Formats alerts as Block Kit messages.

    Parameters
    ----------
    sink
        `url`, the webhook's own.
    runbook
        `settings.links.runbook`.
    """

    needs: tuple[str, ...] = ("url",)
    uses: tuple[str, ...] = ("url",)
    fields: tuple[str, ...] = ("title", "body")
    updates = "changes"

    def __init__(self, sink: Sink, runbook: str) -> None:
        self._sink = sink
        self._runbook = runbook
        self._writer = Writer(sink, runbook, Mrkdwn())

    check = staticmethod(checks(Mrkdwn))

    def message(self, alert: AlertRecord, now: float) -> Message:
        """Return the request for an alert.

        Raises
        ------
        UnusableSecret
            When the URL cannot be had.
        """
        body = msgspec.json.encode({"text": escape(summary(alert, FALLBACK), FALLBACK), "blocks": self._blocks(alert)})
        return Message(secret(self._sink, "url"), body, {"Content-Type": "application/json; charset=utf-8"})

    def judge(self, status: int, _: bytes) -> Verdict:
        """Return what an answer means."""
        return judge(status)

    def _blocks(self, alert: AlertRecord) -> list[dict[str, Any]]:
        own = alert.own
        title = self._writer.title(alert, HEADER) if self._sink.title else clean(alert.title) + HEADLINE[alert.kind]
        header = {"type": "plain_text", "text": clip(f"{SIGN[alert.severity]} {title}", HEADER), "emoji": True}
        links = {"type": "context", "elements": [_text(self._links(alert), SECTION)]}
        if self._sink.body:
            body = _CUT.sub(ELLIPSIS, self._writer.body(alert, SECTION)) or "-"
            section = {"type": "section", "text": _text(body, SECTION)}
            return [{"type": "header", "text": header}, section, links]
        count = len(own.accounts)
        facts = [
            ("Severity", alert.severity),
            ("Pattern", escape(own.pattern, 200)),
            (f"Account{'' if count == 1 else f's ({count:,})'}", self._accounts(alert)),
            ("Evidence", f"{evidence(own.e_value)} after {own.requests_seen:,} requests"),
        ]
        blocks: list[dict[str, Any]] = [
            {"type": "header", "text": header},
            {"type": "section", "fields": [_text(f"*{name}*\n{value or '-'}", FIELD) for name, value in facts]},
        ]
        reasons = [f"• {escape(line, 300)}" for line in signals(alert, SIGNALS)]
        if own.counterfactual:
            reasons.append(f"_{escape(own.counterfactual, 600)}_")
        if parts := carried_by(alert):
            reasons.append(f"Sent by: {escape(parts, 600)}")
        if reasons and alert.kind != "closed":
            blocks.append({"type": "section", "text": _text("\n".join(reasons), SECTION)})
        return [*blocks, links]

    def _accounts(self, alert: AlertRecord) -> str:
        names = accounts(alert, ACCOUNTS)
        shown, rest = (names[:-1], names[-1]) if len(alert.own.accounts) > ACCOUNTS else (names, "")
        # Escaping makes a name five times as long at most; ten of them stay within a field.
        return ", ".join(filter(None, [*(code(name, 180) for name in shown), rest]))

    def _links(self, alert: AlertRecord) -> str:
        link = runbook(self._runbook, alert)
        place = f"<{escape(link, 1000)}|Runbook>" if is_url(link) and "|" not in link else escape(link, 1000)
        case = escape(alert.case, 100)
        return f"{place} · case {case} · `siphonwatch verdict {case.replace('`', '')} DECISION`"


def _text(text: str, limit: int) -> dict[str, str | bool]:
    assert len(text) <= limit, "every part was cut to fit"  # noqa: S101 - a programming error, not input
    return {"type": "mrkdwn", "text": text, "verbatim": True}

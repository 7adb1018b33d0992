"""Titles and texts of what sinks send, by templates: ours, or those that a sink is set to. A template that fails
loses no alert: ours takes its place, and says so.

Templates are Jinja2 in its sandbox. Every value that one prints is escaped for the tool that renders it; `code` prints
one in a fixed-width face. They load nothing and see one alert.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import structlog
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink, UnusableSink
from siphonwatch.streams.contracts.alert import rfc3339
from siphonwatch.streams.contracts.wording import chance, evidence, indicators_text
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.dialect import Dialect, Plain
from siphonwatch.streams.deliver.sample import make_alerts
from siphonwatch.streams.deliver.text import accounts, carried_by, clean, clip, is_url, runbook, signals

ACCOUNTS = 50
SIGNALS = 6
VALUE = 1000
"""Longest single value, in characters."""
TITLE = "{{ title }}: {{ accounts | first }}{% if account_count > 1 %} and {{ account_count - 1 }} more{% endif %}"
BODY = """\
{% if test %}This is a test that an operator asked for: nothing was detected.

{% endif %}
{% if kind == "closed" %}The case closed: its accounts have shown no evidence for long enough. That judges nothing.
{% else %}{{ title }}, {{ severity }}: {{ evidence }} after {{ requests }} requests.
{% endif %}

Case: {{ case | code }}, pattern {{ pattern | code }}
Accounts ({{ account_count }}): {{ accounts | code }}

First seen {{ first_seen }}, evidence sufficed {{ time }}

{% if kind != "closed" %}
{% for signal in signals %}
* {{ signal }}
{% endfor %}

{% if counterfactual %}
It {{ counterfactual }}.

{% endif %}
{% if shared %}
They share: {{ shared | join(", ") }}

{% endif %}
{% if carried_by %}
Sent by: {{ carried_by }}

{% endif %}
{% if indicators %}
Published indicators: {{ indicators }}

{% endif %}
{% endif %}

Next: {{ runbook }}

Decide: {{ verdict | code }}
"""
"""Of every kind; observed facts only, and never who the actor is."""

_log = structlog.get_logger(__name__)


class _Ours(str):
    """Text that is ours, and needs no escaping."""

    __slots__ = ()


def checks(dialect: Callable[[], Dialect]) -> Callable[[Settings, Sink], None]:
    """Return the check of a kind of sink that has nothing but templates to try, given the dialect of its texts."""

    def check(settings: Settings, sink: Sink) -> None:
        """Try the templates.

        Raises
        ------
        UnusableSink
            When one is wrong.
        """
        Writer(sink, settings.links.runbook, dialect()).check()

    return check


class Writer:
    """Writes titles and texts for one sink.

    Parameters
    ----------
    sink
        `title` and `body`, or ours where they are empty.
    link
        `settings.links.runbook`.
    dialect
        Of the texts, and of titles where it is one of plain text; other titles are plain.
    ours
        The title of this kind of sink.

    Raises
    ------
    UnusableSink
        When a template cannot be read; the message names the setting and the line.
    """

    def __init__(self, sink: Sink, link: str, dialect: Dialect, ours: str = TITLE) -> None:
        self._link = link
        self._dialect = dialect
        of_title = dialect if isinstance(dialect, Plain) else Plain()
        self._title_ours, self._body_ours = _compile(ours, of_title, ""), _compile(BODY, dialect, "")
        self._title = _compile(sink.title, of_title, "title") if sink.title else self._title_ours
        self._body = _compile(sink.body, dialect, "body") if sink.body else self._body_ours

    def title(self, alert: AlertRecord, limit: int) -> str:
        """Return the title, one line of 1 to `limit` characters."""
        said = self._render("title", self._title, self._title_ours, alert)[0]
        return clip(" ".join(clean(said).split()), limit) or alert.case

    def body(self, alert: AlertRecord, limit: int) -> str:
        """Return the text, at most `limit` characters; where the template failed, it says so at its end."""
        said, failed = self._render("body", self._body, self._body_ours, alert)
        said = re.sub(r"\n{3,}", "\n\n", said.replace("\r", "")).strip()
        note = "\n\n(The body template of this sink failed; `siphonwatch doctor` tells why.)" if failed else ""
        return clip(said, limit - len(note)) + note

    def check(self) -> None:
        """Try the templates on a case's opening and closing.

        Raises
        ------
        UnusableSink
            When one fails; the message names the setting and says why.
        """
        for alert in make_alerts(1.8e9, self._link):
            for field, template in (("title", self._title), ("body", self._body)):
                try:
                    template.render(self._values(alert))
                except Exception as error:  # noqa: BLE001 - templates are code, which may fail in any way
                    raise UnusableSink(f"{field}: the template fails: {type(error).__name__}: {error}") from None

    def _render(self, field: str, template: Template, ours: Template, alert: AlertRecord) -> tuple[str, bool]:
        """Text, and whether ours had to take the place of a template."""
        values = self._values(alert)
        try:
            return template.render(values), False
        except Exception as error:  # noqa: BLE001 - templates are code; an alert is not lost for one
            _log.warning("a template failed and ours was used", field=field, alert=alert.id, reason=str(error))
            return ours.render(values), True

    def _values(self, alert: AlertRecord) -> dict[str, Any]:
        own = alert.own
        link = runbook(self._link, alert)
        return {
            "kind": alert.kind,
            "case": alert.case,
            "alert": alert.id,
            "pattern": own.pattern,
            "title": clip(alert.title, 200),
            "message": clip(alert.message, VALUE),
            "severity": alert.severity,
            "accounts": accounts(alert, ACCOUNTS),
            "account_count": len(own.accounts),
            "e_value": own.e_value,
            "chance": chance(own.e_value),
            "evidence": evidence(own.e_value),
            "requests": own.requests_seen,
            "first_seen": clip(own.first_seen, 40),
            "opened": rfc3339(alert.opened),
            "time": rfc3339(alert.time),
            "signals": signals(alert, SIGNALS),
            "counterfactual": clip(own.counterfactual, VALUE),
            "shared": [clip(one, 200) for one in own.shared[:20]],
            "carried_by": carried_by(alert),
            "indicators": indicators_text((one.name, one.scored) for one in own.indicators),
            "sample_requests": [clip(one, 200) for one in own.sample_requests],
            "rank": own.rank,
            "atlas": own.atlas,
            "owasp": own.owasp,
            "runbook": _Ours(link) if is_url(link) else link,
            "verdict": f"siphonwatch verdict {alert.case} DECISION",
            "test": alert.test,
        }


def _compile(source: str, dialect: Dialect, field: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=lambda value: _text(value, dialect)
    )
    environment.filters["code"] = lambda value: _code(value, dialect)
    try:
        return environment.from_string(source)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f"{field}: the template is wrong" + (f" in line {line}" if line else "")
        raise UnusableSink(f"{where}: {error}") from None


def _code(value: Any, dialect: Dialect) -> _Ours:
    """What `code` gives: of a list its items, separated by commas."""
    return _Ours(", ".join(dialect.code(str(one)) for one in (value if isinstance(value, list) else [value])))


def _text(value: Any, dialect: Dialect) -> str:
    """What an expression prints."""
    if isinstance(value, _Ours):
        return value
    if isinstance(value, StrictUndefined):
        return str(value)  # which raises, and says what is not there
    if isinstance(value, list):
        return ", ".join(dialect.value(str(one)) for one in value)
    return dialect.value(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))

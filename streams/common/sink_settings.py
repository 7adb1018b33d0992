"""Settings of the deliverer and of one alert sink. It checks shapes only: what a kind of sink needs besides is checked
where sinks are made, so that a worker, which delivers nothing, can share the file without the sinks' secrets.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

SECRET_FIELDS = ("url", "secret", "token", "routing_key")
"""May stand in a file named by `<field>_file` instead, and are never shown."""
KIND_FIELDS = (
    "username", "project", "issue_type", "edition", "on_close", "decisions", "sender", "recipients", "title", "body",
)  # fmt: skip
"""Settings that some kinds of sinks have a use for, and others not."""
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_Seconds = Annotated[float, Meta(gt=0)]


class Deliver(msgspec.Struct, forbid_unknown_fields=True):
    """`siphonwatch deliver`: where it shows its health, and how it repeats what failed."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 6067
    timeout: _Seconds = 10.0
    """Of one attempt, from connecting to the answer's end."""
    backoff: _Seconds = 1.0
    """Longest wait before the second attempt; doubles with each further one."""
    backoff_max: _Seconds = 60.0
    """Longest wait between attempts at a receiver that is away."""
    backoff_misconfigured: _Seconds = 300.0
    """Longest wait where the receiver says 401, 403 or 404: nothing helps but a person."""


class Feedback(msgspec.Struct, forbid_unknown_fields=True):
    """`siphonwatch feedback`: verdicts that analysts gave in their own tools."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 6068
    secret: str = ""
    """Of signed messages: `whsec_` and base64; several, separated by blanks or commas, while one replaces another.
    Empty: none are taken."""
    secret_file: str = ""
    poll: _Seconds = 60.0
    """Between two looks at each tool."""


class Sink(msgspec.Struct, forbid_unknown_fields=True):
    """One receiver of alerts, `[sinks.NAME]`."""

    kind: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    """One that is installed: `siphonwatch.streams.common.extensions`."""
    url: str = ""
    """Where to send; PagerDuty has a default, and a Grafana sink uses the [grafana] section instead. Of a mail sink the
    server: `smtps://host:465`, `smtp://host:587` (STARTTLS) or `smtp-plain://host:25`; of apprise any of its own."""
    url_file: str = ""
    secret: str = ""
    """Of a webhook: `whsec_` and base64; several, separated by blanks or commas, while one replaces another."""
    secret_file: str = ""
    token: str = ""
    """Sent as a bearer token, to a webhook or an Alertmanager behind a proxy that wants one; API key of TheHive, IRIS
    or Jira; password of a mail server."""
    token_file: str = ""
    username: str = ""
    """To log in with beside `token`: at a mail server, or the e-mail address of an account of Jira Cloud."""
    project: str = ""
    """Key of a project of Jira, organisation of TheHive, number of a customer of IRIS (1 where it is empty)."""
    issue_type: str = "Task"
    """Of Jira."""
    edition: Literal["cloud", "data-center"] = "cloud"
    """Of Jira: which API it has, and how its texts are marked up."""
    on_close: str = ""
    """What an object becomes when its case closes: status of TheHive or IRIS, transition of Jira. Empty: it gets a
    comment and stays as it is, for that an account fell silent judges nothing."""
    decisions: dict[str, str] = {}
    """Of a tool that `siphonwatch feedback` polls: what its statuses or resolutions mean, such as `{"Won't Do" =
    "false-positive"}`, beside those that speak for themselves; "" for one that means nothing."""
    sender: str = ""
    """Address that mail comes from."""
    recipients: list[str] = []
    """Addresses that mail goes to."""
    title: str = ""
    """Template of the title or subject (Jinja2, docs/operations.md); empty for ours."""
    body: str = ""
    """Template of the text; empty for ours."""
    updates: Literal["", "all", "changes", "doublings"] = ""
    """Which updates of a case it gets: all; those where severity rose, an account joined or the evidence doubled; or
    those where severity rose or accounts or evidence doubled. Empty: `changes` where people read, else `all`."""
    routing_key: str = ""
    """Integration key of a PagerDuty service (Events API v2)."""
    routing_key_file: str = ""
    cafile: str = ""
    """Certificates to trust in place of the system's."""
    proxy: str = ""
    """HTTP proxy to go through, such as http://proxy.example:3128."""
    patterns: list[str] = []
    """Only these; empty for all."""
    severity: Annotated[str, Meta(pattern=r"^(low|medium|high|critical)\+?$")] = "low+"
    """Only this; with + this or worse."""
    kinds: list[Literal["opened", "updated", "closed"]] = []
    """Only these; empty for all."""
    since: Annotated[str, Meta(pattern=r"^(all|\d+(\.\d+)?[smhd])$")] = "1h"
    """How far back a sink that never ran begins: alerts sent so long ago, or `all` that the topic holds."""


class UnusableSink(ValueError):
    """A sink cannot work as it is set; the message names the setting and never a secret."""


class UnusableSecret(ValueError):
    """A secret is given twice, or its file cannot be read; the message names the field and never the secret."""


def secret(sink: Sink | Feedback, field: str) -> str:
    """Return one of `SECRET_FIELDS`, from its file where one is named; read every time, as mounted secrets change.

    Raises
    ------
    UnusableSecret
        When it is given directly and by file, or the file cannot be read or is empty.
    """
    value: str = getattr(sink, field)
    path: str = getattr(sink, f"{field}_file")
    if not path:
        return value
    if value:
        raise UnusableSecret(f"{field} and {field}_file are both set: leave one out")
    try:
        value = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UnusableSecret(f"{field}_file {path} cannot be read: {reason}") from None
    if not value:
        raise UnusableSecret(f"{field}_file {path} is empty")
    return value


def place(variable: str) -> tuple[str, str] | None:
    """Split what follows `SIPHONWATCH_SINKS_` into a sink's name and a field; None where it is neither.

    A hyphen of a name is written as an underscore.

    Examples
    --------
    >>> place("slack_ops_url_file")
    ('slack-ops', 'url_file')
    """
    for field in sorted(Sink.__struct_fields__, key=len, reverse=True):
        name = variable.removesuffix(f"_{field}").replace("_", "-")
        if variable.endswith(f"_{field}") and NAME.match(name):
            return name, field
    return None

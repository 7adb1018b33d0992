"""What people decide by a form: each form is one `Act`, and leads back to where it stood. Where somebody else was
faster, the form comes back as it was, with who did what when.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from siphonwatch.streams.desk.views import Act, NotSent, Overtaken, Unknown
from siphonwatch.streams.desk.web.desk import Asked
from siphonwatch.streams.desk.web.pages import moment, names, show_allowed, show_case
from siphonwatch.streams.desk.web.render import onward, page

HOUR = 3600.0
BULK = ("verdict", "assign", "snooze", "merge", "note")
"""What can be decided on several cases at once."""


async def decide(asked: Asked) -> web.Response:
    """Take a decision on one case, or on several of the queue."""
    cases = [case for case in asked.form.get("cases", []) if case]
    if not cases:
        raise ValueError("choose a case first")
    try:
        said = await asked.desk.decide(act_of(asked, cases), asked)
    except (Overtaken, ValueError) as error:
        if len(cases) > 1 or isinstance(error, Unknown):
            raise
        found = await asked.desk.ask(asked.desk.looks.case, cases[0], asked.person.name)
        status = 409 if isinstance(error, Overtaken) else 503 if isinstance(error, NotSent) else 422
        return show_case(asked, found, _given(asked), str(error), status)
    asked.desk.say(asked.session, said)
    return onward(back(asked, f"/case/{quote(cases[0], safe='')}" if len(cases) == 1 else "/"))


def act_of(asked: Asked, cases: list[str]) -> Act:
    """Return the decision that a form holds.

    Raises
    ------
    ValueError
        Where the form is not complete; the message says what is missing.
    """
    kind = asked.one("kind")
    if len(cases) > 1 and kind not in BULK:
        raise ValueError(f"on several cases at once one can {', '.join(BULK)}")
    if kind == "merge" and len(cases) > 1:
        cases = [case for case in cases if case != asked.one("of")]
    fields: dict[str, Any] = {"kind": kind, "cases": cases, "text": asked.one("text")}
    seen = (pair.rpartition(":") for pair in asked.form.get("versions", []))
    fields["versions"] = {case: version for case, _, version in seen if case in cases}
    if asked.one("version"):
        fields["version"] = asked.one("version")
    if kind == "verdict":
        if not asked.one("decision"):
            raise ValueError("choose a verdict")
        fields |= {"decision": asked.one("decision"), "of": asked.one("of")}
    elif kind == "assign":
        fields["assignee"] = asked.person.name if asked.one("to") == "me" else asked.one("assignee")
    elif kind == "snooze":
        fields["until"] = until(asked)
    elif kind == "merge":
        fields["of"] = asked.one("of")
        if not fields["of"]:
            raise ValueError("say into which case")
    elif kind == "split":
        fields["accounts"] = [one for one in asked.form.get("accounts", []) if one]
        if not fields["accounts"]:
            raise ValueError("choose the accounts to take out")
    elif kind == "note" and not fields["text"]:
        raise ValueError("write a note")
    return msgspec.convert(fields, Act, strict=False)


def until(asked: Asked) -> float:
    """Return a time to come: a date, or so many hours from now.

    Raises
    ------
    ValueError
        Where there is neither, or it is in the past.
    """
    given = moment(asked.one("until"))
    if given is None:
        try:
            hours = float(asked.one("hours"))
        except ValueError:
            raise ValueError("say until when") from None
        given = asked.desk.clock() + hours * HOUR
    if not given > asked.desk.clock():
        raise ValueError("that time is in the past")
    return given


async def allow(asked: Asked) -> web.Response:
    """Add an allow entry."""
    given = {name: asked.one(name) for name in ("account", "pattern", "case", "until", "why")}
    if asked.one("step") == "preview":
        return await show_allowed(asked, given)
    try:
        accounts = names(given["account"])
        if not (accounts or given["case"]) or not given["pattern"] or not given["why"]:
            raise ValueError("an entry needs an account or a case, a pattern, a reason and a time until when")
        act = Act(
            kind="allow", cases=[given["case"]] if given["case"] else [], accounts=accounts, pattern=given["pattern"],
            until=until(asked), text=given["why"],
        )  # fmt: skip
        said = await asked.desk.decide(act, asked)
    except ValueError as error:
        return await show_allowed(asked, given, str(error), 422)
    asked.desk.say(asked.session, said)
    return onward("/allow")


async def allow_end(asked: Asked) -> web.Response:
    """End an allow entry before its time."""
    act = Act(kind="allow-end", entry=asked.one("entry"), text=asked.one("why"))
    asked.desk.say(asked.session, await asked.desk.decide(act, asked))
    return onward("/allow")


async def log_out(asked: Asked) -> web.Response:
    """End the session."""
    asked.desk.audit.take(asked.person.name, asked.person.role, asked.peer, "log-out", "done")
    said = "Close this window, or log in again."
    response = page("problem.html.jinja", None, title="Logged out", text=said)
    asked.desk.sessions.end(response, asked.session)
    return response


def back(asked: Asked, otherwise: str) -> str:
    """Return where a form leads back to: a place of ours that it names, or another."""
    place = asked.one("back")
    return place if local(place) else otherwise


def local(place: str) -> bool:
    """Return whether an address is a path of this desk, and nothing that a browser takes for another host."""
    return place.startswith("/") and place[1:2] not in ("/", "\\") and place.isprintable() and "\\" not in place


def _given(asked: Asked) -> dict[str, Any]:
    return {name: values[0] for name, values in asked.form.items()} | {"accounts": asked.form.get("accounts", [])}

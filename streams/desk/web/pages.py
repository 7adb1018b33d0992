"""The pages that people read: queue, case, account, campaign, search, allow entries, who did what. Changes nothing, but
for which cases somebody has looked at.
"""

from __future__ import annotations

import contextlib
import re
import time
from calendar import timegm
from collections.abc import Iterable
from typing import Any, get_args
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.streams.desk.views import Ask, CasePage, CaseRow, Kind, Unknown
from siphonwatch.streams.desk.web.desk import Asked
from siphonwatch.streams.desk.web.render import SEVERITIES, page

RECENT_SECONDS = 7 * 86_400.0
"""How far back one sees what an allow entry would have hidden."""
KINDS: tuple[str, ...] = ("", "account", "case", *get_args(Kind))
TIMES = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d")


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What the queue's address says."""

    order: str = "rank"
    state: str = "open"
    unjudged: str = ""
    mine: str = ""
    assignee: str = ""
    pattern: str = ""
    severity: str = ""
    account: str = ""
    since: str = ""
    until: str = ""
    limit: int = 50
    after: str = ""

    def ask(self, person: str) -> Ask:
        """Return what is asked of the index.

        Raises
        ------
        msgspec.ValidationError
            For what no queue has.
        """
        asked = {
            "order": self.order, "state": self.state, "unjudged": bool(self.unjudged), "pattern": self.pattern,
            "assignee": person if self.mine else self.assignee, "severity": self.severity, "account": self.account,
            "since": moment(self.since), "until": moment(self.until), "limit": self.limit, "after": self.after,
        }  # fmt: skip
        return msgspec.convert(asked, Ask)

    def link(self, **changed: str) -> str:
        """Return the address of this queue with something changed, from its first page."""
        values = {**msgspec.structs.asdict(self), "after": "", **changed}
        standard = msgspec.structs.asdict(Look())
        kept = {name: value for name, value in values.items() if value != standard[name]}
        return "/?" + urlencode(kept) if kept else "/"


def query(request: web.Request) -> dict[str, str]:
    """Return the fields of an address, the first of each name."""
    return {name: request.query[name] for name in request.query}


def moment(text: str) -> float | None:
    """Return seconds since 1970 of a date or a date and time (UTC); nothing for an empty one.

    Raises
    ------
    ValueError
        For what is neither.
    """
    if not text:
        return None
    for form in TIMES:
        with contextlib.suppress(ValueError):
            return float(timegm(time.strptime(text.rstrip("Z"), form)))
    raise ValueError("a time is written as 2026-01-31 or 2026-01-31T18:00 (UTC)")


def grouped(rows: Iterable[CaseRow]) -> list[list[CaseRow]]:
    """Return cases that belong together beside each other, in the order of the first of each group."""
    groups: dict[str, list[CaseRow]] = {}
    for row in rows:
        groups.setdefault(row.group or row.case, []).append(row)
    return list(groups.values())


async def queue(asked: Asked) -> web.Response:
    """Show cases in an order."""
    known = set(Look.__struct_fields__)
    given = {name: value for name, value in query(asked.request).items() if name in known}
    look = msgspec.convert(given, Look, strict=False)
    found = await asked.desk.ask(asked.desk.looks.queue, look.ask(asked.person.name), asked.person.name)
    return page(
        "queue.html.jinja", asked, look=look, queue=found, groups=grouped(found.rows),
        patterns=[pattern.pattern for pattern in patterns()], severity_names=SEVERITIES,
        back=look.link(after=look.after),
    )  # fmt: skip


async def case(asked: Asked) -> web.Response:
    """Show a case; the address may say which verdict is about to be given."""
    found = await asked.desk.ask(asked.desk.looks.case, asked.request.match_info["case"], asked.person.name)
    return show_case(asked, found, {"decision": asked.request.query.get("decide", "")})


def show_case(
    asked: Asked, found: CasePage, given: dict[str, Any], overtaken: str = "", status: int = 200
) -> web.Response:
    """Return a case's page with what somebody has already written into its forms.

    Parameters
    ----------
    given
        Fields of the form that was sent, where its decision could not be taken.
    overtaken
        Why not.
    """
    return page(
        "case.html.jinja", asked, status=status, case=found, row=found.row, given=given, wrong=overtaken,
        alert=alert_id(found), steps=found.steps,
    )  # fmt: skip


def alert_id(found: CasePage) -> str:
    """Return the id of the alert that a case's page shows."""
    try:
        return str(msgspec.json.decode(found.alert)["id"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"{found.row.case}-{found.row.sequence}"


async def account(asked: Asked) -> web.Response:
    """Show an account."""
    found = await asked.desk.ask(asked.desk.looks.account, asked.request.match_info["account"])
    return page("account.html.jinja", asked, found=found, patterns=[pattern.pattern for pattern in patterns()])


async def campaign(asked: Asked) -> web.Response:
    """Show a campaign."""
    found = await asked.desk.ask(asked.desk.looks.campaign, asked.request.match_info["case"])
    return page("campaign.html.jinja", asked, found=found, row=found.row)


async def search(asked: Asked) -> web.Response:
    """Show what a search finds; one case or account alone is opened at once."""
    given = {name: asked.request.query.get(name, "").strip() for name in ("q", "kind", "since", "until")}
    if given["kind"] not in KINDS:
        raise ValueError(f"there is no search by {given['kind'][:40]!r}")
    found, wrong = [], ""
    if given["q"]:
        try:
            since, until = moment(given["since"]), moment(given["until"])
            found = list(await asked.desk.ask(asked.desk.looks.find, given["q"], given["kind"], since, until))
        except Unknown:
            pass
        except ValueError as error:
            wrong = str(error)
    if len(found) == 1 and not (given["since"] or given["until"]):
        return web.Response(status=303, headers={"Location": f"/{found[0].kind}/{quote(found[0].id, safe='')}"})
    return page("search.html.jinja", asked, given=given, kinds=KINDS, found=found, wrong=wrong)


async def allowed(asked: Asked) -> web.Response:
    """Show allow entries, and a form for a new one with what it would have hidden."""
    given = {name: asked.request.query.get(name, "").strip() for name in ("account", "pattern", "case", "until", "why")}
    return await show_allowed(asked, given)


async def show_allowed(asked: Asked, given: dict[str, str], wrong: str = "", status: int = 200) -> web.Response:
    """Return the page of allow entries with what somebody has already written into its form."""
    desk = asked.desk
    entries = sorted(await desk.ask(desk.looks.allowed), key=lambda entry: (entry.ended, entry.until))
    covered: list[CaseRow] = []
    accounts = names(given.get("account", ""))
    with contextlib.suppress(Unknown):
        if case := given.get("case", ""):
            row = (await desk.ask(desk.looks.case, case, asked.person.name)).row
            given = {**given, "pattern": row.pattern}
        if pattern := given.get("pattern", ""):
            covered += await desk.ask(desk.looks.covered, accounts, pattern, case)
    newest = max((row.updated for row in covered), default=0.0)
    covered = [row for row in covered if row.updated > newest - RECENT_SECONDS]
    return page(
        "allow.html.jinja", asked, status=status, entries=entries, given=given, covered=covered, wrong=wrong,
        accounts=accounts, patterns=[pattern.pattern for pattern in patterns()], now=desk.clock(),
    )  # fmt: skip


def names(text: str) -> list[str]:
    """Return what is separated by blanks, commas or lines."""
    return [part for part in re.split(r"[\s,]+", text) if part]


async def audit(asked: Asked) -> web.Response:
    """Show who did what."""
    return page("audit.html.jinja", asked, entries=await asked.desk.entries())


async def reading(asked: Asked) -> web.Response:
    """Show how far the index has read the topics, and what it could not read."""
    return page("reading.html.jinja", asked, found=await asked.desk.ask(asked.desk.looks.reading))


async def keys(asked: Asked) -> web.Response:
    """Show what the keyboard does."""
    return page("keys.html.jinja", asked)

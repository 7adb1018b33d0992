"""`siphonwatch verdict`: sends an analyst's decision on a case to the verdicts topic. It changes no alert."""

from __future__ import annotations

import getpass
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, cast

import click
import msgspec
from kafka.errors import KafkaError
from rich.markup import escape
from rich.table import Table

from siphonwatch.models.detect.registry import current
from siphonwatch.models.evaluate.anytime import anytime
from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.models.learn.verdict_book import DECIDED, DECISIONS, WITHDRAWN, Decision
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.table import screen
from siphonwatch.streams.cli.verdict_file import VALUE, FileErrors, Row, decision_of, read
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.common.tail import Tail, TailError
from siphonwatch.streams.contracts.alert import Alert, NotAnAlert
from siphonwatch.streams.contracts.alert import decode as decode_alert
from siphonwatch.streams.contracts.verdict import (
    NotAVerdict,
    Verdict,
    decode,
    encode,
    facts_of_alert,
    judge,
    standing,
    undone,
)
from siphonwatch.streams.deliver.text import clean, clip
from siphonwatch.streams.edge.producer import Outbox, connect

if TYPE_CHECKING:
    from siphonwatch.models.evaluate.powered import Floats

NO_CASES = ("duplicate", "test")
"""Decisions by which a case is none of its own, and counts in no share."""
SHORTEST = 6
"""Fewest characters of a case's id that name it, where no other id begins with them."""
DELIVERY_SECONDS = 30.0


class Choice(click.ParamType):
    """A decision, in any of the forms that a file may have."""

    name = "decision"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(DECISIONS)}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Decision:
        decision = decision_of(value)
        if decision is None:
            self.fail(f"{value!r} is no decision: {', '.join(DECISIONS)}, or TP, FP, BE", param, ctx)
        return decision


@click.command("verdict", short_help="Say what a case was; verdicts order those that follow.")
@click.argument("case", required=False)
@click.argument("decision", required=False, type=Choice())
@click.option("--note", default="", help="Why, in your words; kept on the verdicts topic only.")
@click.option("--by", default="", metavar="NAME", help="Who decides.  [default: your login name]")
@click.option("--of", default="", metavar="CASE", help="Of a duplicate: the case that it is a duplicate of.")
@click.option(
    "--file", "file", type=click.File(encoding="utf-8-sig"), help="CSV of case,decision and, if you like, note,by,of."
)
@click.option("--undo", is_flag=True, help="Take the last verdict of CASE back: the one before it stands, or none.")
@click.option("--list", "list_", is_flag=True, help="Show the verdicts that stand, the last one of each case.")
@click.option("--history", is_flag=True, help="Show every verdict on the topic, of CASE or of all.")
@click.option("--json", "as_json", is_flag=True, help="With --list or --history: the records of the topic, one a line.")
def command(
    case: str | None,
    decision: Decision | None,
    note: str,
    by: str,
    of: str,
    file: IO[str] | None,
    undo: bool,
    list_: bool,
    history: bool,
    as_json: bool,
) -> None:
    """Say what CASE was: it orders the cases that follow, and never hides one.

    CASE is a case's id, or its beginning. The last verdict of a case stands, and what it replaces is said. A verdict
    repeats what the newest alert of its case said. Only true-positive, false-positive and benign-expected teach; the
    others say that nothing is decided, that it is no case of its own, or that it was a trial. A note may hold names:
    it stays on the verdicts topic, as your name does.

    Exit code 0: the broker has all of it; 1: a case is not known, a line of the file cannot be used, or the broker did
    not answer; 2: bad usage.
    """
    asked = [decision is not None, file is not None, undo, list_, history]
    if case is not None and not any(asked):
        raise click.UsageError(f"say what {case} was: one of {', '.join(DECISIONS)}")
    if sum(asked) != 1 or (undo and case is None) or (case is not None and (list_ or file)):
        raise click.UsageError("give a CASE with a decision or --undo, or --file, --list or --history")
    if of and decision != "duplicate":
        raise click.UsageError("--of goes with the decision duplicate")
    if as_json and not (list_ or history):
        raise click.UsageError("--json goes with --list and --history")
    settings = load().settings
    try:
        if list_ or history:
            return show(settings, as_json, everything=history, beginning=None if case is None else beginning_of(case))
        by = by or login()
        known = list(recorded(settings))
        if undo:
            verdicts = [_undone(known, beginning_of(str(case)), by)]
        else:
            rows = read(file, note, by) if file else [Row(0, str(case), cast(Decision, decision), note, by, of)]
            erased = {one.case for one in known if one.account == ERASED}
            verdicts = find(settings, rows, file.name if file else "")
            verdicts = [msgspec.structs.replace(one, account=ERASED) if one.case in erased else one for one in verdicts]
        send(settings, verdicts)
    except (TailError, FileErrors) as error:
        raise Failure(str(error)) from None
    before = {verdict.case: verdict for verdict in standing(known)}
    for verdict in verdicts:
        said = f"{verdict.case} {clean(verdict.facts.pattern)}: {verdict.decision}, by {clean(verdict.by)}"
        click.echo(said + _replaced(before.get(verdict.case)))
        before[verdict.case] = verdict


def login() -> str:
    """Return the name to decide under where none is given."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return "unknown"


def _replaced(verdict: Verdict | None) -> str:
    """What a verdict takes the place of, and where that was said."""
    if verdict is None or verdict.decision == WITHDRAWN:
        return ""
    return f" (replaces {verdict.decision}, by {clean(verdict.by)}, {_moment(verdict)})"


def beginning_of(case: str) -> str:
    """Return the beginning of a case's id as a user gave it.

    Raises
    ------
    Failure
        When it is none.
    """
    beginning = case.lower()
    if not SHORTEST <= len(beginning) <= 16 or not set(beginning) <= set("0123456789abcdef"):
        shown = clip(clean(case), VALUE)
        raise Failure(f"{shown!r} is no case: give {SHORTEST} to 16 hexadecimal digits, as `alerts` shows them")
    return beginning


def _undone(known: list[Verdict], beginning: str, by: str) -> Verdict:
    found = sorted({verdict.case for verdict in known if verdict.case.startswith(beginning)})
    if len(found) > 1:
        raise Failure(f"{beginning} could be {', '.join(found)}: give more of the id. Nothing was sent")
    try:
        return undone((verdict for verdict in known if verdict.case in found), by=by, time=time.time())
    except NotAVerdict:
        raise Failure(f"case {beginning} has no verdict: `siphonwatch verdict --list` shows those that stand") from None


def find(settings: Settings, given: list[Row], file: str = "") -> list[Verdict]:
    """Return the decisions as verdicts on the newest alert of each case; reports cases that are in the file twice.

    Raises
    ------
    Failure, FileErrors
        When a case has no alert, or several begin so; for a file with every line of which that is so.
    TailError
        When the alerts topic cannot be read.
    """
    beginnings: set[str] = set()
    errors: list[str] = []
    for row in given:
        try:
            beginnings |= {beginning_of(named) for named in (row.case, row.of) if named}
        except Failure as error:
            errors.append(f"line {row.line}: {error}")
            if not file:
                raise
    newest: dict[str, Alert] = {}
    if beginnings:
        with Tail.connect(settings, settings.topic("alerts")) as tail:
            newest = judgeable(tail.history(), beginnings)
    now = time.time()
    verdicts: list[Verdict] = []
    lines: dict[str, list[int]] = {}
    for row in given:
        if row.case.lower() not in beginnings:
            continue
        try:
            verdict = _judged(newest, row, now)
        except NotAVerdict as error:
            if not file:
                raise Failure(f"{error}. Nothing was sent") from None
            errors.append(f"line {row.line}: {error}")
            continue
        verdicts.append(verdict)
        lines.setdefault(verdict.case, []).append(row.line)
    if errors:
        raise FileErrors(file, errors)
    for case, places in lines.items():
        if len(places) > 1:
            said = ", ".join(map(str, places))
            click.echo(f"{file}: case {case} stands in lines {said}: the last one counts", err=True)
    return verdicts


def judgeable(values: Iterable[bytes], beginnings: set[str]) -> dict[str, Alert]:
    """Return the newest alert of each case whose id begins so; its closing repeats the one before and is left out."""
    newest: dict[str, Alert] = {}
    wanted = [beginning.encode() for beginning in beginnings]
    for value in values:
        if not any(beginning in value for beginning in wanted):
            continue
        try:
            alert = decode_alert(value)
        except NotAnAlert:
            continue  # `siphonwatch alerts` counts them
        if alert.kind == "closed" or not alert.subject.startswith(tuple(beginnings)):
            continue
        known = newest.get(alert.subject)
        if known is None or known.own.sequence <= alert.own.sequence:
            newest[alert.subject] = alert
    return newest


def _judged(newest: dict[str, Alert], one: Row, now: float) -> Verdict:
    """The verdict on a case of its own; raises NotAVerdict with what is wrong."""
    found = _only(newest, one.case)
    try:
        of = _only(newest, one.of) if one.of else ""
        return judge(newest[found], one.decision, by=one.by, time=now, note=one.note, of=of)
    except NotAVerdict as error:
        raise NotAVerdict(f"case {found} cannot be judged: {error}") from None


def _only(newest: dict[str, Alert], beginning: str) -> str:
    """The one case that begins so; raises NotAVerdict where there is none, or several."""
    found = sorted(case for case in newest if case.startswith(beginning.lower()))
    if not found:
        raise NotAVerdict(
            f"no alert of case {beginning} is on the alerts topic: `siphonwatch alerts` shows the known ones"
        )
    if len(found) > 1:
        raise NotAVerdict(f"{beginning} could be {', '.join(found)}: give more of the id")
    return found[0]


def send(settings: Settings, verdicts: Iterable[Verdict]) -> None:
    """Send verdicts in their order; return when the broker has them all.

    Raises
    ------
    Failure
        When it does not.
    """
    topic = settings.topic("verdicts")
    try:
        producer = connect(settings, "siphonwatch-verdict")
        outbox = Outbox(producer, topic)
        try:
            for verdict in verdicts:
                outbox.send(encode(verdict), verdict.case.encode())
            outbox.flush(DELIVERY_SECONDS)
        finally:
            outbox.close(DELIVERY_SECONDS)
    except KafkaError as error:
        raise Failure(
            f"cannot send to {topic} ({type(error).__name__}: {error}): send again, the last one counts"
        ) from None
    if outbox.failed:
        reasons = ", ".join(sorted(outbox.failures))
        raise Failure(f"{outbox.failed} verdicts did not reach {topic} ({reasons}): send again, the last one counts")


def recorded(settings: Settings) -> Iterator[Verdict]:
    """Give the verdicts on the topic in their order; records that are none are counted, and reported at the end.

    Raises
    ------
    TailError
        When the topic cannot be read.
    """
    unreadable = 0
    with Tail.connect(settings, settings.topic("verdicts")) as tail:
        for value in tail.history():
            try:
                yield decode(value)
            except NotAVerdict:
                unreadable += 1
    if unreadable:
        click.echo(f"{unreadable:,} records on the topic are no verdicts of ours and were left out", err=True)


def show(settings: Settings, as_json: bool, *, everything: bool, beginning: str | None) -> None:
    """Print verdicts in the order of the topic: the standing ones or all, of one case or of every one."""
    found = list(recorded(settings))
    verdicts = [one for one in (found if everything else standing(found)) if one.case.startswith(beginning or "")]
    if not verdicts:
        click.echo("no verdicts" if beginning is None else f"no verdicts on {beginning}", err=True)
    elif as_json:
        for verdict in verdicts:
            click.echo(encode(verdict))
    else:
        screen().print(_table(verdicts))
        for line in [] if everything else precision(verdicts):
            click.echo(line)
        for line in [] if everything or beginning else _of_all(settings, verdicts):
            click.echo(line)


def precision(verdicts: Iterable[Verdict]) -> list[str]:
    """Return what share of its judged cases analysts confirmed, a line a pattern, with an interval for every look.

    Where verdicts are on cases of more than one card of a pattern, a line a card follows, in the order of their first
    verdicts.
    """
    found: dict[str, dict[str, list[bool]]] = {}
    of_pattern: dict[str, list[bool]] = {}
    for verdict in verdicts:
        if verdict.decision in DECIDED:
            pattern, outcome = current(verdict.facts.pattern), DECIDED[verdict.decision]
            of_pattern.setdefault(pattern, []).append(outcome)
            found.setdefault(pattern, {}).setdefault(verdict.card, []).append(outcome)
    lines: list[str] = []
    for pattern in sorted(found):
        lines.append(_confirmed(clean(pattern), of_pattern[pattern]))
        if len(found[pattern]) > 1:
            for card, outcomes in found[pattern].items():
                lines.append(_confirmed(f"  card {clean(card)}" if card else "  card not recorded", outcomes))
    return lines


def _of_all(settings: Settings, verdicts: Sequence[Verdict]) -> list[str]:
    """What share of all cases on the alerts topic analysts would confirm; nothing where the topic cannot be read."""
    try:
        with Tail.connect(settings, settings.topic("alerts")) as tail:
            newest = judgeable(tail.history(), {""})
    except TailError as error:
        return [f"of all cases: not estimated, as the alerts cannot be read ({error})"]
    return of_all(verdicts, newest.values())


def of_all(verdicts: Iterable[Verdict], alerts: Iterable[Alert]) -> list[str]:
    """Return what share of all their cases, judged or not, analysts would confirm: a line a pattern, and a card.

    Parameters
    ----------
    verdicts
        The standing ones.
    alerts
        The newest of each case. A verdict on a case without one says nothing of those that are still there.
    """
    import numpy as np

    from siphonwatch.models.evaluate.powered import Case, out_of_fold

    of_case = {one.case: one.decision for one in verdicts}
    cases = [
        (
            current(alert.own.pattern), alert.own.card,
            Case(facts_of_alert(alert), alert.own.accounts[0], DECIDED.get(of_case.get(alert.subject, ""))),
        )
        for alert in alerts
        if of_case.get(alert.subject) not in NO_CASES
    ]  # fmt: skip
    if not any(case.confirmed is not None for *_, case in cases):
        return []
    ranks = out_of_fold([case for *_, case in cases])
    outcomes = np.array([math.nan if case.confirmed is None else float(case.confirmed) for *_, case in cases])
    lines = ["of all cases on the topic, judged or not, by what the ranker says of the others (95 %, at one look):"]
    for pattern in sorted({pattern for pattern, *_ in cases}):
        here = [i for i, (of, *_) in enumerate(cases) if of == pattern]
        if not any(cases[i][2].confirmed is not None for i in here):
            continue
        lines.append(f"  {clean(pattern)}: {_estimated(outcomes, ranks, here)}")
        cards = list(dict.fromkeys(cases[i][1] for i in here))
        for card in cards if len(cards) > 1 else ():
            found = _estimated(outcomes, ranks, [i for i in here if cases[i][1] == card])
            lines.append(f"    {f'card {clean(card)}' if card else 'card not recorded'}: {found}")
    return lines


def _estimated(outcomes: Floats, ranks: Floats, here: Sequence[int]) -> str:
    import numpy as np

    from siphonwatch.models.evaluate.powered import powered

    decided, said = ~np.isnan(outcomes[here]), ranks[here]
    found = powered(outcomes[here][decided], said[decided], said[~decided])
    of = f"{int(decided.sum())} of {len(here)} judged"
    return (
        f"{found} ({of})"
        if isinstance(found, str)
        else f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%}; {of})"
    )


def _confirmed(what: str, outcomes: list[bool]) -> str:
    one = anytime(outcomes)
    return (
        f"{what}: {sum(outcomes)} of {one.of} confirmed, {one.value:.0%} "
        f"({one.low:.0%} to {one.high:.0%}, at 95 % however often you look)"
    )


def _table(verdicts: Iterable[Verdict]) -> Table:
    table = Table(header_style="bold", expand=True)
    for heading in ("time", "case", "pattern", "verdict", "by"):
        table.add_column(heading, no_wrap=True)
    table.add_column("note", ratio=1)
    for verdict in verdicts:
        table.add_row(
            _moment(verdict), verdict.case, escape(clean(verdict.facts.pattern)), verdict.decision,
            escape(clean(verdict.by)), escape(clean(verdict.note)),
        )  # fmt: skip
    return table


def _moment(verdict: Verdict) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(verdict.time))

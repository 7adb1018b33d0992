"""`siphonwatch erase`: removes what is kept of an account from workers' state and verdicts, and gives a receipt.

It sends a control record; every partition carries it out at its next checkpoint and says what it found.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from kafka.errors import KafkaError
from rich.table import Table

from siphonwatch.models.engine.erase import PLACES
from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.table import screen
from siphonwatch.streams.cli.verdict import DELIVERY_SECONDS, login
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.common.tail import Tail, TailError
from siphonwatch.streams.contracts import desk, receipt, verdict
from siphonwatch.streams.contracts.control import Erase, NotAControl, decode, encode
from siphonwatch.streams.contracts.receipt import Receipt
from siphonwatch.streams.contracts.verdict import Verdict
from siphonwatch.streams.deliver.text import clean
from siphonwatch.streams.edge.producer import Outbox, connect

ACCOUNT_ID = re.compile(r"[0-9a-f]{32}\Z")
"""What gateways make of an account's name."""
ORDER_BYTES = 6
POLL_SECONDS = 1.0
SKEW_SECONDS = 3600.0
"""By how much a worker's clock may be behind ours: older receipts are not looked at."""
STREAMS = ("telemetry", "sightings")


@click.command("erase", short_help="Remove what is kept of an account; prints a receipt.")
@click.argument("account")
@click.option("--dry-run", is_flag=True, help="Only count what there is.")
@click.option("--why", default="", help="The reason, in your words; kept on the control topic only.")
@click.option("--by", default="", metavar="NAME", help="Who decides.  [default: your login name]")
@click.option("--wait", default=120.0, show_default=True, metavar="SECONDS", help="For the workers' receipts.")
@click.option(
    "--archive", "archives", multiple=True, metavar="DIR|URL", help="Take it out of this archive too; may be repeated."
)
@click.option(
    "--dataset", "datasets", multiple=True, metavar="DIR", type=click.Path(path_type=Path),
    help="Take it out of this data set too: labels, files of its archive, tables of features; may be repeated.",
)  # fmt: skip
@click.option(
    "--features", "tables", multiple=True, metavar="FILE|DIR", type=click.Path(path_type=Path),
    help="Take it out of this table of features too, or of all in a folder; may be repeated.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The receipt as one JSON object.")
def command(
    account: str,
    dry_run: bool,
    why: str,
    by: str,
    wait: float,
    archives: tuple[str, ...],
    datasets: tuple[Path, ...],
    tables: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Erase ACCOUNT: an id as alerts show it, or a name where identity.key is set.

    Workers remove its row, wherever it is kept, its open cases and what campaigns remember of it, each partition at its
    next checkpoint (state.checkpoint_interval), and tell the ends of its cases without its name; its verdicts, and what
    was noted at the desk, are written anew without its name and without notes. What it sent up to now is not applied
    again. What it sends from now on begins anew. A second run finds nothing.

    An archive loses its rows of telemetry, features and verdicts, and the alerts that name the account. What an
    archiver had not written yet of it is not written any more. A data set loses its labels, and is another one then.
    Tables that `siphonwatch features` wrote of it lose its rows where they were written, and by --features anywhere.

    Records that are on the topics of telemetry, features, alerts and dead letters stay until their retention; what the
    account taught aggregates names nobody and stays.

    Exit code 0: every partition has answered; 1: not all did in time, or the broker did not answer; 2: bad usage.
    """
    settings = load().settings
    who = account
    if not ACCOUNT_ID.match(account) and settings.identity.key:
        who = Identity.from_settings(settings).account(account)
    order = Erase(
        id=secrets.token_hex(ORDER_BYTES), account=who, dry_run=dry_run, why=why, by=by or login(), time=time.time()
    )
    try:
        decode(encode(order))
    except NotAControl as error:
        raise Failure(f"this cannot be sent: {error}") from None
    _are_there(archives, datasets, tables, order)
    try:
        with Tail.connect(settings, settings.topic("verdicts")) as tail:
            found = list(_verdicts(tail.history(), who))
        with Tail.connect(settings, settings.topic("desk")) as tail:
            noted = list(_desk(tail.history(), who))
        if not dry_run:
            _send(settings, "desk", [(desk.encode(desk.blanked(one, who)), one.id.encode()) for one in noted])
            _send(settings, "verdicts", [(verdict.encode(_blank(one)), one.case.encode()) for one in found])
        _send(settings, "control", [(encode(order), order.id.encode())])
        asked = _partitions(settings)
        receipts = _receipts(settings, order, asked, wait)
    except TailError as error:
        raise Failure(str(error)) from None
    counts = Counter({place: 0 for place in PLACES})
    for one in receipts.values():
        counts.update(one.counts)
    counts["verdicts"] = len({one.case for one in found})
    counts["desk"] = len(noted)
    failed: list[str] = []
    with _collected(failed):
        for url in archives:
            counts["archive"] += _archived(url, order)
        for folder in datasets:  # behind the archives, whose files they name
            counts["labels"] += _labelled(folder, order)
        if datasets or tables:
            counts["features"] += _tabled(datasets, tables, order)
    missing = sorted(asked - receipts.keys())
    if as_json:
        click.echo(
            msgspec.json.encode(
                {
                    "order": order.id, "account": who, "dry_run": dry_run, "counts": dict(counts),
                    "partitions": [msgspec.to_builtins(receipts[key]) for key in sorted(receipts)],
                    "missing": [f"{stream}:{partition}" for stream, partition in missing],
                }
            )
        )  # fmt: skip
    else:
        screen().print(_table(counts, dry_run))
        click.echo(f"order {order.id}: {len(receipts)} of {len(asked)} partitions have answered", err=True)
    if failed:
        raise Failure(f"{failed[0]}. The order stands and workers carry it out; run this again for what is left")
    if missing:
        names = ", ".join(f"{stream} {partition}" for stream, partition in missing[:5])
        raise Failure(
            f"no receipt within {wait:g} s of {names}: the order stands, and workers carry it out when they run; "
            "run this again to see that nothing is left"
        )


def _are_there(archives: Iterable[str], datasets: Sequence[Path], tables: Sequence[Path], order: Erase) -> None:
    """Look that archives, data sets and tables can be read, before anything is sent."""
    if archives:
        from siphonwatch.streams.lab.archive.reader import Archive
        from siphonwatch.streams.lab.archive.store import StoreError

        try:
            for url in archives:
                Archive(url)
        except StoreError as error:
            raise Failure(f"{error}. Nothing was sent") from None
    try:
        for folder in datasets:
            _labelled(folder, msgspec.structs.replace(order, dry_run=True))
        if datasets or tables:
            _tabled(datasets, tables, msgspec.structs.replace(order, dry_run=True))
    except Failure as error:
        raise Failure(f"{error.message}. Nothing was sent") from None


@contextmanager
def _collected(failed: list[str]) -> Iterator[None]:
    """Note a failure, so that the receipt is printed all the same."""
    try:
        yield
    except Failure as error:
        failed.append(error.message)


def _archived(url: str, order: Erase) -> int:
    """Take an account out of an archive; return how many rows that were."""
    from siphonwatch.streams.lab.archive.rewrite import rewrite
    from siphonwatch.streams.lab.archive.store import StoreError, TakenError

    try:
        done = rewrite(url, [order.account], f"erase {order.id}", dry_run=order.dry_run)
    except TakenError:
        raise Failure(f"an archiver wrote to {url} meanwhile: nothing was taken out of it, run this again") from None
    except StoreError as error:
        raise Failure(str(error)) from None
    return sum(done.rows.values())


def _labelled(folder: Path, order: Erase) -> int:
    """Take an account out of a data set; return how many labels that were."""
    from siphonwatch.streams.lab.dataset.erase import erase
    from siphonwatch.streams.lab.dataset.layout import DatasetError

    try:
        return erase(folder, [order.account], f"erase {order.id}", dry_run=order.dry_run)
    except DatasetError as error:
        raise Failure(str(error)) from None


def _tabled(datasets: Sequence[Path], tables: Sequence[Path], order: Erase) -> int:
    """Take an account out of tables of features; return how many rows that were. One that was moved is told of."""
    from siphonwatch.streams.lab.dataset.layout import DatasetError
    from siphonwatch.streams.lab.dataset.tables import erase_rows, found, noted

    try:
        known = [(folder, Path(place)) for folder in datasets for place in noted(folder)]
        moved = [(folder, place) for folder, place in known if not place.is_file()]
        files = found([*tables, *(place for _, place in known if place.is_file())])
        gone = sum(erase_rows(file, [order.account], dry_run=order.dry_run) for file in files)
    except DatasetError as error:
        raise Failure(str(error)) from None
    for folder, place in moved if not order.dry_run else ():
        click.echo(f"{place}, a table of {folder}, is there no more: if you moved it, give --features", err=True)
    return gone


def _verdicts(raw: Iterable[bytes], account: str) -> Iterator[Verdict]:
    """The last verdict of each case of an account."""
    last: dict[str, Verdict] = {}
    for value in raw:
        try:
            one = verdict.decode(value)
        except verdict.NotAVerdict:
            continue
        last.pop(one.case, None)
        if one.account == account:
            last[one.case] = one
    yield from last.values()


def _desk(raw: Iterable[bytes], account: str) -> Iterator[desk.Desk]:
    """What the desk's topic says of an account."""
    records: list[desk.Desk] = []
    for value in raw:
        try:
            records.append(desk.decode(value))
        except desk.NotOfTheDesk:
            continue
    yield from (one for one in desk.history(records) if desk.names(one, account))


def _blank(one: Verdict) -> Verdict:
    """A verdict that still teaches, and says nothing of whom it was about."""
    return msgspec.structs.replace(one, account=ERASED, note="")


def _partitions(settings: Settings) -> set[tuple[str, int]]:
    """The partitions that must answer."""
    asked: set[tuple[str, int]] = set()
    for stream in STREAMS:
        with Tail.connect(settings, settings.topic(stream)) as tail:
            asked |= {(stream, tp.partition) for tp in tail.partitions}
    return asked


def _receipts(
    settings: Settings, order: Erase, asked: set[tuple[str, int]], wait: float
) -> dict[tuple[str, int], Receipt]:
    """The receipts of an order, by partition, once all are there or the time is over."""
    end = time.monotonic() + wait
    since = int((order.time - SKEW_SECONDS) * 1000)
    found: dict[tuple[str, int], Receipt] = {}
    while True:
        with Tail.connect(settings, settings.topic("receipts"), since) as tail:
            for value in tail.history():
                try:
                    one = receipt.decode(value)
                except receipt.NotAReceipt:
                    continue
                if one.order == order.id:
                    found[one.stream, one.partition] = one
        if asked <= found.keys() or time.monotonic() >= end:
            return found
        time.sleep(POLL_SECONDS)


@contextmanager
def _outbox(settings: Settings, topic: str) -> Iterator[Outbox]:
    outbox = Outbox(connect(settings, "siphonwatch-erase"), topic)
    try:
        yield outbox
        outbox.flush(DELIVERY_SECONDS)
    finally:
        outbox.close(DELIVERY_SECONDS)


def _send(settings: Settings, name: str, records: list[tuple[bytes, bytes]]) -> None:
    """Send values with their keys; return when the broker has them."""
    topic = settings.topic(name)
    try:
        with _outbox(settings, topic) as outbox:
            for value, key in records:
                outbox.send(value, key)
    except KafkaError as error:
        raise Failure(f"cannot send to {topic} ({type(error).__name__}: {error}): try again") from None
    if outbox.failed:
        raise Failure(f"not everything reached {topic} ({', '.join(outbox.failures)}): try again")


def _table(counts: Counter[str], dry_run: bool) -> Table:
    table = Table("place", "found" if dry_run else "removed", header_style="bold")
    for place, count in counts.items():
        table.add_row(clean(place), f"{count:,}")
    return table

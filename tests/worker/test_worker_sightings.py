"""Packed sightings at the partition that puts them together: cut, sent again, killed, malformed; and their sender."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import pytest
from aiokafka.errors import KafkaTimeoutError
from core_fakes import dump_of, made_nowhere
from prometheus_client import CollectorRegistry
from test_worker_campaigns import traffic

from siphonwatch.models.account.request import Array
from siphonwatch.models.campaign.edges import groups
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts import provenance
from siphonwatch.streams.contracts.dead_letter import MAX_VALUE, REDRIVEN, DeadLetter
from siphonwatch.streams.contracts.provenance import REDRIVEN_SEAL, SEAL, SIGHTINGS, UNKEYED, Seals
from siphonwatch.streams.contracts.sighting import MAX_ROWS, pack, unpack
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.worker import inorder
from siphonwatch.streams.worker.agents.coordinate import Sightings, SightingsPartition
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.inorder import InOrder, Turns, make_turns
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import SIGHTINGS as SIGHTINGS_STREAM
from siphonwatch.streams.worker.metrics import TELEMETRY, Metrics
from siphonwatch.streams.worker.retries import Retries
from siphonwatch.streams.worker.scoring import make_coordinator, make_scorer
from siphonwatch.streams.worker.state.local import LocalStateLog
from siphonwatch.streams.worker.transport import Batch
from siphonwatch.streams.worker.transport.batch import Headers, Lease

SOURCE = "siphonwatch.telemetry.v1:0"


class Kept:
    """An outlet that keeps what is sent."""

    def __init__(self) -> None:
        self.alerts: list[bytes] = []
        self.letters: list[DeadLetter] = []

    async def alert(self, key: bytes, value: bytes) -> None:
        self.alerts.append(value)

    async def dead_letters(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        self.letters += letters
        return []

    async def flush(self) -> None:
        """All is kept at once."""

    def blocked(self) -> float:
        return 0.0


def batch(values: list[bytes | None], first: int = 0) -> Batch:
    n, mac = len(values), UNKEYED.mac(SIGHTINGS, 0)
    headers = [((SEAL, mac(value or b"")),) for value in values]
    return Batch(
        Lease("siphonwatch.sightings.v1", 0, 1, lambda _: None), keys=[None] * n, values=values, headers=headers,
        offsets=np.arange(first, first + n), timestamps=np.zeros(n, np.int64), next_offset=first + n, size=1,
    )  # fmt: skip


def campaign(n: int) -> Array:
    return Decoder().decode([encode(record) for record in traffic()[:n]]).requests


def run(batches: list[Batch]) -> tuple[SightingsPartition, Kept]:
    outlet = Kept()
    partition = SightingsPartition(
        make_coordinator(Settings()),
        LocalStateLog(),
        outlet,
        Meter(Metrics(CollectorRegistry()), SIGHTINGS_STREAM, "", 0),
    )

    async def take() -> None:
        for one in batches:
            await partition.process(one)

    asyncio.run(take())
    return partition, outlet


def state(partition: SightingsPartition) -> tuple[bytes, bytes]:
    rows = partition.scorer.table.rows[partition.scorer.table.used()]
    return dump_of(partition.scorer), rows[np.argsort(rows["hash"])].tobytes()


def cut(values: list[bytes], r: random.Random) -> list[Batch]:
    """The same log, in batches of any size."""
    batches, at = [], 0
    while at < len(values):
        size = r.randrange(1, 6)
        batches.append(batch(list(values[at : at + size]), at))
        at += size
    return batches


def packed(requests: Array, r: random.Random, most: int = 90) -> list[bytes]:
    """Requests in records of any size."""
    values, at, offsets = [], 0, np.arange(len(requests))
    while at < len(requests):
        end = at + r.randrange(1, most)
        values += pack(SOURCE, requests[at:end], offsets[at:end])
        at = end
    return values


def found(requests: Array) -> list[str]:
    return [finding.id for finding in make_coordinator(Settings()).score(requests, np.arange(len(requests)))]


def told(outlet: Kept) -> list[str]:
    return [msgspec.json.decode(alert)["id"] for alert in outlet.alerts]


def test_batches_cut_in_any_way_leave_the_same_alerts_and_the_same_state_to_the_last_byte() -> None:
    requests = campaign(1500)
    values = packed(requests, random.Random(1))
    whole, first = run([batch(list(values))])
    assert told(first) == found(requests) != []
    for seed in range(3):
        again, outlet = run(cut(values, random.Random(seed)))
        assert outlet.alerts == first.alerts
        assert state(again) == state(whole)


def test_records_packed_in_any_way_make_the_same_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    made_nowhere(monkeypatch)
    requests = campaign(1500)
    for seed in range(3):
        partition, outlet = run([batch(packed(requests, random.Random(seed)))])
        assert told(outlet) == found(requests)
        coordinator = make_coordinator(Settings())
        coordinator.score(requests, np.arange(len(requests)))
        assert dump_of(partition.scorer) == dump_of(coordinator)


def test_sightings_sent_again_after_a_crash_are_passed_over_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    made_nowhere(monkeypatch)
    requests = campaign(1500)
    r = random.Random(2)
    offsets = np.arange(len(requests))
    values = packed(requests[:900], r)
    for start, end in ((500, 800), (300, 1200), (1100, 1500), (0, 1500)):  # packed anew by whoever goes on
        values += pack(SOURCE, requests[start:end], offsets[start:end])
    partition, outlet = run(cut(values, r))
    assert told(outlet) == found(requests)
    once, _ = run([batch(packed(requests, r))])
    assert dump_of(partition.scorer) == dump_of(once.scorer)


def test_redriven_sightings_are_applied_though_others_came_after_them() -> None:
    requests = campaign(300)
    offsets = np.arange(len(requests))
    (early,) = pack(SOURCE, requests[:100], offsets[:100])
    (late,) = pack(SOURCE, requests[100:], offsets[100:])
    redriven = batch([early], 1)
    again = (REDRIVEN_SEAL, UNKEYED.mac(provenance.REDRIVEN, 0)(early))
    redriven.headers = [(*redriven.headers[0], (REDRIVEN, b"1"), again)]
    partition, outlet = run([batch([late]), redriven, batch([early, late], 2)])
    assert partition.scorer.stage.count.requests == 300, "each once: what is sent again after a crash is no redrive"
    assert outlet.letters == []


def test_each_source_is_told_by_offsets_of_its_own() -> None:
    requests = campaign(1500)
    offsets = np.arange(len(requests))
    values = []
    for start in range(0, 1500, 100):
        places = np.arange(start, start + 100)
        for p in (0, 1):
            values += pack(f"telemetry:{p}", requests, offsets, places[places % 2 == p])
    partition, _ = run([batch(list(values)), batch(list(values), len(values))])
    assert partition.scorer.stage.count.requests == 1500


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "schema"),
        (b"", "schema"),
        (encode(traffic()[0]), "schema"),
        (b"SWSG" + b"\xff" * 60, "schema"),
        (pack(SOURCE, campaign(5), np.arange(5))[0][:-1], "size"),
        (pack(SOURCE, campaign(5), np.arange(5))[0] + b"\0", "size"),
    ],
    ids=["nothing", "empty", "telemetry itself", "another format", "truncated", "longer"],
)
def test_what_is_no_packed_sightings_goes_whole_to_the_dead_letters_and_stops_nothing(
    value: bytes | None, reason: str
) -> None:
    requests = campaign(1500)
    offsets = np.arange(1500)
    values = [
        *pack(SOURCE, requests[:700], offsets[:700]),
        value,
        *pack(SOURCE, requests[700:], offsets[700:]),
    ]
    _, outlet = run([batch(values)])
    assert [(letter.offset, letter.value, letter.reason) for letter in outlet.letters] == [(1, value, reason)]
    assert told(outlet) == found(requests)


def forgeries() -> dict[str, Headers]:
    """Headers that a record of sightings may come with, none of them right for partition 0."""
    (value,) = pack(SOURCE, campaign(5), np.arange(2**62, 2**62 + 5))
    seal = UNKEYED.mac(SIGHTINGS, 0)(value)
    elsewhere = UNKEYED.mac(SIGHTINGS, 1)(value)
    return {
        "none": (),
        "null": ((SEAL, None),),
        "cut": ((SEAL, seal[:-1]),),
        "of another deployment": ((SEAL, Seals(b"another").mac(SIGHTINGS, 0)(value)),),
        "of another partition": ((SEAL, elsewhere),),
        "of another value": ((SEAL, UNKEYED.mac(SIGHTINGS, 0)(value[:-1])),),
        "redriven by a stranger": ((SEAL, seal), (REDRIVEN, b"1")),
        "redriven but never sealed": ((REDRIVEN, b"1"), (REDRIVEN_SEAL, UNKEYED.mac(provenance.REDRIVEN, 0)(value))),
    }


@pytest.mark.parametrize("forgery", forgeries())
def test_sightings_without_their_seal_blind_nobody_and_go_to_the_dead_letters(forgery: str) -> None:
    requests = campaign(1500)
    (forged,) = pack(SOURCE, requests[:5], np.arange(2**62, 2**62 + 5))
    first = batch([forged])
    first.headers = [forgeries()[forgery]]
    partition, outlet = run([first, batch(list(pack(SOURCE, requests, np.arange(1500))), 1)])
    assert [(letter.value, letter.reason) for letter in outlet.letters] == [(forged, "origin")]
    assert told(outlet) == found(requests)
    assert partition.scorer.stage.count.requests == 1500


class Broker:
    """A producer that acknowledges what it is told to, one request at a time a partition."""

    def __init__(self, partitions: int, fails: int = -1) -> None:
        self.partitions = partitions
        self.fails = fails
        self.requests: list[tuple[int, list[bytes]]] = []
        self.open: set[int] = set()

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(self.partitions))

    def create_batch(self) -> Any:
        return Builder()

    async def send_batch(self, builder: Builder, topic: str, partition: int) -> asyncio.Future[None]:
        assert partition not in self.open, "one request a partition is under way"
        self.open.add(partition)

        async def answer() -> None:
            await asyncio.sleep(0.001)
            self.open.discard(partition)
            if self.fails == len(self.requests):
                self.fails = -1
                raise KafkaTimeoutError()
            self.requests.append((partition, builder.values))

        return asyncio.ensure_future(answer())


class Builder:
    """Room for two records."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, key: None, value: bytes, timestamp: None, headers: object) -> object | None:
        if len(self.values) == 2:
            return None
        self.values.append(value)
        return value

    def close(self) -> None:
        """Nothing is added any more."""


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


def sender(broker: Broker, turns: Turns) -> tuple[InOrder, Meter]:
    meter = Meter(Metrics(CollectorRegistry()), TELEMETRY, "telemetry", 0)
    return InOrder(broker, "sightings", turns, Retries(meter, at_once)), meter  # type: ignore[arg-type]


def send(broker: Broker, requests: Array, size: int) -> list[int]:
    """Score and send requests, `size` at a time; return how many bytes were waiting after each time."""
    scorer = make_scorer(Settings())
    waiting: list[int] = []

    async def go() -> None:
        out, _ = sender(broker, make_turns())
        sightings = Sightings(out, scorer)
        for start in range(0, len(requests), size):
            part, offsets = requests[start : start + size], np.arange(start, min(start + size, len(requests)))
            scorer.score(part, offsets)
            await sightings.send(batch([b""] * len(part), start), part, offsets)
            waiting.append(out.waiting)
            await asyncio.sleep(0)
        await sightings.flush()

    asyncio.run(go())
    return waiting


def test_every_sighting_is_sent_once_in_order_to_the_partition_of_its_group() -> None:
    requests = campaign(1500)
    scorer, broker = make_scorer(Settings()), Broker(3)
    scorer.score(requests, np.arange(1500))
    send(broker, requests, 70)
    for partition in range(3):
        values = [value for where, values in broker.requests if where == partition for value in values]
        offsets = [offset for value in values for offset in unpack(value).offsets.tolist()]
        assert offsets == scorer.sighted[groups(requests, scorer.sighted) % 3 == partition].tolist()


def test_senders_who_share_a_producer_wait_for_a_partition_in_turn() -> None:
    """As aiokafka gives up on one of several that wait for the same partition, when others overtake it often enough."""

    class Slow(Broker):
        waiting = 0

        async def send_batch(self, builder: Builder, topic: str, partition: int) -> asyncio.Future[None]:
            self.waiting += 1
            assert self.waiting == 1, "two wait for the partition"
            await asyncio.sleep(0.001)
            self.waiting -= 1
            self.open.clear()
            return await super().send_batch(builder, topic, partition)

    requests, broker, turns = campaign(300), Slow(1), make_turns()

    async def one(number: int) -> None:
        scorer = make_scorer(Settings())
        sightings = Sightings(sender(broker, turns)[0], scorer)
        scorer.score(requests, np.arange(len(requests)))
        await sightings.send(batch([b""] * len(requests)), requests, np.arange(len(requests)))
        await sightings.flush()

    async def all_at_once() -> None:
        await asyncio.gather(*(one(number) for number in range(5)))

    asyncio.run(all_at_once())
    assert len(broker.requests) >= 5


def test_the_scorer_waits_for_the_broker_while_too_much_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 40_000
    assert max(send(Broker(2), campaign(1500), 70)) > most
    monkeypatch.setattr(inorder, "WAITING", most)
    broker = Broker(2)
    assert 0 < max(send(broker, campaign(1500), 70)) <= most
    assert 0 < max(send(Broker(2, fails=3), campaign(1500), 70)) <= most


@pytest.mark.parametrize("fails", [0, 2, 5])
def test_sightings_that_the_broker_did_not_take_are_sent_again_before_any_other(fails: int) -> None:
    requests = campaign(1500)
    well, failing = Broker(1), Broker(1, fails)
    send(well, requests, 70)
    send(failing, requests, 70)
    assert failing.fails == -1, "it failed"

    def rows(broker: Broker) -> list[int]:
        values = [value for _, values in broker.requests for value in values]
        return [offset for value in values for offset in unpack(value).offsets.tolist()]

    assert rows(failing) == rows(well)


def test_a_record_is_no_larger_than_brokers_take() -> None:
    requests = np.repeat(campaign(1), 3 * MAX_ROWS - 1)
    values = pack("t" * 249 + ":2147483647", requests, np.arange(len(requests)))
    assert [len(unpack(value).indexes) for value in values] == [MAX_ROWS, MAX_ROWS, MAX_ROWS - 1]
    assert max(map(len, values)) <= MAX_VALUE

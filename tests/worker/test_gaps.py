"""Offset gaps: markers, compaction and retention explain them; anything else is read again once, then counted lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from kafka.admin import KafkaAdminClient
from transport_fakes import FAST, Counting, Store, numbered, prepare, produce, running, start, until

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.worker.transport import Lease, Limits, pump
from siphonwatch.streams.worker.transport.gaps import Gaps, Meaning
from siphonwatch.streams.worker.transport.unpack import WRONG_CHECKSUM, Gap, Unpacker

TP = TopicPartition("t", 0)


def record_batch(base: int, values: list[bytes]) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for i, value in enumerate(values):
        builder.append(i, 1000 + i, b"k", value, [("h", value)])
    raw = bytearray(builder.build())
    raw[0:8] = base.to_bytes(8, "big")  # the producer counts from 0, the broker writes the base; the CRC leaves it out
    return bytes(raw)


async def kept(kafka: str, topic: str) -> int:
    """Records of a topic's only partition that compaction has left."""
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest") as consumer:
        end, count = (await consumer.end_offsets([TopicPartition(topic, 0)]))[TopicPartition(topic, 0)], 0
        async for record in consumer:
            count += 1
            if record.offset == end - 1:
                return count
    raise AssertionError("a consumer without end")


def fetched(raw: bytes, offset: int) -> PartitionRecords:
    return PartitionRecords(TP, MemoryRecords(raw), [], offset, None, None, True, 1)


def lease() -> Lease:
    return Lease("t", 0, 1, lambda _: None)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    skip=st.integers(0, 30),
    max_records=st.integers(1, 50),
    max_bytes=st.integers(1, 400),
)
def test_batches_of_any_limit_join_to_the_records_fetched(
    sizes: list[int], skip: int, max_records: int, max_bytes: int
) -> None:
    total = sum(sizes)
    begins = [sum(sizes[:i]) for i in range(len(sizes))]
    raw = b"".join(record_batch(b, [b"%d" % (b + i) for i in range(n)]) for b, n in zip(begins, sizes, strict=True))
    first = min(skip, total - 1, sizes[0] - 1)  # a fetch may begin inside the first record batch
    unpacker = Unpacker(fetched(raw, first), first)
    limits = Limits(max_records=max_records, max_bytes=max_bytes)
    records = []
    while (batch := unpacker.take(lease(), limits)) is not None:
        assert 0 < len(batch) <= max_records
        assert batch.missing == 0
        assert batch.next_offset == batch.last_offset + 1
        records += list(batch)
    assert unpacker.exhausted
    assert unpacker.gap is None
    assert [(r.offset, r.value, r.headers) for r in records] == [
        (i, b"%d" % i, (("h", b"%d" % i),)) for i in range(first, total)
    ]


def test_a_missing_record_batch_is_a_gap_and_what_precedes_it_is_handed_over() -> None:
    raw = record_batch(0, [b"a", b"b"]) + record_batch(5, [b"c"])
    unpacker = Unpacker(fetched(raw, 0), 0)
    batch = unpacker.take(lease(), Limits())
    assert batch is not None
    assert batch.values == [b"a", b"b"]
    assert unpacker.take(lease(), Limits()) is None
    assert unpacker.gap == Gap(2, 5)
    assert not unpacker.exhausted
    unpacker.skip()
    after = unpacker.take(lease(), Limits())
    assert after is not None
    assert (after.values, after.missing) == ([b"c"], 3)


def test_a_response_that_begins_elsewhere_than_due_is_a_gap() -> None:
    assert Unpacker(fetched(record_batch(9, [b"a"]), 9), 4).gap == Gap(4, 9)


def spoil(raw: bytes, name: bytes) -> bytes:
    """A record batch, not compressed, with the first header of that name no UTF-8, and its checksum right."""
    spoilt = bytearray(raw.replace(name, b"\xff" * len(name), 1))
    spoilt[17:21] = calc_crc32c(bytes(spoilt[21:])).to_bytes(4, "big")
    return bytes(spoilt)


@hypothesis_settings(deadline=None)
@given(before=st.integers(0, 30), after=st.integers(0, 30), max_records=st.integers(1, 50))
def test_what_is_left_of_an_unreadable_record_batch_is_a_gap_and_nothing_else(
    before: int, after: int, max_records: int
) -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    total = before + 1 + after
    for i in range(total):
        builder.append(i, 1000, None, b"%d" % i, [("poison" if i == before else "h", b"")])
    raw = spoil(bytes(builder.build()), b"poison") + record_batch(total, [b"next"])
    unpacker = Unpacker(fetched(raw, 0), 0)
    values: list[bytes | None] = []
    while unpacker.gap is None and (batch := unpacker.take(lease(), Limits(max_records=max_records))) is not None:
        values += batch.values
    assert values == numbered(before)
    assert unpacker.gap == Gap(before, total, "UnicodeDecodeError")
    unpacker.skip()
    last = unpacker.take(lease(), Limits())
    assert last is not None
    assert (last.values, last.missing, last.first_offset) == ([b"next"], 1 + after, total)


def test_a_record_batch_of_a_wrong_checksum_is_a_gap() -> None:
    raw = bytearray(record_batch(0, [b"a", b"b"]))
    raw[-1] ^= 1
    unpacker = Unpacker(fetched(bytes(raw) + record_batch(2, [b"c"]), 0), 0)
    assert unpacker.take(lease(), Limits()) is None
    assert unpacker.gap == Gap(0, 2, "wrong checksum")


@pytest.mark.parametrize(("deltas", "read"), [([0, 10**6], 1), ([0, -5, 2], 1), ([0, 0, 0], 1), ([5, 0], 0)])
def test_a_record_that_claims_another_offset_takes_no_other_one_with_it(deltas: list[int], read: int) -> None:
    builder, total = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20), len(deltas)
    for delta in deltas:
        builder.append(delta, 1000, None, b"odd", [])
    raw = bytearray(builder.build())
    raw[23:27] = (total - 1).to_bytes(4, "big")  # brokers hold the number of records against the last one's place
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
    unpacker = Unpacker(fetched(bytes(raw) + record_batch(total, [b"a", b"b"]), 0), 0)
    first = unpacker.take(lease(), Limits())
    assert (first.offsets.tolist() if first else []) == list(range(read))
    assert unpacker.take(lease(), Limits()) is None
    assert unpacker.gap == Gap(read, total, "offsets out of order")
    unpacker.skip()
    last = unpacker.take(lease(), Limits())
    assert last is not None
    assert (last.values, last.first_offset, last.missing) == ([b"a", b"b"], total, total - read)


@pytest.mark.parametrize(
    ("why", "meanings"),
    [
        ("UnicodeDecodeError", [Meaning.UNREADABLE] * 2),
        ("offsets out of order", [Meaning.UNREADABLE] * 2),
        (WRONG_CHECKSUM, [Meaning.REREAD, Meaning.UNREADABLE]),
        ("MemoryError", [Meaning.REREAD, Meaning.UNREADABLE]),
    ],
)
async def test_only_what_may_have_been_changed_on_its_way_is_fetched_again(why: str, meanings: list[Meaning]) -> None:
    gaps = Gaps(None)
    assert [await gaps.judge(TP, Gap(3, 8, why)) for _ in range(2)] == meanings
    assert gaps.offsets[Meaning.UNREADABLE] == 5 * meanings.count(Meaning.UNREADABLE)


async def test_records_lost_on_the_way_are_read_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(settings)
    dropped = []

    class Lossy(Unpacker):
        """Loses the second record batch of the first response that has two."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            if not dropped and self._records.has_next():
                first = self._records.next_batch()
                if self._records.has_next():
                    dropped.append(self._records.next_batch())
                self._pending = first

    monkeypatch.setattr(pump, "Unpacker", Lossy)
    for begin in range(0, 500, 50):
        await produce(settings, numbered(50, begin), partition=0)
    store, gaps = Store(), None
    async with running(settings, lambda p: Counting(store, p)) as worker:
        await until(lambda: worker.app.assignment.ready)
        gaps = worker.app.consumer.gaps
        await until(lambda: sum(p.records for p in worker.app.assignment.partitions) == 500)
    assert store.applied[0] == dict.fromkeys(numbered(500), 1)
    assert dropped
    assert gaps.offsets[Meaning.REREAD] == 50
    assert gaps.offsets[Meaning.LOST] == 0


async def test_records_the_broker_no_longer_has_are_counted_lost_once_read_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(settings)

    class Broken(Unpacker):
        """A broker that lost offsets 100 to 149."""

        def _open(self) -> bool:
            opened = super()._open()
            while opened and 100 <= self.position < 150 and self._end <= 150 and self.gap is None:
                self._iterator = None
                if self._records.has_next():
                    batch = self._records.next_batch()
                    self._pending, self.gap = batch, Gap(100, batch.base_offset)
                return False
            return opened

    monkeypatch.setattr(pump, "Unpacker", Broken)
    for begin in range(0, 300, 50):
        await produce(settings, numbered(50, begin), partition=0)
    store, gaps, batches = Store(), None, []

    class Keeping(Counting):
        async def close(self) -> None:
            batches.extend(self.batches)

    async with running(settings, lambda p: Keeping(store, p)) as worker:
        await until(lambda: worker.app.assignment.ready)
        gaps = worker.app.consumer.gaps
        await until(lambda: sum(p.records for p in worker.app.assignment.partitions) == 250)
    assert store.next_offset[0] == 300
    assert gaps.offsets[Meaning.REREAD] == gaps.offsets[Meaning.LOST] == 50
    assert [(batch.first_offset, batch.missing) for batch in batches if batch.missing] == [(150, 50)]


@pytest.mark.kafka
@pytest.mark.broker
async def test_transaction_markers_and_aborted_records_are_no_gap(kafka: str, prefix: str) -> None:
    settings = Settings()
    settings.kafka.bootstrap = kafka
    settings.kafka.group = settings.topics.prefix = prefix
    settings.topics.partitions = 1
    settings.state.checkpoint_interval = 0.5
    prepare(settings)
    topic = settings.topic("telemetry")
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=prefix)
    await producer.start()
    for number in range(4):
        await producer.begin_transaction()
        for value in numbered(10, number * 10):
            await producer.send_and_wait(topic, value, partition=0)
        await (producer.abort_transaction if number == 1 else producer.commit_transaction)()
    await producer.stop()
    store = Store()
    async with running(settings, lambda p: Counting(store, p)) as worker:
        await until(lambda: sum(p.records for p in worker.app.assignment.partitions) == 30)
        gaps = worker.app.consumer.gaps
        [partition] = worker.app.assignment.partitions
        await until(lambda: worker.app.consumer.unread(partition._lease) == 0)  # the marker at the end waits for nobody
        await until(lambda: partition.stalled() < 0.1)
    assert store.applied[0] == dict.fromkeys(numbered(10) + numbered(20, 20), 1)
    assert not gaps.offsets


@pytest.mark.kafka
@pytest.mark.broker
async def test_retention_that_overtakes_the_worker_is_counted(
    kafka: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings()
    settings.kafka.bootstrap = kafka
    settings.kafka.group = settings.topics.prefix = prefix
    settings.topics.partitions = 1
    prepare(settings)
    await produce(settings, numbered(100))
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    from kafka.structs import TopicPartition as Partition

    admin.delete_records({Partition(settings.topic("telemetry"), 0): 60})
    admin.close()
    store = Store(next_offset={0: 20})
    async with running(settings, lambda p: Counting(store, p)) as worker:
        await until(lambda: sum(p.records for p in worker.app.assignment.partitions) == 40)
        gaps = worker.app.consumer.gaps
    assert store.applied[0] == dict.fromkeys(numbered(40, 60), 1)
    assert gaps.offsets == {Meaning.RETENTION: 40}
    assert "20 was due, 60 came: retention removed the records" in caplog.text


@pytest.mark.kafka
@pytest.mark.broker
async def test_a_compacted_topic_has_gaps_that_mean_nothing(kafka: str, prefix: str) -> None:
    settings = Settings()
    settings.kafka.bootstrap = kafka
    settings.kafka.group = settings.topics.prefix = prefix
    settings.topics.partitions = 1
    topic = settings.topic("telemetry")
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    config = {
        "cleanup.policy": "compact",
        "segment.ms": "200",
        "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": "200",
    }
    admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1, "configs": config}})
    admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for number in range(6):
        for value in numbered(20, number * 20):
            await producer.send_and_wait(topic, value, key=b"same", partition=0)
        await asyncio.sleep(0.3)
    async with asyncio.timeout(300):
        while await kept(kafka, topic) == 120:  # noqa: ASYNC110 - nothing tells of a compaction
            await asyncio.sleep(0.5)
    await producer.send_and_wait(topic, b"last", key=b"other", partition=0)
    await producer.stop()
    store = Store()
    async with running(settings, lambda p: Counting(store, p)) as worker:
        await until(lambda: store.total() or any(p._worker.counts[b"last"] for p in worker.app.assignment.partitions))
        gaps = worker.app.consumer.gaps
    assert store.next_offset[0] == 121
    assert store.total() < 121, "compaction took records out"
    assert gaps.offsets[Meaning.LOST] == gaps.offsets[Meaning.REREAD] == 0


@pytest.mark.kafka
@pytest.mark.broker
async def test_a_checkpoint_beyond_the_log_stops_the_worker_with_the_remedy(
    kafka: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings()
    settings.kafka.bootstrap = kafka
    settings.kafka.group = settings.topics.prefix = prefix
    settings.topics.partitions = 1
    prepare(settings)
    await produce(settings, numbered(10))
    worker = start(settings, lambda p: Counting(Store(next_offset={0: 5000}), p), FAST)
    assert await asyncio.wait_for(worker.exit, 300) == 1
    assert "has no offset 5000, which is due next, and reading fell back to 0" in caplog.text

"""An adapter that fails on a message costs that message, and headers that are not ours cost nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from siphonwatch.streams.contracts.dead_letter import DeadLetter
from siphonwatch.streams.contracts.provenance import UNKEYED
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry
from siphonwatch.streams.edge.children import Beside, Made
from siphonwatch.streams.worker.agents import ingest as ingesting
from siphonwatch.streams.worker.agents.ingest import BAD, GatewayIngest
from siphonwatch.streams.worker.inorder import Outgoing
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import INGEST, Metrics
from siphonwatch.streams.worker.retries import Retries
from siphonwatch.streams.worker.transport import Batch
from siphonwatch.streams.worker.transport.batch import Headers, Lease


class Adapter:
    """Fails on some messages, after what it could read."""

    def records(self, raw: bytes) -> Iterator[Telemetry | Malformed]:
        yield Telemetry(id="r", time=1.0, account=raw.decode())
        if raw.startswith(b"secret"):
            raise KeyError(raw.decode())
        yield Malformed("time", "none")

    def take_passed_over(self) -> Counter[str]:
        return Counter()


class Out:
    """A sender and an outlet that keep what they are given."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.letters: list[DeadLetter] = []

    async def partitions(self) -> list[int]:
        return [0]

    def partition_of(self, key: bytes, partitions: list[int]) -> int:
        return partitions[0]

    def put(self, partition: int, record: Outgoing) -> None:
        self.sent.append(record)

    async def room(self) -> None:
        """There is."""

    async def flush(self) -> None:
        """All is kept at once."""

    async def dead_letters(self, letters: list[DeadLetter]) -> list[DeadLetter]:
        self.letters += letters
        return []


async def ingest(values: list[bytes | None], headers: list[Headers], kind: type[Beside] = Beside) -> Out:
    out = Out()
    meter = Meter(Metrics(CollectorRegistry()), INGEST, "gateway", 0)
    beside = kind({"gateway": Adapter()}, dict, 1)  # type: ignore[dict-item]
    worker = GatewayIngest(beside, out, out, Retries(meter), meter, UNKEYED)  # type: ignore[arg-type]
    n = len(values)
    await worker.process(
        Batch(
            Lease("gateway", 0, 1, lambda _: None), keys=[None] * n, values=values, headers=headers, size=1,
            offsets=np.arange(n), timestamps=np.zeros(n, np.int64), next_offset=n,
        )
    )  # fmt: skip
    return out


async def test_an_adapter_that_fails_costs_its_message_and_says_nothing_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = await ingest([b"a", b"secret-words", b"b"], [(), (), ()])
    assert [record.key for record in out.sent] == [b"a", b"secret-words", b"b"]
    assert [(letter.offset, letter.reason) for letter in out.letters] == [(0, "time"), (1, "schema"), (2, "time")]
    assert dict(out.letters[1].headers) == {BAD: b"1"}
    said = capsys.readouterr().out
    assert "an adapter failed" in said and "KeyError" in said and "secret" not in said
    assert "secret" not in out.letters[1].detail


@pytest.mark.parametrize("places", [None, b"", b"x", b"-1", b"1,,2", b"9" * 5000, b"0,1,2"])
async def test_places_that_are_no_list_mean_the_whole_message(places: bytes | None) -> None:
    out = await ingest([b"a"], [((BAD, places),)])
    assert len(out.sent) == 1 and len(out.letters) == 1


class Answering(Beside):
    """Answers the latest of three calls first."""

    at_once = 3  # type: ignore[assignment]

    async def adapt(self, topic: str, values: Sequence[bytes | None]) -> Made:
        await asyncio.sleep(0.01 if values[0] == b"a" else 0)
        return await super().adapt(topic, values)


async def test_what_was_adapted_out_of_order_is_sent_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingesting, "SLICE_BYTES", 1)
    values: list[bytes | None] = [b"%c" % letter for letter in range(97, 123)]
    out = await ingest(values, [()] * len(values), Answering)
    assert [record.key for record in out.sent] == values
    assert [letter.offset for letter in out.letters] == list(range(len(values)))


async def test_a_redriven_letter_takes_up_its_bad_places_alone() -> None:
    out = await ingest([b"a"], [((BAD, b"1"),)])
    assert not out.sent and dict(out.letters[0].headers) == {BAD: b"1"}

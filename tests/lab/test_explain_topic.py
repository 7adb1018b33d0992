"""What of a topic is read to make an alert again: up to its record, and of the end of a case up to now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from kafka import TopicPartition
from sink_samples import life
from worker_tools import KEY, traffic

from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.tail import Tail
from siphonwatch.streams.contracts.alert import to_alert
from siphonwatch.streams.contracts.model import Judged
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.explain.topic import GoneError, keep

VALUES = [encode(record) for record in traffic()[:6]]


class Topic:
    """Two partitions of telemetry, the second of `VALUES`, in the place of a `Tail`."""

    def __init__(self) -> None:
        self.partitions = [TopicPartition("telemetry", number) for number in range(2)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, tp: TopicPartition) -> int:
        return 0

    def end(self, tp: TopicPartition) -> int:
        return len(VALUES) * tp.partition

    def begin_at(self, offsets: dict[TopicPartition, int]) -> None:
        assert offsets == {self.partitions[0]: 0}

    def polls(self) -> Iterator[dict[TopicPartition, list[Any]]]:
        for offset, value in enumerate(VALUES):
            yield {self.partitions[1]: [SimpleNamespace(offset=offset, timestamp=0, value=value, headers=())]}


def kept(finding: Finding, offset: int, folder: Path) -> int:
    settings = Settings()
    settings.identity.key = KEY
    alert = to_alert(finding, judged=Judged("0" * 12, "telemetry", 1, offset))
    assert keep(settings, alert, str(folder)) == 2
    return sum(table.num_rows for table in Archive(str(folder)).tables("telemetry"))


def test_the_end_of_a_case_needs_what_came_after_its_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tail, "connect", lambda *_: Topic())
    opened, *_, closed = life("ann")
    assert (opened.kind, closed.kind) == ("open", "close")
    assert kept(opened, 2, tmp_path / "opened") == 3, "nothing later is read"
    assert kept(closed, 2, tmp_path / "closed") == len(VALUES)
    with pytest.raises(GoneError, match="ends at offset 6 of partition 1, the alert is of 90: it was made anew since"):
        kept(closed, 90, tmp_path / "beyond")

"""Messages adapted by child processes come out as one process gives them, whichever of them ends meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from spread_adapters import FATAL, topics

from siphonwatch.streams.edge import children
from siphonwatch.streams.edge.children import Beside, Died, Made, Work, adapt

VALUES: list[bytes | None] = [None if n % 11 == 5 else b"odd" if n % 13 == 5 else b"%d" % n for n in range(100)]


@pytest.fixture
def beside() -> Iterator[Beside]:
    made = Beside(topics(), topics, 2, alone=0)
    yield made
    made.close()


def plain(made: list[Made]) -> tuple[list[Any], Counter[str]]:
    passed = Counter[str]()
    for part in made:
        passed.update(part.passed_over)
    return [row for part in made for row in part.rows], passed


async def test_children_give_what_this_process_gives_and_one_that_is_killed_is_replaced(beside: Beside) -> None:
    expected = plain([adapt(topics()["numbers"], VALUES)])
    for _ in range(2):
        parts = await asyncio.gather(*(beside.adapt("numbers", VALUES[i : i + 20]) for i in range(0, 100, 20)))
        assert plain(parts) == expected
        begun = list(beside._children)
        assert 1 <= len(begun) <= 2
        begun[0].process.kill()
        begun[0].process.join()
    beside.close()
    assert not any(child.process.is_alive() for child in begun)


async def test_a_message_that_ends_children_is_given_up(beside: Beside, caplog: pytest.LogCaptureFixture) -> None:
    row = (await beside.adapt("numbers", [FATAL])).rows[0]
    assert [element.reason for element in row] == ["schema"]
    assert caplog.text.count("ended by itself") == children.TRIES and FATAL.decode() not in caplog.text


class Fragile:
    """A child that ends under one message."""

    asked: list[int]

    def __init__(self) -> None:
        self.asked = []

    def ask(self, work: Work) -> Made:
        self.asked.append(len(work.values))
        if FATAL in work.values:
            raise Died
        return adapt(topics()["numbers"], work.values)


async def test_what_stands_beside_a_message_that_ends_children_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    beside, child = Beside(topics(), topics, 2, alone=0), Fragile()
    monkeypatch.setattr(beside, "_child", lambda: child)
    monkeypatch.setattr(beside, "_forget", lambda _: None)
    values = [*VALUES[:50], FATAL, *VALUES[50:]]
    rows, passed = plain([await beside.adapt("numbers", values)])
    assert rows[50][0].malformed() is not None
    assert (rows[:50] + rows[51:], passed) == plain([adapt(topics()["numbers"], VALUES)])
    assert len(child.asked) < 20
    beside.close()


async def test_few_messages_begin_no_child_and_where_none_can_begin_this_process_adapts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object) -> None:
        raise OSError

    monkeypatch.setattr(children, "_Child", refuse)
    beside = Beside(topics(), topics, 2, alone=60)
    for start in (0, 50):
        part = await beside.adapt("numbers", VALUES[start : start + 50])
        assert part.rows == adapt(topics()["numbers"], VALUES[start : start + 50]).rows
    assert beside.at_once == 3
    assert (await beside.adapt("numbers", VALUES)).rows == adapt(topics()["numbers"], VALUES).rows
    beside.close()

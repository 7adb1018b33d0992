"""A topic that was made anew is known as such after a restart too, where it had no record before it."""

from __future__ import annotations

import pytest
from partition_stay import LOG, Stay
from state_fakes import Topic

from siphonwatch.streams.worker.transport import Begin


@pytest.mark.parametrize("incarnation", ["", "4bWz1kQJSUu7YvDyeu1Glg"])
async def test_a_worker_that_ends_before_the_first_record_of_a_new_topic_reads_it_from_its_start(
    incarnation: str,
) -> None:
    state = Topic()
    first = Stay(state)
    await first.partition.restore(Begin())
    await first.feed(LOG, 0, 200)
    assert await first.partition.checkpoint() == 200
    again = Stay(state)
    assert (await again.partition.restore(Begin(incarnation, anew=True))).offset == 0
    assert await again.partition.checkpoint() == 0
    # The group has 0 committed now, so nothing beside the state tells.
    last = Stay(state)
    assert (await last.partition.restore(Begin(incarnation, committed=0))).offset == 0
    await last.feed(LOG, 200, 300, at=-200)
    assert last.scorer.stage.count.requests == 300

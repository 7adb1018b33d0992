"""Requests out of time are said in the log: once a minute, and not for the few that are always late."""

from __future__ import annotations

import structlog.testing

from siphonwatch.streams.worker.agents.timing import EVERY, Timing


def test_a_backfill_beside_live_traffic_is_logged_once_a_minute() -> None:
    now = 100.0
    timing = Timing("telemetry", 3, lambda: now)
    with structlog.testing.capture_logs() as lines:
        for batch in range(1, 31):
            timing.note(100, 64 * batch, 0)
            now += 5.0
    assert [line["late"] for line in lines] == [64, 64 * 12, 64 * 12]
    assert lines[0]["log_level"] == "warning" and lines[0]["partition"] == 3 and "backfill" in lines[0]["advice"]


def test_a_few_late_requests_are_not_worth_a_line() -> None:
    timing = Timing("telemetry", 0, lambda: 0.0)
    with structlog.testing.capture_logs() as lines:
        assert not timing.note(1000, 10, 0)
    assert not lines


def test_what_was_late_before_a_restore_is_not_said_again() -> None:
    now = 0.0
    timing = Timing("telemetry", 0, lambda: now)
    timing.restored(500, 7)
    assert not timing.note(100, 500, 7)
    now += EVERY
    assert timing.note(100, 500, 8), "one that is ahead is worth a line"

"""An update is shown where a person would act on it, and after a restart nothing is shown again."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sink_fakes import Bench, Log, Scripted
from sink_samples import life, of_severity, told

from siphonwatch.streams.common.settings import Settings, SettingsError
from siphonwatch.streams.common.sink_settings import Sink
from siphonwatch.streams.contracts.alert import Unmapped, encode
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.changes import MOST_CASES, Changes, Wanted
from siphonwatch.streams.deliver.make import check, make

OPEN, UPDATE, CLOSE = life("org-1")


def update(log_e: float = 7.0, accounts: Iterable[str] = ("org-1",), severity: str = "Medium") -> AlertRecord:
    return of_severity(told(UPDATE, log_e_value=log_e, accounts=list(accounts)), severity)


def shown(wanted: Wanted, *updates: AlertRecord) -> list[bool]:
    changes = Changes(wanted)
    assert changes.takes(told(OPEN, log_e_value=7.0)), "the opening is always shown"
    said = [changes.takes(alert) for alert in updates]
    assert changes.takes(told(CLOSE)), "the closing is, too"
    return said


def test_of_all_updates_those_are_shown_that_say_more() -> None:
    same, more, enough, worse = update(), update(13.9), update(14.0), update(14.0, severity="High")
    two, three, four = (update(accounts=[f"org-{i}" for i in range(n)]) for n in (2, 3, 4))
    assert shown("all", same, same) == [True, True]
    assert shown("changes", same, more, enough, more, update(27.9), update(28.0)) == [False, False, True] + [
        False
    ] * 2 + [True]
    assert shown("changes", worse, worse) == [True, False]
    assert shown("changes", two, two, three, two) == [True, False, True, False]
    assert shown("doublings", two, three, four) == [True, False, True]
    assert shown("doublings", enough, worse, same) == [True, True, False]


def test_a_member_that_took_another_s_place_is_a_change_and_no_doubling() -> None:
    assert shown("changes", update(accounts=["org-2"])) == [True]
    assert shown("doublings", update(accounts=["org-2"])) == [False]


@given(st.lists(st.floats(7.0, 700.0), min_size=1, max_size=200))
def test_a_case_is_shown_a_bounded_number_of_times_however_long_it_goes_on(evidence: list[float]) -> None:
    said = shown("doublings", *(update(log_e) for log_e in sorted(evidence)))
    assert sum(said) <= 7


def of_case(alert: AlertRecord, case: int) -> AlertRecord:
    own = replace(alert.own, case=f"{case:016x}")
    return replace(alert, event=replace(alert.event, data=replace(alert.event.data, unmapped=Unmapped(own))))


def test_what_is_remembered_is_bounded_and_a_case_that_is_not_known_is_shown() -> None:
    changes = Changes("changes")
    opened, updated = told(OPEN), told(UPDATE)
    for i in range(MOST_CASES + 1):
        changes.takes(of_case(opened, i))
    assert len(changes._shown) == MOST_CASES
    assert changes.takes(of_case(updated, 0)) and not changes.takes(of_case(updated, 5))


async def test_a_lane_counts_what_it_does_not_show_and_a_restart_remembers_what_was_shown() -> None:
    log = Log([encode(told(finding).event) for finding in life("org-1", 6)])
    bench = Bench(log, Scripted())
    bench.lane._changes = Changes("changes")
    await bench.run()
    opened, closed = life("org-1", 6)[0], life("org-1", 6)[-1]
    assert bench.receiver.delivered == [opened.id, closed.id] and bench.count("unchanged") == 4

    log.committed = 3
    again = Bench(log, Scripted())
    again.lane._channel = replace(again.lane._channel, updates="changes")
    again.lane._changes = Changes("changes")
    await again.run()
    assert again.receiver.delivered == [closed.id] and again.count("unchanged") == 2, "the opening was shown before"


@pytest.mark.parametrize(("kind", "more", "updates"), [
    ("slack", {}, "changes"), ("webhook", {"secret": "whsec_" + "QUFB" * 8}, "all"), ("alertmanager", {}, "all"),
])  # fmt: skip
async def test_people_see_changes_and_machines_all_unless_a_sink_says_otherwise(
    kind: str, more: dict[str, str], updates: str
) -> None:
    settings = Settings()
    settings.sinks["ops"] = Sink(kind=kind, url="https://a.example", **more)
    check(settings)
    channel = make(settings, "ops")
    assert channel.updates == updates
    await channel.receiver.close()
    settings.sinks["ops"].updates = "doublings"
    if kind == "alertmanager":
        with pytest.raises(SettingsError, match=r"sinks.ops.updates: a sink of kind alertmanager needs all of them"):
            check(settings)
    else:
        check(settings)
        channel = make(settings, "ops")
        assert channel.updates == "doublings"
        await channel.receiver.close()

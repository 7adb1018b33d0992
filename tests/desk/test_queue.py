"""Lists of cases: pages that leave nothing out and show nothing twice, filters, and answers that hostile words do not
change."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from alert_samples import START, findings
from desk_indexes import Open
from desk_samples import ERASED, batch, campaign, log, note, take
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from siphonwatch.streams.cli.case import exposure_text
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import Alert, decode, encode, to_alert
from siphonwatch.streams.contracts.desk import Split
from siphonwatch.streams.desk.index.intake import Intake
from siphonwatch.streams.desk.index.store import Index
from siphonwatch.streams.desk.likeness import LEAST
from siphonwatch.streams.desk.looks import IndexedLooks
from siphonwatch.streams.desk.names import MAX_NAME, RENEW_SECONDS, Names, NamesFailed, Roster
from siphonwatch.streams.desk.queue import page
from siphonwatch.streams.desk.views import Ask, Order, Unknown

CASES = 60


@pytest.fixture(scope="module")
def many(opens: Callable[[], Open]) -> Iterator[Index]:
    """Cases of which many are equal in what they are sorted by."""
    with opens()() as index:
        with index.write() as to:
            for i in range(CASES):
                to.execute(
                    "INSERT INTO cases (id, pattern, title, severity, account, accounts, requests, log_e, opened,"
                    " updated, sequence, sent, ended, headline, said, closed, snoozed, touched, rank, assignee)"
                    " VALUES (?, ?, 't', 'low', ?, 1, 1, 1, ?, ?, 0, 0, 0, '', 0, ?, ?, ?, ?, ?)",
                    (
                        f"{i * 7919 % 65536:016x}", ("shift", "extraction")[i % 2], f"a{i}", i % 4, i, int(i % 5 == 0),
                        100.0 * (i % 7 == 0), i % 3, (i % 4) / 4, ("", "Ann")[i % 2],
                    ),
                )  # fmt: skip
        yield index


def pages(index: Index, ask: Ask) -> list[list[str]]:
    found = []
    while True:
        with index.read() as of:
            queue = page(of, ask, Names(), 50.0)
        found.append([row.case for row in queue.rows])
        if not queue.after:
            return found
        ask = msgspec.structs.replace(ask, after=queue.after)


asks = st.builds(
    Ask,
    order=st.sampled_from(["rank", "age", "changed"]), state=st.sampled_from(["open", "closed", "snoozed", "all"]),
    unjudged=st.booleans(), assignee=st.sampled_from(["", "Ann", "Bob"]),
    pattern=st.sampled_from(["", "shift", "campaign"]), since=st.none() | st.floats(0, 70),
    until=st.none() | st.just(2.0), limit=st.integers(1, 70),
)  # fmt: skip


@given(asks)
def test_pages_together_are_the_list(many: Index, ask: Ask) -> None:
    whole = pages(many, msgspec.structs.replace(ask, limit=500))
    assert len(whole) == 1
    found = pages(many, ask)
    assert [case for part in found for case in part] == whole[0]
    assert all(len(part) == ask.limit for part in found[:-1]) and len(found[-1]) <= ask.limit
    with many.read() as of:
        assert page(of, ask, Names(), 50.0).total == len(whole[0])


@pytest.mark.parametrize("order", ["rank", "age", "changed"])
def test_cases_that_come_between_two_pages_move_no_other(open_index: Open, order: Order) -> None:
    found = findings(20)
    with open_index() as index:
        intake = Intake(index, Settings())
        intake.take([batch("alerts", [encode(to_alert(one)) for one in found[:10]])])
        with index.read() as of:
            first = page(of, Ask(order=order, limit=4), Names(), 0.0)
        intake.take([batch("alerts", [encode(to_alert(one)) for one in found[10:]], 10)])
        rest = [case for part in pages(index, Ask(order=order, limit=4, after=first.after)) for case in part]
        shown = [row.case for row in first.rows] + rest
        assert len(set(shown)) == len(shown), "nothing twice"
        assert {one.case for one in found[:10]} <= set(shown), "nothing left out that was there"


@pytest.mark.parametrize("after", ["x", "!!!", "bnVsbA", "WyJhZ2UiLDEuMCwiYSJd"])
def test_what_is_no_place_in_this_list_is_refused(many: Index, after: str) -> None:
    with many.read() as of, pytest.raises(ValueError, match="begin it again"):
        page(of, Ask(after=after), Names(), 0.0)


HOSTILE = ["'; DROP TABLE cases; --", '" OR 1=1', "%%%", "_" * 200, "\x00abc", "<script>", "😀" * 3, "*" * 10]


@pytest.fixture
def looks(open_index: Open, tmp_path: Path) -> Iterator[IndexedLooks]:
    names = tmp_path / "customers.csv"
    names.write_text("account,name\norg-extraction-1,Acme Ltd\norg-extraction-2,'; DROP TABLE cases; --\n")
    with open_index() as index:
        take(index, log(erase=False))
        yield IndexedLooks(index, Roster(str(names)), clock=lambda: START + 50 * 86_400.0)


def test_an_entry_covers_the_cases_whose_accounts_are_all_in_it(looks: IndexedLooks) -> None:
    pool = campaign(["org-extraction-1", ERASED, "org-other"])
    assert looks.covered(pool.accounts[:2], "campaign") == []
    assert [row.case for row in looks.covered([*pool.accounts, "one more"], "campaign")] == [pool.case]
    one = findings(2)[1]
    assert [row.case for row in looks.covered(pool.accounts[:1], "extraction")] == [one.case]
    assert [row.case for row in looks.covered([], "", one.case)] == [one.case]
    with pytest.raises(Unknown):
        looks.covered([], "extraction", "0" * 16)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_find_nothing_and_break_nothing(looks: IndexedLooks, text: str) -> None:
    before = looks.queue(Ask(state="all")).total
    assert {one.by for one in looks.find(text)} <= {"name"}
    for ask in (Ask(assignee=text), Ask(pattern=text), Ask(severity=text), Ask(account=text)):
        assert looks.queue(ask, text).rows == []
    for look in (looks.case, looks.account, looks.campaign):
        with pytest.raises(Unknown):
            look(text)
    assert looks.exposure([text]).requests == 0
    assert looks.queue(Ask(state="all")).total == before


def test_hostile_words_in_an_alert_and_its_accounts_come_out_as_they_went_in(open_index: Open) -> None:
    found = [
        msgspec.structs.replace(
            one, accounts=[text], counterfactual=text, samples=[text], shared=[text], case=f"{at:016x}"
        )
        for at, (one, text) in enumerate(zip(findings(len(HOSTILE)), HOSTILE, strict=True))
    ]
    with open_index() as index:
        take(index, {"alerts": [encode(to_alert(one)) for one in found]})
        looks = IndexedLooks(index, Roster(""))
        assert {row.account for row in looks.queue(Ask()).rows} == set(HOSTILE)
        for one, text in zip(found, HOSTILE, strict=True):
            page_ = looks.case(one.case, text)
            assert (page_.row.account, page_.counterfactual, page_.samples) == (text, text, [text])
            assert looks.account(text).cases[0].case == one.case


def test_an_account_is_opened_with_all_that_is_known_of_it(looks: IndexedLooks) -> None:
    found = looks.account("org-extraction-1")
    assert (found.name, found.cohort) == ("Acme Ltd", "program")
    assert looks.account("org-extraction-0").cohort == "conversation", "it streams"
    taken = found.exposure
    assert taken.requests == sum(hour.requests for hour in found.hours) > 0
    assert taken.output_tokens == 2 * taken.input_tokens == 20 * taken.requests
    assert taken.contents == pytest.approx(taken.requests, rel=0.1) and taken.days == 3
    assert sum(taken.models.values()) == taken.requests and set(taken.models) == {"big", "small"}
    shares = {(one.kind, one.value): one for one in found.shares}
    assert shares["client", "00000000000000aa"].accounts == 5
    assert shares["client", "openai-python"].accounts == 12
    assert shares["key", f"{2:016x}"].accounts == 3 and shares["key", f"{2:016x}"].share == 1.0
    assert shares["address", "ffffffffffffff01"].accounts == 12
    assert found.near[0].pattern == "extraction" and found.near[0].log_e == pytest.approx(7.0)
    assert found.near[0].bar == pytest.approx(math.log(1000))
    assert found.percentiles and all(0 <= one.percentile <= 100 for one in found.percentiles)
    (held,) = [one for one in looks.account("org-extraction-11").near if one.pattern == "extraction"]
    assert held.log_e == 5.5 and held.held == "", "it is below the bar"
    assert [entry.accounts for entry in looks.account("org-extraction-5").allowed] == [["org-extraction-5"]] * 2


def test_everyone_who_shares_something_is_found(looks: IndexedLooks) -> None:
    found = looks.find("00000000000000aa", "client")
    assert {one.id for one in found} == {f"org-extraction-{i}" for i in range(5)}
    assert {one.by for one in looks.find("acme")} == {"name"}
    assert {one.id for one in looks.find("org-extraction-1", "account")} == {
        "org-extraction-1", "org-extraction-10", "org-extraction-11",
    }  # fmt: skip
    case = findings(1)[0].case
    assert [(one.kind, one.id) for one in looks.find(case[:8], "case")] == [("case", case)]
    assert {one.by for one in looks.find("big", "model")} == {"model"}
    assert looks.find("00000000000000aa", "client", until=START - 86_400.0) == []
    assert len(looks.find("00000000000000aa", "client", limit=2)) == 2
    with pytest.raises(ValueError, match="nothing to search by"):
        looks.find("abc", "colour")
    with pytest.raises(ValueError, match="characters"):
        looks.find("a")


def test_a_campaign_shows_what_ties_its_members(looks: IndexedLooks) -> None:
    pool = campaign(["org-extraction-1", "org-extraction-3", "org-other"])
    found = looks.campaign(pool.case)
    assert [member.account for member in found.members] == ["org-extraction-1", "org-extraction-3", "org-other"]
    assert found.members[0].alone == [findings(6)[1].case] and found.members[0].name == "Acme Ltd"
    tied = {(one.kind, one.value): at for at, one in enumerate(found.fingerprints)}
    assert {place for place, at in found.ties if at == tied["client", "00000000000000aa"]} == {0, 1}
    assert found.fingerprints[tied["client", "00000000000000aa"]].accounts == 5


@pytest.mark.parametrize("joined", ["soon", "", "0001-01-01", "9999-12-31T23:59:59-23:00"])
def test_a_member_that_joined_at_no_time_joined_when_the_case_was_first_seen(open_index: Open, joined: str) -> None:
    pool = campaign(["org-a", "org-b"])
    event = json.loads(encode(to_alert(pool)))
    event["data"]["unmapped"]["siphonwatch"]["members"][0]["joined"] = joined
    with open_index() as index:
        take(index, {"alerts": [json.dumps(event).encode()]})
        looks = IndexedLooks(index, Roster(""))
        assert [one.joined for one in looks.case(pool.case).members] == [pool.first_seen, START]
        assert [one.joined for one in looks.campaign(pool.case).members] == [pool.first_seen, START]


def test_an_account_that_was_taken_out_of_a_case_is_counted_nowhere_on_its_page(open_index: Open) -> None:
    pool = campaign(["org-extraction-1", "org-extraction-3", "org-other"])
    with open_index() as index:
        intake = take(index, log(erase=False))
        looks = IndexedLooks(index, Roster(""))
        whole = looks.case(pool.case)
        out = note(9, pool.case, "org-extraction-1", Split, accounts=["org-extraction-1", "org-other"])
        intake.take([batch("desk", [out], 6)])
        found = looks.case(pool.case)
        assert [one.account for one in found.members] == ["org-extraction-3"]
        alone = looks.exposure(["org-extraction-3"], START + 60, START + 3660)
        assert found.exposure == alone
        assert 0 < sum(alone.models.values()) < sum(whole.exposure.models.values())
        assert 0 < sum(one.requests for one in found.hours) < sum(one.requests for one in whole.hours)
        assert (found.row.accounts, found.row.account) == (1, "org-extraction-3")
        (row,) = [row for row in looks.queue(Ask(state="all")).rows if row.case == pool.case]
        assert (row.accounts, row.account) == (1, "org-extraction-3")


def test_contents_of_a_part_of_a_day_are_no_more_than_its_requests(looks: IndexedLooks) -> None:
    accounts = [f"org-extraction-{number}" for number in range(12)]
    hour = looks.exposure(accounts, START, START + 3599)
    assert 0 < hour.contents <= hour.requests
    assert "of whole days (UTC)" in exposure_text(hour)


def test_likeness_and_percentiles_are_on_a_case_s_page(looks: IndexedLooks) -> None:
    page_ = looks.case(findings(6)[2].case)
    assert [(one.row.verdict, one.likeness) for one in page_.alike] and page_.alike[0].likeness > 0.5
    assert {one.row.verdict for one in page_.alike} <= {"benign-expected", "suspicious", "false-positive"}
    assert {one.row.verdict for one in page_.alike_unjudged} == {""} and len(page_.alike_unjudged) > 1
    shown = [one.row.case for one in page_.alike_unjudged]
    assert not {one.case for one in page_.related} & set(shown) and page_.row.case not in shown
    likeness = [one.likeness for one in page_.alike_unjudged]
    assert likeness == sorted(likeness, reverse=True) and all(LEAST <= one <= 1 for one in likeness)
    assert page_.signals[0].cohort == "conversation" and len(page_.signals[0].typical) == 5
    assert page_.exposure.requests and page_.hours and page_.steps
    assert page_.row.group == page_.row.case


def test_what_few_cases_share_says_more_and_is_said_first(open_index: Open) -> None:
    given = [to_alert(one) for one in findings(8)]
    with_keys = [encode(_carried(one, "key", f"{at // 2:016x}")) for at, one in enumerate(given)]
    with open_index() as index:
        take(index, {"alerts": with_keys})
        page_ = IndexedLooks(index, Roster("")).case(given[0].subject)
        first, *others = page_.alike_unjudged
        assert page_.alike == [] and first.row.case == given[1].subject, "the one that the same key is behind"
        assert first.shared[0] == f"key {0:016x}" and first.likeness > max(one.likeness for one in others)
        assert not any(text.startswith("key ") for one in others for text in one.shared)


def _carried(alert: Alert, kind: str, name: str) -> Alert:
    event = json.loads(encode(alert))
    event["data"]["unmapped"]["siphonwatch"]["carried_by"] = [{"kind": kind, "name": name, "share": 0.9}]
    return decode(json.dumps(event).encode())


def test_names_are_joined_by_hash_or_by_what_gateways_log(tmp_path: Path) -> None:
    identity = Identity("a secret of the tests only")
    file = tmp_path / "customers.csv"
    file.write_text(f"name,account,more\nAcme,acme-inc,x\nBob,{identity.account('bob')},y\n{'n' * 500},long,z\n")
    roster = Roster(str(file), identity)
    names = roster.names()
    assert names.of(identity.account("acme-inc")) == "Acme" and names.of(identity.account("bob")) == "Bob"
    assert len(names.of("long")) == MAX_NAME and names.of("nobody") == ""
    file.write_text("name,account\nAcme Ltd,acme-inc\n")
    assert roster.names().of(identity.account("acme-inc")) == "Acme Ltd", "a file that changed is read again"
    asked = Roster(f"!cat {file}", identity)
    assert asked.names().of(identity.account("acme-inc")) == "Acme Ltd"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/nowhere/names.csv", "cannot read names"), ("!false", "failed with 1"), ("!no-such-program", "cannot be run"),
        ("!printf name\\n", "no column account"), ("!printf \\\\377", "cannot be run"),
    ],
)  # fmt: skip
def test_names_that_cannot_be_had_are_an_error_that_says_why(source: str, said: str) -> None:
    with pytest.raises(NamesFailed, match=said):
        Roster(source).names()


def test_a_desk_that_has_names_keeps_them_where_they_cannot_be_read_again(tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    file.write_text("account,name\na,Acme\n")
    roster = Roster(str(file))
    assert roster.names().of("a") == "Acme"
    with capture_logs() as logs:
        for wrong in (b"acc", b"account,name\na,\xff\n"):
            file.write_bytes(wrong)
            assert [roster.names().of("a") for _ in range(3)] == ["Acme"] * 3
        file.unlink()
        assert [roster.names().of("a") for _ in range(3)] == ["Acme"] * 3
    assert all(line["log_level"] == "warning" for line in logs)
    assert "no column" in logs[0]["reason"] and "No such file" in logs[-1]["reason"]
    file.write_text("account,name\na,Acme Ltd\n")
    assert roster.names().of("a") == "Acme Ltd"


def test_a_command_for_names_is_asked_at_times_also_where_it_fails_and_by_one_alone(tmp_path: Path) -> None:
    script, asked, now = tmp_path / "names.sh", tmp_path / "asked", [0.0]
    script.write_text(f"echo x >> {asked}\nprintf 'account,name\\na,Acme\\n'\n")
    roster = Roster(f"!sh {script}", clock=lambda: now[0])
    with ThreadPoolExecutor(8) as threads:
        assert [names.of("a") for names in threads.map(lambda _: roster.names(), range(8))] == ["Acme"] * 8
    assert asked.read_text() == "x\n"
    script.write_text(f"echo x >> {asked}\nexit 1\n")
    now[0] += RENEW_SECONDS
    assert [roster.names().of("a") for _ in range(5)] == ["Acme"] * 5
    assert asked.read_text() == "x\nx\n"

"""The index is what its topics say, however and however often it is made of them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from alert_samples import START, findings
from desk_indexes import Open
from desk_samples import ERASED, NOW, batch, dump, log, logged, note, take
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from siphonwatch.models.learn.verdict_book import VerdictBook
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts import control, desk, features, verdict
from siphonwatch.streams.contracts.alert import decode, encode, to_alert
from siphonwatch.streams.contracts.telemetry import Telemetry
from siphonwatch.streams.contracts.telemetry import encode as encode_telemetry
from siphonwatch.streams.contracts.verdict import standing
from siphonwatch.streams.desk.index import sketch
from siphonwatch.streams.desk.index.cases import facts_of
from siphonwatch.streams.desk.index.intake import Intake
from siphonwatch.streams.desk.index.sqlite import SqliteIndex
from siphonwatch.streams.desk.index.store import Index, IndexFailed
from siphonwatch.streams.desk.index.traffic import DAY, MOST


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[object, ...]]]:
    """What an index holds that took the log in at once."""
    with SqliteIndex(tmp_path_factory.mktemp("whole") / "i.sqlite", "p") as index:
        take(index, log())
        return dump(index)


def test_the_log_reaches_every_table(whole: dict[str, list[tuple[object, ...]]]) -> None:
    assert {name for name, rows in whole.items() if not rows} == {"stepped"}


@pytest.mark.parametrize("seed", range(4))
def test_any_cut_of_the_log_and_any_order_of_the_topics_gives_the_same(
    whole: dict[str, list[tuple[object, ...]]], open_index: Open, seed: int
) -> None:
    """Rebuilt at once, or fed in parts with some of them given twice, as after a crash of who reads."""
    draw, given_ = random.Random(seed), log()
    at = dict.fromkeys(given_, 0)
    with open_index() as index:
        intake = Intake(index, Settings())
        while left := [kind for kind in given_ if at[kind] < len(given_[kind])]:
            batches = []
            for kind in draw.sample(left, draw.randint(1, len(left))):
                begin = max(at[kind] - draw.randrange(3), 0)
                at[kind] = min(at[kind] + draw.randint(1, 1 + len(given_[kind]) // 2), len(given_[kind]))
                batches.append(batch(kind, given_[kind][begin : at[kind]], begin))
            intake.take(batches)
            if draw.random() < 0.2:
                intake = Intake(index, Settings())
        assert dump(index) == whole


def test_cleared_and_fed_again_it_is_the_same_and_looks_stay(
    whole: dict[str, list[tuple[object, ...]]], open_index: Open
) -> None:
    with open_index() as index:
        take(index, log())
        index.looked.note("Ann", "c", 1.0)
        index.clear()
        assert not any(rows for name, rows in dump(index).items())
        take(index, log())
        with index.write() as to:
            to.execute("INSERT INTO meta VALUES ('prefix', 'p')")
        assert dump(index) == whole
        assert index.looked.of("Ann")(["c", "d"]) == {"c": 1.0} and index.looked.of("")(["c"]) == {}


KILLED = """
import os, signal, sys
from desk_indexes import open_at
from desk_samples import batch, log
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.desk.index import intake as made

place = int(sys.argv[1])
index = open_at(sys.argv[2:], "p")
intake = made.Intake(index, Settings())
at = 0
given = log()
while any(at < len(values) for values in given.values()):
    if at >= place:
        ranks = intake.ranks.rank
        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)
        intake.ranks.rank = die
    intake.take(batch(kind, values[at : at + 7], at) for kind, values in given.items() if at < len(values))
    at += 7
"""


@pytest.mark.parametrize("place", [0, 70])
def test_a_process_killed_within_a_transaction_loses_nothing_and_doubles_nothing(
    whole: dict[str, list[tuple[object, ...]]], open_index: Open, place: int
) -> None:
    tools = str(Path(__file__).parents[1] / "tools")
    died = subprocess.run(
        [sys.executable, "-c", KILLED, str(place), *open_index.at()], env={**os.environ, "PYTHONPATH": tools},
        check=False,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL
    with open_index() as index:
        positions = index.positions()
        sizes = {f"p.{kind}.v1": len(values) for kind, values in log().items()}
        assert {topic: position.next for (topic, _), position in positions.items()} == {
            topic: min(place, size) for topic, size in sizes.items() if place
        }
        intake = Intake(index, Settings())
        # Who reads again may be ahead of what stands, behind it, or at it: only what is new counts.
        for kind, values in log().items():
            known = positions.get((f"p.{kind}.v1", 0))
            begin = max((known.next if known else 0) - 3, 0)
            intake.take([batch(kind, values[begin:], begin)])
        assert dump(index) == whole


def test_ranks_are_those_of_the_book_of_verdicts(open_index: Open) -> None:
    given_ = log(erase=False)
    book = VerdictBook()
    book.take(one.vote for one in standing(map(verdict.decode, given_["verdicts"])))
    with open_index() as index:
        take(index, given_)
        rows = index.reader.execute("SELECT rank, facts FROM cases JOIN newest USING (id)").fetchall()
        assert len(rows) == 7
        for rank, facts in rows:
            assert rank == pytest.approx(book.rank(facts_of(facts)).rank, abs=2e-6)


def test_what_is_erased_is_overwritten_in_the_file(tmp_path: Path) -> None:
    given_ = log()
    order = {"control": given_.pop("control")}
    case = findings(4)[3].case
    given_["desk"].append(note(9, case, ERASED, text="it was about a birthday"))
    with SqliteIndex(tmp_path / "i.sqlite", "p") as index:
        before = index._writer.execute("PRAGMA secure_delete").fetchone()
        intake = take(index, given_)
        index._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert b"birthday" in index.path.read_bytes()
        take(index, order, intake)
        whole = b"".join(path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith("-shm"))
        assert b"birthday" not in whole and whole.count(ERASED.encode()) == 1, "the order alone names it"
        assert index._writer.execute("PRAGMA secure_delete").fetchone() == before


@pytest.mark.parametrize("first", ["control", "others"])
def test_an_erased_account_is_nowhere_whenever_its_order_is_read(open_index: Open, first: str) -> None:
    given_ = log()
    others = [to_alert(one) for one in findings(6)]
    entry = control.Allow(
        id="0" * 11 + "4",
        pattern="extraction",
        until=2e9,
        accounts=["org-other", ERASED],
        why="both test",
        by="Ann",
        time=NOW,
    )
    mention = msgspec.structs.replace(entry, id="0" * 11 + "5", accounts=["org-other"], why=f"as {ERASED}: a test")
    kept = msgspec.structs.replace(entry, id="0" * 11 + "6", accounts=["org-other"], why=f"{ERASED}0 is another one")
    given_["control"] = [*map(control.encode, (entry, mention)), *given_["control"], control.encode(kept)]
    said = f"like {ERASED}, we think"
    given_["verdicts"].append(verdict.encode(verdict.judge(others[2], "suspicious", by="Ann", time=NOW + 9, note=said)))
    given_["desk"].append(note(9, others[2].subject, "org-extraction-2", text=said))
    with open_index() as index:
        intake = Intake(index, Settings())
        orders = {"control": given_.pop("control")}
        for part in (orders, given_) if first == "control" else (given_, orders):
            take(index, part, intake)
        rows = dump(index)
        assert (ERASED, 1.9e9) in rows.pop("erased")
        allowed = {raw[0]: control.decode(raw[1]) for raw in rows.pop("allow")}
        assert allowed[entry.id] == msgspec.structs.replace(entry, accounts=["org-other", "erased"], why="")
        assert allowed[mention.id] == msgspec.structs.replace(mention, why="") and allowed[kept.id] == kept
        for name, found in rows.items():
            assert ERASED not in repr(found), name
            for row in found:
                for cell in row:
                    if isinstance(cell, bytes) and name == "newest" and cell[:1] == b"\x78":
                        assert ERASED.encode() not in zlib.decompress(cell)
        pool = [row for row in rows["cases"] if row[1] == "campaign"]
        assert len(pool) == 1, "a case of others goes on"
        (accounts,) = index.reader.execute("SELECT accounts FROM cases WHERE pattern = 'campaign'").fetchone()
        assert accounts == 3
        assert not [row for row in rows["cases"] if "org-extraction-3" in row]
        teaches = [verdict.decode(raw) for *_, raw in rows["verdict"]]
        assert [one.note for one in teaches if one.account == "erased"] == [""], "it still teaches"
        assert [one.note for one in teaches if one.account == "org-extraction-2"] == [""]
        (notes,) = [desk.decode(raw) for *_, raw in rows["desk"] if b"org-extraction-2" in raw]
        assert desk.text_of(notes) == ""


def test_a_topic_made_anew_takes_what_came_of_the_old_one_and_nothing_else(open_index: Open) -> None:
    given_ = log(erase=False)
    with open_index() as index, open_index("j") as other:
        intake = take(index, given_)
        intake.forget("alerts", "p.alerts.v1")
        intake.forget("telemetry", "p.telemetry.v1")
        new = [encode(to_alert(one)) for one in findings(2, "shift")]
        intake.take([batch("alerts", new, incarnation="j"), batch("telemetry", given_["telemetry"], incarnation="j")])
        take(other, given_ | {"alerts": new})
        mine, theirs = dump(index), dump(other)
        del mine["position"], theirs["position"]
        assert mine == theirs


def test_another_prefix_or_schema_begins_anew_and_what_is_no_index_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "i.sqlite"
    with SqliteIndex(path, "p") as index:
        take(index, log())
    with SqliteIndex(path, "q") as index:
        assert index.positions() == {}
        assert oct(path.stat().st_mode & 0o777) == "0o600"
    text = tmp_path / "notes.txt"
    text.write_text("this is no database, and must stay as it is" * 50)
    with pytest.raises(IndexFailed, match=r"notes\.txt cannot be used"):
        SqliteIndex(text, "p")
    assert text.read_text().startswith("this is no database")


def test_old_days_and_old_cases_leave(open_index: Open) -> None:
    values = [
        encode_telemetry(Telemetry(id="r", time=START + day * DAY, account=f"a{day}", key="0000000000000001"))
        for day in (0, 1, 30)
    ]
    settings = Settings()
    settings.desk.days = 7
    with open_index() as index:
        Intake(index, settings).take([batch("telemetry", values[:2]), batch("alerts", log()["alerts"])])
        intake = Intake(index, settings)
        intake.take([batch("telemetry", values[2:], 2)])
        for table in ("account", "hour", "day", "share"):
            assert index.reader.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,), table
        settings.topics.alerts_retention_hours = 24 * 30
        intake = Intake(index, settings)
        late = [encode(to_alert(msgspec.structs.replace(one, time=START + 39 * DAY))) for one in findings(1, "shift")]
        intake.take([batch("alerts", late, 100)])
        assert index.reader.execute("SELECT count(*), (SELECT count(*) FROM told) FROM cases").fetchone() == (1, 1)


def test_who_draws_keys_fills_no_disk_and_a_time_ahead_of_its_record_is_not_believed(open_index: Open) -> None:
    values = [
        encode_telemetry(Telemetry(id=f"r{i}", time=START + i, account="a", key=f"{i + 1:016x}")) for i in range(500)
    ]
    values.append(encode_telemetry(Telemetry(id="x", time=4e9, account="a", key="00000000000000ff")))
    with open_index() as index:
        intake = Intake(index, Settings())
        intake.take([batch("telemetry", values[:100])])
        intake.take([batch("telemetry", values[100:], 100)])
        rows = index.reader.execute("SELECT value FROM share ORDER BY value").fetchall()
        assert [value for (value,) in rows] == list(range(1, MOST + 1)), "the first ones, whatever the batches"
        assert index.reader.execute("SELECT sum(requests) FROM hour").fetchone() == (500,)
        assert index.reader.execute("SELECT records FROM skipped").fetchone() == (1,)


def test_labels_are_kept_of_what_is_kept_and_leave_with_it(open_index: Open) -> None:
    values = [
        encode_telemetry(Telemetry(id=f"r{i}", time=START + i, account="a", key="0000000000000001", model=f"m{i}"))
        for i in range(100)
    ]
    late = Telemetry(id="x", time=START + 30 * DAY, account="a", key="0000000000000001", model="new")
    with open_index() as index:
        intake = Intake(index, Settings())
        intake.take([batch("telemetry", values)])
        assert index.reader.execute("SELECT count(*) FROM label").fetchone() == (MOST,)
        intake.take([batch("telemetry", [encode_telemetry(late)], 100)])
        assert index.reader.execute("SELECT text FROM label").fetchall() == [("new",)]
        intake.forget("telemetry", "p.telemetry.v1")
        assert index.reader.execute("SELECT count(*) FROM label").fetchone() == (0,)


def changed(value: bytes, field: str, to: object) -> bytes:
    """An alert with another value in a field of its own that `decode` takes."""
    event = json.loads(value)
    event["data"]["unmapped"]["siphonwatch"][field] = to
    decode(raw := json.dumps(event).encode())
    return raw


@pytest.mark.parametrize("kind", ["alerts", "hidden"])
@pytest.mark.parametrize("what", ["sequence", "requests_seen", "time"])
def test_one_alert_that_the_contract_takes_neither_stops_the_index_nor_empties_it(
    open_index: Open, kind: str, what: str
) -> None:
    told = findings(3)
    bad = encode(to_alert(msgspec.structs.replace(told[2], time=START + 1800 * DAY)))
    if what != "time":
        bad = changed(encode(to_alert(told[2])), what, 2**63)
    values = [*(encode(to_alert(one)) for one in told[:2]), bad]
    table = "cases" if kind == "alerts" else "hidden"
    with open_index() as index:
        take(index, {kind: values})
        assert index.reader.execute(f"SELECT count(*) FROM {table}").fetchone() == (2,)
        assert index.reader.execute("SELECT records FROM skipped").fetchone() == (1,)


def test_features_of_fingerprints_and_of_a_time_ahead_are_no_account_s_newest(open_index: Open) -> None:
    one = features.decode(logged(1, 1)[0])
    replaced = msgspec.structs.replace
    others = [
        replaced(one, over="campaign", at=["alert"], time=one.time + 1, features=b"\0" * 8),
        replaced(one, over="campaign", account="org-pool", at=["alert"]),
        replaced(one, account="org-ahead", time=2.0**34),
    ]
    with open_index() as index:
        take(index, {"features": [features.encode(each) for each in (one, *others)]})
        rows = index.reader.execute("SELECT account, time, features FROM vector").fetchall()
        assert rows == [(one.account, one.time, one.features)]
        assert index.reader.execute("SELECT count(*) FROM sample").fetchone() == (1,)
        assert index.reader.execute("SELECT records FROM skipped").fetchone() == (1,)


def test_what_is_no_record_is_counted_by_topic_and_skipped(whole: dict[str, list[tuple[object, ...]]]) -> None:
    assert whole["skipped"] == [("p.alerts.v1", 1, 0), ("p.desk.v1", 1, 0), ("p.telemetry.v1", 1, 0)]


@pytest.fixture(scope="module")
def junk(opens: Callable[[], Open]) -> Iterator[Index]:
    with opens()() as index:
        yield index


@given(st.lists(st.binary(max_size=60) | st.text().map(json.dumps).map(str.encode), min_size=1, max_size=5))
@hypothesis_settings(max_examples=25)
def test_no_bytes_stop_the_index(junk: Index, values: list[bytes]) -> None:
    junk.clear()
    take(junk, dict.fromkeys(log(), values))
    assert junk.reader.execute("SELECT count(*) FROM cases").fetchone() == (0,)


@pytest.mark.parametrize("count", [1, 30, 3000, 100_000])
def test_the_sketch_is_within_four_times_its_error_and_parts_make_the_whole(count: int) -> None:
    hashes = np.random.default_rng(count).integers(0, 2**64, count, dtype=np.uint64)
    whole_ = sketch.merged(sketch.registers(hashes))
    assert sketch.estimate(whole_) == pytest.approx(count, rel=4 * sketch.ERROR)
    parts = [sketch.merged(sketch.registers(part)).tobytes() for part in np.array_split(np.tile(hashes, 2), 7)]
    assert (sketch.union(parts) == whole_).all()


def test_an_order_to_count_only_erases_nothing(open_index: Open) -> None:
    dry = control.Erase(id="0" * 12, account=ERASED, by="Ann", time=1.9e9, dry_run=True)
    with open_index() as index, open_index("j") as other:
        given_ = log(erase=False)
        take(index, given_)
        take(other, {**given_, "control": [*given_["control"], control.encode(dry)]})
        mine, theirs = dump(index), dump(other)
        del mine["position"], theirs["position"]
        assert mine == theirs

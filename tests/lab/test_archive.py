"""The archive without Kafka: what comes back is what went in, once, and a replay of it is the replay of its log."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from worker_tools import KEY, traffic

from siphonwatch.models.account.request import NAME_BYTES
from siphonwatch.streams.cli import cli
from siphonwatch.streams.contracts.sealed import Sealer
from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.lab.archive.layout import Gap
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.rewrite import rewrite
from siphonwatch.streams.lab.archive.store import Store, StoreError, TakenError
from siphonwatch.streams.lab.archive.telemetry import LAYOUT, KeepingDecoder, from_table, to_table
from siphonwatch.streams.lab.archive.writer import Writer
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.orders import Order, Orders

SEAL = bytes(range(32))
KEYS = np.frombuffer(SEAL, "<u8").astype(np.uint64).reshape(1, 4)


def written(store: Store, values: list[bytes], step: int, first: int = 0) -> Writer:
    """An archive of some telemetry, in steps of so many records."""
    writer = Writer(store)
    writer.begin("telemetry", 0, "one", first)
    for start in range(0, len(values), step):
        part = values[start : start + step]
        offsets = np.arange(first + start, first + start + len(part))
        writer.take("telemetry", 0, part, offsets, 1000 * offsets)
        writer.close()
    return writer


def bytes_of(archive: Archive) -> bytes:
    return b"".join(batch.requests.tobytes() for batch in archive.batches())


records = st.builds(
    Telemetry,
    id=st.text(min_size=1, max_size=128), time=st.floats(0, 2**33),
    account=st.from_regex(r"[!-~]{1,64}", fullmatch=True),
    kind=st.sampled_from(["llm", "rest"]), model=st.text(max_size=16), op=st.sampled_from(["", "chat"]),
    temperature=st.none() | st.floats(0, 2), content=st.sampled_from(["", "0123456789abcdef"]),
    chunks=st.integers(0, 16).map(lambda n: "AAECAwQF" * n), masks=st.lists(st.integers(0, 9), max_size=9),
    stream=st.booleans(), item=st.integers(-1, 2**53), tokens_in=st.integers(0, 2**31 - 1),
)  # fmt: skip


@hypothesis_settings(max_examples=40)
@given(st.lists(st.tuples(records, st.booleans()), min_size=1, max_size=12))
def test_requests_come_back_to_the_last_bit_sealed_or_not(some: list[tuple[Telemetry, bool]]) -> None:
    sealer = Sealer(SEAL)
    values = [encode(sealer.seal(record) if seal else record) for record, seal in some]
    decoder = KeepingDecoder()
    rows, rejected = decoder.take(values, np.arange(len(values)), np.full(len(values), -1, np.int64))
    assert not rejected
    table = to_table(3, rows, decoder.texts)
    assert from_table(table).requests.tobytes() == Decoder().decode(values).requests.tobytes()
    opened = from_table(table, KEYS)
    assert opened.requests.tobytes() == Decoder(KEYS).decode(values).requests.tobytes()
    assert opened.sealed is None
    assert table.column("model").to_pylist() == [record.model for record, _ in some]


def test_an_id_that_is_cut_inside_a_character_keeps_its_bytes() -> None:
    values = [
        encode(Telemetry(id="x" + "é" * 40, time=1.0, account="a")),
        encode(Telemetry(id="b", time=1.0, account="a")),
    ]
    decoder = KeepingDecoder()
    rows, _ = decoder.take(values, np.arange(2), np.full(2, -1, np.int64))
    table = to_table(0, rows, decoder.texts)
    assert len(table.column("id_bytes").to_pylist()[0]) == NAME_BYTES
    assert from_table(table).requests.tobytes() == rows.requests.tobytes()


@hypothesis_settings(max_examples=10)
@given(count=st.integers(1, 60), step=st.integers(1, 90), other=st.integers(1, 90))
def test_the_export_of_a_prefix_is_the_export_of_the_whole_filtered(
    tmp_path_factory: pytest.TempPathFactory, count: int, step: int, other: int
) -> None:
    values = [encode(record) for record in traffic()[:90]]
    folder = tmp_path_factory.mktemp("prefix")
    written(Store(str(folder / "whole")), values, step)
    written(Store(str(folder / "part")), values[:count], other)
    whole, part = ([b for b in Archive(str(folder / name)).batches()] for name in ("whole", "part"))
    assert b"".join(batch.requests.tobytes() for batch in part) == b"".join(
        batch.requests[batch.offset < count].tobytes() for batch in whole
    )


def test_steps_cut_anywhere_hold_each_record_once(tmp_path: Path) -> None:
    values = [encode(record) for record in traffic()[:500]]
    written(Store(str(tmp_path)), values, 77)
    batches = list(Archive(str(tmp_path)).batches())
    assert np.concatenate([batch.offset for batch in batches]).tolist() == list(range(500))
    assert np.concatenate([batch.sequence for batch in batches]).tolist() == list(range(500))
    assert bytes_of(Archive(str(tmp_path))) == Decoder().decode(values).requests.tobytes()


def test_a_step_without_its_manifest_is_nothing_and_is_written_again(tmp_path: Path) -> None:
    values = [encode(record) for record in traffic()[:300]]
    store = Store(str(tmp_path))
    written(store, values[:100], 100)

    class Killed(Exception):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    writer = Writer(store)
    writer.begin("telemetry", 0, "one", 100)
    writer.take("telemetry", 0, values[100:250], np.arange(100, 250), np.arange(150))
    writer.commit = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        writer.close()
    orphans = set(store.walk("telemetry")) - {file.path for file in Archive(str(tmp_path)).files("telemetry")}
    assert orphans
    again = Writer(store)
    assert again.positions["telemetry", 0].next == 100
    written(store, values[100:], 200, first=100)
    assert bytes_of(Archive(str(tmp_path))) == Decoder().decode(values).requests.tobytes()


def test_files_and_their_names_are_on_the_disk_before_the_manifest_is_and_it_before_the_step_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync, link = os.fsync, os.link

    def noting(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        sync(handle)

    def linking(source: Path, target: str) -> None:
        synced.append("named")
        link(source, target)

    monkeypatch.setattr(os, "fsync", noting)
    monkeypatch.setattr(os, "link", linking)
    folder = tmp_path / "new" / "archive"
    written(Store(str(folder)), [encode(record) for record in traffic()[:300]], 300)
    (manifest,) = Archive(str(folder)).manifests
    named = synced.index("named")
    for file in manifest.files:
        place = folder / file.path
        first = next(i for i, path in enumerate(synced) if f"/.{place.name}." in path)
        assert first < synced.index(str(place.parent), first) < named, "bytes, then the name"
    for made in (folder / "telemetry", folder, folder.parent, tmp_path):
        assert synced.index(str(made)) < named, "folders that were made have names of their own"
    assert synced[named - 1].startswith(str(folder / "_manifests" / ".0")), "its bytes"
    assert synced[named + 1] == str(folder / "_manifests"), "its name"


@pytest.mark.parametrize("erased", [(), (Order(2.0**34, "0" * 12, traffic()[0].account, False),)])
def test_of_two_archivers_one_writes_a_step(tmp_path: Path, erased: tuple[Order, ...]) -> None:
    values = [encode(record) for record in traffic()[:20]]
    store = Store(str(tmp_path))
    first, second = Writer(store), Writer(store)
    for writer in (first, second):
        writer.begin("telemetry", 0, "one", 0)
        writer.take("telemetry", 0, values, np.arange(20), np.arange(20))
    second.orders = Orders(erased)
    assert first.close() is not None
    with pytest.raises(TakenError, match="another archiver"):
        second.close()
    assert bytes_of(Archive(str(tmp_path))) == Decoder().decode(values).requests.tobytes()


def test_a_manifest_says_what_was_dropped_what_is_missing_and_what_was_late(tmp_path: Path) -> None:
    good = [encode(Telemetry(id=str(i), time=1.7e9 + 3600 * hour, account="a")) for i, hour in enumerate((0, 2, 0))]
    writer = Writer(Store(str(tmp_path)))
    writer.begin("telemetry", 0, "one", 0)
    values = [good[0], b"{", None, b'{"id":"x"}', good[1], good[2]]
    writer.take(
        "telemetry", 0, values, np.array([0, 1, 2, 5, 6, 7]), np.zeros(6, np.int64),
        repeated=np.array([False] * 5 + [False]),
    )  # fmt: skip
    manifest = writer.close()
    assert manifest is not None
    (found,) = manifest.ranges
    assert found.dropped == {"tombstone": 1, "json": 1, "schema": 1}
    assert found.gaps == [Gap(3, 5, "absent")]
    assert (found.first, found.next, found.rows, found.late) == (0, 8, 3, 1)
    assert sorted(file.path.split("/")[2] for file in manifest.files) == ["hr=00", "hr=22"]


def test_what_was_made_again_after_a_crash_is_dropped(tmp_path: Path) -> None:
    values = [encode(record) for record in traffic()[:4]]
    writer = Writer(Store(str(tmp_path)))
    writer.begin("telemetry", 0, "one", 0)
    writer.take(
        "telemetry", 0, [*values, *values[2:]], np.arange(6), np.zeros(6, np.int64),
        repeated=np.array([False] * 4 + [True] * 2),
    )  # fmt: skip
    manifest = writer.close()
    assert manifest is not None
    assert manifest.ranges[0].dropped == {"repeated": 2}
    assert bytes_of(Archive(str(tmp_path))) == Decoder().decode(values).requests.tobytes()


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    written(Store(str(tmp_path)), [encode(record) for record in traffic()[:20]], 20)
    archive = Archive(str(tmp_path))
    path = tmp_path / archive.files("telemetry")[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="its sha256 differs"):
        bytes_of(archive)


def test_a_missing_manifest_is_told(tmp_path: Path) -> None:
    written(Store(str(tmp_path)), [encode(record) for record in traffic()[:20]], 5)
    (tmp_path / "_manifests" / f"{1:012d}.json").unlink()
    with pytest.raises(StoreError, match="is missing"):
        Archive(str(tmp_path))


def test_clocks_gone_mad_do_not_make_a_file_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siphonwatch.streams.lab.archive.writer.MAX_HOURS", 3)
    values = [encode(Telemetry(id=str(i), time=7200.0 * i + 1e9, account="a")) for i in range(40)]
    written(Store(str(tmp_path)), values, 40)
    archive = Archive(str(tmp_path))
    assert len(archive.files("telemetry")) == 4
    assert bytes_of(archive) == Decoder().decode(values).requests.tobytes()


def test_an_archive_in_an_object_store_is_the_same(tmp_path: Path) -> None:
    values = [encode(record) for record in traffic()[:200]]
    written(Store("memory://archive-test"), values, 90)
    written(Store(str(tmp_path)), values, 90)
    remote, local = Archive("memory://archive-test"), Archive(str(tmp_path))
    assert remote.files("telemetry") == local.files("telemetry")
    assert bytes_of(remote) == bytes_of(local)
    with pytest.raises(TakenError):
        remote.store.create("_manifests/000000000000.json", b"{}")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "telemetry.ndjson"
    lines = [encode(record) for record in traffic()]
    lines[5:5] = [b"no telemetry"]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    yield path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, env={"SIPHONWATCH_IDENTITY_KEY": KEY})
    assert done.exit_code == 0, done.output
    return done.output


def test_a_replay_of_an_archive_gives_the_alerts_and_scores_of_its_log(tmp_path: Path, log: Path) -> None:
    archive = str(tmp_path / "archive")
    said = run("archive", "--to", archive, "--from", str(log), "--step-rows", "5000")
    assert "1 records dropped" in said
    assert run("archive", "--to", archive, "--from", str(log)) == ""  # nothing is new
    for source, name in ((str(log), "log"), (archive, "archive")):
        run("replay", source, "--alerts", f"{tmp_path}/{name}.alerts", "--scores", f"{tmp_path}/{name}.csv", "--quiet")
    assert (tmp_path / "log.alerts").read_bytes()
    assert (tmp_path / "log.alerts").read_bytes() == (tmp_path / "archive.alerts").read_bytes()
    assert (tmp_path / "log.csv").read_bytes() == (tmp_path / "archive.csv").read_bytes()


def test_a_log_that_has_grown_is_archived_from_where_it_was(tmp_path: Path, log: Path) -> None:
    archive, lines = tmp_path / "archive", log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:1000]))
    run("archive", "--to", str(archive), "--from", str(log))
    log.write_bytes(b"".join(lines[:1500]))
    run("archive", "--to", str(archive), "--from", str(log))
    assert bytes_of(Archive(str(archive))) == Decoder().decode(lines[:1500]).requests.tobytes()


def test_another_log_of_the_same_name_and_header_is_archived_whole(tmp_path: Path) -> None:
    archive, lines = str(tmp_path / "archive"), [encode(record) for record in traffic()[:40]]
    for month, part in (("may", lines[:20]), ("june", lines[20:])):
        (tmp_path / month).mkdir()
        (tmp_path / month / "export.ndjson").write_bytes(b"\n" + b"\n".join(part) + b"\n")
        run("archive", "--to", archive, "--from", str(tmp_path / month / "export.ndjson"))
    assert bytes_of(Archive(archive)) == Decoder().decode(lines).requests.tobytes()


def test_logs_and_topics_are_archived_in_places_of_their_own(tmp_path: Path, log: Path) -> None:
    run("archive", "--to", str(tmp_path / "logs"), "--from", str(log))
    with pytest.raises(StoreError, match="is an archive of logs: archive topics into another place"):
        Writer(Store(str(tmp_path / "logs"))).begin("telemetry", 3, "one", 0)
    written(Store(str(tmp_path / "topics")), [encode(record) for record in traffic()[:20]], 20)
    arguments = ["archive", "--to", str(tmp_path / "topics"), "--from", str(log)]
    done = CliRunner().invoke(cli, arguments, env={"SIPHONWATCH_IDENTITY_KEY": KEY})
    assert done.exit_code == 1 and "is an archive of topics: archive logs into another place" in done.output


def test_what_comes_before_the_unreadable_end_of_a_log_is_archived(tmp_path: Path) -> None:
    archive, lines = str(tmp_path / "archive"), [encode(record) for record in traffic()[:400]]
    log = tmp_path / "cut.ndjson.gz"
    log.write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines))[:-200])
    environ = {"SIPHONWATCH_IDENTITY_KEY": KEY}
    done = CliRunner().invoke(cli, ["archive", "--to", archive, "--from", str(log)], env=environ)
    assert done.exit_code == 1
    found = bytes_of(Archive(archive))
    assert found and Decoder().decode(lines).requests.tobytes().startswith(found)


@pytest.mark.parametrize("time", ["-1", "1e18", "1e300"])
def test_a_verdict_of_no_possible_time_is_dropped_and_stops_nothing(tmp_path: Path, time: str) -> None:
    writer = Writer(Store(str(tmp_path)))
    writer.begin("verdicts", 0, "one", 0)
    values = [b'{"case":"c","decision":"d","by":"Ann","time":%s}' % moment.encode() for moment in (time, "5.0")]
    writer.take("verdicts", 0, values, np.arange(2), np.zeros(2, np.int64))
    manifest = writer.close()
    assert manifest is not None
    assert (manifest.ranges[0].rows, manifest.ranges[0].dropped) == (1, {"schema": 1})


def test_an_archive_of_other_columns_says_so(tmp_path: Path) -> None:
    written(Store(str(tmp_path)), [encode(record) for record in traffic()[:20]], 20)
    path = tmp_path / "_manifests" / f"{0:012d}.json"
    path.write_bytes(path.read_bytes().replace(LAYOUT.encode(), b"0" * len(LAYOUT)))
    with pytest.raises(StoreError, match="with other columns than this one reads"):
        bytes_of(Archive(str(tmp_path)))


_MEASURE = """
import resource, sys
import numpy as np
from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.lab.archive.writer import Writer

folder, rows = sys.argv[1], int(sys.argv[2])
writer, at = Writer(Store(folder), now=lambda: 0.0), 0
writer.begin("telemetry", 0, "one", 0)
while at < rows:
    values = [encode(Telemetry(id=f"r{i}", time=1.7e9 + i / 10, account=f"a{i % 997}", tokens_in=i % 4001, model="m"))
              for i in range(at, at + 4096)]
    writer.take("telemetry", 0, values, np.arange(at, at + 4096), np.zeros(4096, np.int64))
    at += 4096
    if writer.waiting >= 16384:
        writer.close()
writer.close()
assert sum(len(batch.requests) for batch in Archive(folder).batches()) == at
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", _MEASURE, str(tmp_path / str(rows)), str(rows)],
                capture_output=True, text=True, check=True, timeout=600,
            ).stdout
        )
        for rows in (65_536, 327_680)
    ]  # fmt: skip
    assert peaks[1] - peaks[0] < 60_000, "kilobytes more for five times the rows; those alone are 190,000 as records"


def test_manifests_are_plain_json(tmp_path: Path) -> None:
    written(Store(str(tmp_path)), [encode(record) for record in traffic()[:20]], 20)
    manifest = msgspec.json.decode((tmp_path / "_manifests" / f"{0:012d}.json").read_bytes())
    assert manifest["files"][0]["rows"] == 20
    assert {"release", "layout", "features", "cards"} <= manifest.keys()


def test_rewriting_takes_an_account_out_of_every_file_and_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    values = [encode(record) for record in traffic()[:600]]
    written(Store(str(tmp_path)), values, 150)
    before = Decoder().decode(values).requests
    gone = traffic()[0].account
    counted = rewrite(str(tmp_path), [gone], "a test", dry_run=True)
    assert bytes_of(Archive(str(tmp_path))) == before.tobytes(), "it is only counted"
    done = rewrite(str(tmp_path), [gone], "a test", now=time.time() + 7200)
    assert (counted.rows, counted.files) == (done.rows, done.files)
    mine = np.array([record.account == gone for record in traffic()[:600]])
    assert done.rows["telemetry"] == mine.sum() > 0
    archive = Archive(str(tmp_path))
    assert bytes_of(archive) == before[~mine].tobytes()
    assert set(archive.store.walk("telemetry")) == {file.path for file in archive.files("telemetry")}
    assert Writer(archive.store).positions["telemetry", 0].next == 600
    again = rewrite(str(tmp_path), [gone], "a test")
    assert (sum(again.rows.values()), again.files, again.left) == (0, 0, 0)


def test_rewriting_is_refused_when_an_archiver_wrote_a_step_after_the_archive_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, store = [encode(record) for record in traffic()[:200]], Store(str(tmp_path))
    written(store, values[:100], 100)

    class Late(Writer):
        def __init__(self, store: Store) -> None:
            written(store, values[100:], 100, first=100)
            super().__init__(store)

    monkeypatch.setattr("siphonwatch.streams.lab.archive.rewrite.Writer", Late)
    with pytest.raises(TakenError):
        rewrite(str(tmp_path), [traffic()[0].account], "a test")
    assert bytes_of(Archive(str(tmp_path))) == Decoder().decode(values).requests.tobytes()


def test_rewriting_that_was_killed_before_its_manifest_changed_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [encode(record) for record in traffic()[:100]]
    written(Store(str(tmp_path)), values, 100)

    def die(*_: object, **__: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(Writer, "commit", die)
    with pytest.raises(InterruptedError):
        rewrite(str(tmp_path), [traffic()[0].account], "a test")
    assert bytes_of(Archive(str(tmp_path))) == Decoder().decode(values).requests.tobytes()

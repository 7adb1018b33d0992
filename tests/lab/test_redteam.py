"""A log made ready for tricks, in bounded memory and in its order; labels that follow what an attacker sends."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import numpy as np
import pytest
from evasion_tools import CAMPAIGNS, NGINX, log
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.models.evaluate.data import Truth
from siphonwatch.streams.common.settings import Identity, Settings
from siphonwatch.streams.lab.evaluate.labels import read_labels
from siphonwatch.streams.lab.redteam.ground import EvasionError, Ground, prepare
from siphonwatch.streams.lab.redteam.play import IDLE, Tally, as_logged, plain, play, relabelled
from siphonwatch.streams.lab.redteam.records import AccessLine, Record
from siphonwatch.streams.lab.redteam.run import evade
from siphonwatch.streams.lab.redteam.spool import Line, Place, Sorter, merged, write
from siphonwatch.streams.lab.redteam.trick import Origin, Sent

SETTINGS = Settings(identity=Identity("a key of the tests", plain_ids=True))


def written(folder: Path, format: str = "litellm") -> tuple[Path, Truth, set[bytes]]:
    """The small log, its labels and the ids of its attack requests."""
    file, labels = folder / "log.ndjson", folder / "labels.csv"
    records = log(format)
    file.write_bytes(b"".join(record.encode() + b"\n" for record, _ in records))
    onset: dict[str, float] = {}
    for record, attack in records:
        if attack:
            onset.setdefault(record.account, record.time)
    with labels.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("account", "campaign", "archetype", "extracting", "attack_share", "onset", "variant", "pool"))
        for account in dict.fromkeys(record.account for record, _ in records):
            bad = account in CAMPAIGNS
            kind = CAMPAIGNS[account][0] if bad else "chat"
            rows.writerow(
                (account, CAMPAIGNS.get(account, ""), kind, int(bad), 0.5 if bad else 0, onset.get(account, ""), "", "")
            )
    return file, read_labels(labels), {record.id.encode() for record, attack in records if attack}


def ground(folder: Path, format: str = "litellm", *, named: bool = True) -> Ground:
    file, truth, ids = written(folder, format)
    return prepare([str(file)], truth, SETTINGS, folder, name="made", attack_ids=ids if named else None)


def lines(made: Ground) -> list[str]:
    return [msgspec.json.decode(raw)["id"] for raw in as_logged(made, SETTINGS) if isinstance(raw, bytes)]


@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 9), st.binary(max_size=9)), max_size=40), st.integers(1, 9))
def test_a_sorter_gives_back_every_line_in_order_however_few_it_holds(
    given_lines: list[tuple[float, int, bytes]], run: int
) -> None:
    every = [Line(Place(time, n), data.replace(b"\n", b" ")) for time, n, data in given_lines]
    sorter = Sorter(run)
    for line in every:
        sorter.take(line)
    assert list(sorter) == sorted(every)
    sorter.close()


def test_lines_of_a_file_and_others_become_one_log_by_place(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        for time in (1.0, 3.0):
            write(file, Line(Place(time, 0), b"file %d" % time))
    others = [Line(Place(1.0, 1), b"other 1"), Line(Place(2.0, 0), b"other 2")]
    assert list(merged(tmp_path / "a", others)) == [b"file 1", b"other 1", b"other 2", b"file 3"]


@pytest.mark.parametrize("format", ["litellm", "nginx"])
def test_a_log_that_is_parted_and_put_together_again_is_in_its_order(tmp_path: Path, format: str) -> None:
    made = ground(tmp_path, format)
    assert lines(made) == [record.id for record, _ in log(format)]
    assert made.survey.attacks == {"own": 20, "pure": 40, "one": 12, "two": 12}
    assert made.survey.members("B-pair") == ["one", "two"]


def test_without_ids_all_that_an_attack_account_sends_from_its_onset_on_is_the_attack(tmp_path: Path) -> None:
    made = ground(tmp_path, named=False)
    onset = dict(zip(made.truth.account, made.truth.onset.tolist(), strict=True))
    expected = [r.id for r, _ in log("litellm") if r.account in CAMPAIGNS and r.time >= onset[r.account]]
    assert [record.id for _, record in made.attacks()] == expected


def test_a_format_without_tricks_and_a_log_without_the_attack_are_refused(tmp_path: Path) -> None:
    file, truth, _ = written(tmp_path)
    with pytest.raises(EvasionError, match="no attack request is in the log"):
        prepare([str(file)], truth, SETTINGS, tmp_path, name="made", attack_ids={b"other"})
    file.write_text('{"id": "a", "time": 1.0, "account": "b"}\n')
    with pytest.raises(EvasionError, match=r"log\.ndjson is telemetry: --evasions rewrites"):
        prepare([str(file)], truth, SETTINGS, tmp_path, name="made")


def labels(made: Ground, sent: list[tuple[Record, Origin]]) -> Truth:
    tally = Tally()
    for record, origin in sent:
        tally.take(Sent(record, origin), record.time)
    return relabelled(made, tally)


def test_labels_follow_an_attack_to_new_accounts_and_leave_the_honest_as_they_are(tmp_path: Path) -> None:
    made = ground(tmp_path, "nginx")
    sent = []
    for _, record in made.attacks():
        origin = Origin(record.account, CAMPAIGNS[record.account], 0)
        if record.account in ("own", "pure"):
            record.account = f"{record.account}~1"
        sent.append((record, origin))
    truth = labels(made, sent)
    rows = {name: i for i, name in enumerate(truth.account)}
    assert "pure" not in rows, "it sends nothing any more"
    assert not truth.attack[rows["own"]] and truth.archetype[rows["own"]] == IDLE and not truth.campaign[rows["own"]]
    for name, campaign, n in (("own~1", "A-own", 20), ("pure~1", "A-pure", 40)):
        row = rows[name]
        times = [record.time for record, _ in sent if record.account == name]
        assert (truth.attack[row], truth.campaign[row], truth.archetype[row]) == (True, campaign, "A")
        assert (truth.onset[row], truth.share[row], len(times)) == (min(times), 1.0, n)
    before = {name: i for i, name in enumerate(made.truth.account)}
    for name in ("guest", "shop", "clinic", "lab"):
        for old, new in zip(made.truth, truth, strict=True):
            assert np.array_equal(old[before[name]], new[rows[name]], equal_nan=isinstance(new[rows[name]], float))


def test_the_plain_attack_is_what_costs_are_held_against_and_a_free_trick_costs_the_same(tmp_path: Path) -> None:
    made = ground(tmp_path)
    spent = plain(made)
    assert (spent.answers, spent.requests, spent.accounts) == (84, 84, 4)
    assert (spent.tokens_in, spent.tokens_out) == (84 * 40, 84 * 300)
    played = play(made, "jitter", SETTINGS, 1)
    assert played.effort == spent
    assert played.outcome.all.accounts == 4 and played.outcome.all.campaigns == 3 and played.outcome.honest == 4


def test_accounts_without_a_label_cost_and_are_in_no_figure(tmp_path: Path) -> None:
    made = ground(tmp_path)
    spent, played = plain(made), play(made, "poison", SETTINGS, 1)
    assert played.outcome.all.accounts == 4 and played.outcome.honest == 4
    assert played.effort.accounts == spent.accounts + 4
    assert played.effort.answers == spent.answers < played.effort.requests
    assert played.effort.days > spent.days + 14


def test_processes_side_by_side_give_what_one_gives(tmp_path: Path) -> None:
    made = ground(tmp_path)
    before = [play(made, "jitter", SETTINGS, 1).outcome]
    alone, together = (
        evade([made], before, ["split-2", "own-pace+jitter"], SETTINGS, seed=3, jobs=jobs) for jobs in (1, 2)
    )
    assert alone == together
    assert [one.name for one in alone] == ["split-2", "own-pace+jitter"]
    assert alone[0].cost.accounts > 1.0 and "honest request" in alone[1].says and "temperature" in alone[1].says


def test_a_record_keeps_its_account_where_the_settings_look_for_it() -> None:
    line = AccessLine({"api_key": "k", "msec": 1.0}, NGINX)
    line.account = "other"
    assert (line.account, line.tree["api_key"]) == ("other", "other")

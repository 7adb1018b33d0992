"""Two versions over one stream in one pass: each finds what it finds alone, and the page says what it is worth."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from eval_fakes import Log, write_log
from version_samples import changed

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.evaluate.compare import Comparison
from siphonwatch.models.learn.version import shipped
from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.backtest.version import NoVersion, load_version
from siphonwatch.streams.lab.offline import Offline
from siphonwatch.streams.lab.registry.store import Registry, write_files
from siphonwatch.streams.lab.replay import Replay

CARDS = Path(__file__).resolve().parents[2] / "models" / "detect" / "cards"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return write_log(tmp_path_factory.mktemp("backtest") / "log", seed=13)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped cards, but for extraction, which sees nothing more."""
    folder = tmp_path_factory.mktemp("versions") / "blind"
    folder.mkdir()
    for card in CARDS.glob("*.toml"):
        text = card.read_text()
        if card.name == "extraction.toml":
            text, changed = re.subn(r"^offset = .*$", "offset = -60.0", text, flags=re.M)
            assert changed == 1
        (folder / card.name).write_text(text)
    for support in CARDS.glob("*.safetensors"):
        shutil.copy(support, folder)
    return folder


def play(log: Log, a: str, b: str, folder: Path, *more: str) -> tuple[Comparison, Result]:
    out = folder / "out.json"
    done = CliRunner().invoke(
        cli, ["backtest", a, b, "--data", str(log.requests), "--labels", str(log.labels), "--json", str(out),
              "--replicates", "50", *more],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    raw = json.loads(out.read_bytes())
    return msgspec.convert(_without_nulls(raw), Comparison, strict=False), done


def _without_nulls(value: object) -> object:
    """JSON has no NaN: where there is no figure, msgspec writes null."""
    if isinstance(value, dict):
        return {
            k: (float("nan") if v is None and k not in ("hits", "of", "replay") else _without_nulls(v))
            for k, v in value.items()
        }
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def named(log: Log, version: str, partitions: int) -> set[str]:
    """Who is told of, by replay with a version's cards alone."""
    told: set[str] = set()
    with Offline(Settings(), partitions, cards=load_version(version, Settings()).detectors) as engines:
        replay = Replay(Settings(), engines, lambda f: told.update(f.accounts if f.kind != "close" else ()))
        replay.run(log.requests)
    return told


@pytest.mark.parametrize("partitions", [1, 3])
def test_both_versions_tell_of_whom_they_tell_alone(log: Log, blind: Path, tmp_path: Path, partitions: int) -> None:
    report, _ = play(log, "shipped", str(blind), tmp_path, "--partitions", str(partitions))
    a, b = named(log, "shipped", partitions), named(log, str(blind), partitions)
    with log.labels.open() as file:
        attack = {row["account"] for row in csv.DictReader(file) if row["extracting"] == "1"}
    own = report.loads[0]
    assert own.false_counts == (len(a - attack), len(b - attack))
    assert own.caught_counts[0] == len(a & attack) > own.caught_counts[1] == len(b & attack)
    assert {move.account for move in report.lost} == (a - b) & attack
    for move in report.lost:
        assert move.a.found and move.a.signals and move.a.says and not move.b.found and (move.b.held or move.b.pattern)
        assert move.requests >= 1


def test_a_version_against_itself_changes_nothing(log: Log, tmp_path: Path) -> None:
    report, done = play(log, "shipped", "shipped", tmp_path)
    own, matched = report.loads
    assert own.caught_counts[0] == own.caught_counts[1] and own.caught.difference.value == 0
    assert not (report.gained or report.lost or report.false_new or report.false_gone or report.unjudged_new)
    assert own.cases[0] == own.cases[1] and matched.cases[1] >= matched.cases[0] > 0
    assert matched.caught_counts[1] >= own.caught_counts[1] - 1
    assert done.output.splitlines()[1].startswith("Cost: ") and "minutes a day, the same" in done.output


def test_accounts_without_a_label_stay_unjudged_and_are_counted(log: Log, blind: Path, tmp_path: Path) -> None:
    with log.labels.open() as file:
        rows = list(csv.DictReader(file))
    whole, _ = play(log, "shipped", str(blind), tmp_path)
    lost = whole.lost[0].account
    kept = [row for row in rows if row["account"] != lost]
    labels = tmp_path / "some.csv"
    with labels.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(kept)
    some, _ = play(log._replace(labels=labels), "shipped", str(blind), tmp_path)
    assert (some.unjudged, some.attack) == (whole.unjudged + 1, whole.attack - 1)
    assert some.loads[0].unjudged == (whole.loads[0].unjudged[0] + 1, whole.loads[0].unjudged[1])
    assert not whole.unjudged_gone
    assert [(m.account, m.truth) for m in some.unjudged_gone] == [(lost, "unjudged")]


def test_the_page_answers_first_and_loads_nothing(log: Log, blind: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    report, done = play(log, "shipped", str(blind), tmp_path, "--html", str(page), "--minutes", "30", "--speed")
    text = page.read_text()
    assert report.answer[0].split(" ", 1)[1][:60] in text and "analyst minutes a day" in text
    assert "http" not in text.replace("http://www.w3.org", "") and "<script" not in text
    assert report.minutes_a_case == 30 and report.loads[0].minutes_a_day[0] == 30 * report.loads[0].cases_a_day[0]
    assert done.output.splitlines()[0].startswith(("Yes", "No", "In part", "Nothing")) and "30 minutes a case" in text
    assert report.speed and report.speed.replay and "alone, as replay" in done.output


def test_what_is_no_version_is_said(log: Log, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli, ["backtest", "shipped", "nowhere", "--data", str(log.requests), "--labels", str(log.labels)]
    )
    assert done.exit_code == 2 and "no version nowhere" in done.output
    with pytest.raises(NoVersion, match="no card over accounts"):
        load_version(str(tmp_path), Settings())
    (tmp_path / "one.toml").write_text("pattern = 3")
    with pytest.raises(NoVersion, match=r"one\.toml"):
        load_version(str(tmp_path), Settings())


def test_a_version_is_found_by_name_id_directory_and_registry(tmp_path: Path) -> None:
    installed = [detector.id for detector in patterns()]
    for name in ("shipped", shipped().id, str(CARDS)):
        assert [d.id for d in load_version(name, Settings()).detectors] == installed
    version, plain = changed(), Settings()
    write_files(str(tmp_path / "v"), version.files())
    kept = Registry(str(tmp_path / "r")).add(version.files())
    models = msgspec.structs.replace(plain.models, registry=str(tmp_path / "r"))
    settings = msgspec.structs.replace(plain, models=models)
    for found in (load_version(str(tmp_path / "v"), plain), load_version(kept.id, settings)):
        assert (found.name, len(found.detectors)) == (version.name, len(installed))
        assert [d.id for d in found.detectors] != installed
    with pytest.raises(NoVersion, match="is none of the registry"):
        load_version("nowhere", settings)

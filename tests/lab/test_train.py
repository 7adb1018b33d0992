"""`siphonwatch train` makes a version of labelled logs: what moved, what was held out, read back."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from siphonwatch.models.detect.card import read_card
from siphonwatch.models.engine.patterns import detectors, patterns
from siphonwatch.models.learn.version import read_version, shipped
from siphonwatch.streams.cli import cli
from siphonwatch.streams.cli.evaluate import offline
from siphonwatch.streams.cli.train import _collected
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.registry.store import read_files
from siphonwatch.streams.lab.scenario import Scenario, write
from siphonwatch.streams.lab.train.card_file import write_card

PRIOR = Path(str(files("siphonwatch.models.learn") / "priors" / "extraction.toml"))
"""What the fitted card of `extraction` came from."""


def train(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["train", *arguments])


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two small worlds of labelled traffic, of two seeds."""
    found = []
    for seed in (3, 4):
        out = tmp_path_factory.mktemp(f"seed-{seed}")
        write(out, Scenario(seed, 150, 2.0, kind="llm"))
        found.append(out)
    return found[0], found[1]


def given(world: Path, data: str = "--data", labels: str = "--labels") -> list[str]:
    return [data, str(world / "litellm.ndjson"), labels, str(world / "labels.csv")]


def test_a_version_comes_out_that_says_what_it_is_and_where_it_is_worse(
    worlds: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = worlds
    out = tmp_path / "ext-2"
    left_out = given(second, "--left-out", "--left-out-labels")
    result = train(
        "extraction", *given(first), *left_out, "--split", "campaign", "--folds", "2", "--verdicts", "20", "--wrong",
        "0.2", "--prior", str(PRIOR), "--out", str(out),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for said in (
        "## What moved", "## Held out", "## Data left out", "## Learning from verdicts", "Worse: ",
        "Honest hours beyond the null level", "| all: all attacks |", "| honest: chat |", "version ",
    ):  # fmt: skip
        assert said in result.stdout, result.stdout
    found = read_files(str(out))
    version = read_version(found)
    assert version.info.parent == shipped().id and version.name == "ext-2"
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in (version.info.data, version.info.lock))
    assert version.info.made_by.startswith("siphonwatch train extraction --data ")
    assert str(tmp_path) not in version.info.made_by and "/tmp" not in version.info.made_by
    card = {card.pattern: card for card in version.cards}["extraction"]
    assert "--prior priors/extraction.toml" in version.info.made_by
    assert card.about == read_card(PRIOR.read_bytes(), "prior").about
    assert card.fitted.by == version.info.made_by and card.fitted.on == first.name and not card.measured
    assert set(version.texts) == set(shipped().texts)
    assert found["plots/left-out.png"].startswith(b"\x89PNG")
    assert b"(plots/left-out.png)" in found["MODEL_CARD.md"] and b"## What moved" in found["MODEL_CARD.md"]
    assert "data_left_out_recall_at_1_percent" in version.info.metrics


def test_a_card_that_is_written_is_read_back_as_it_was() -> None:
    for detector in patterns():
        card = detector.card
        assert read_card(write_card(card), card.pattern) == card
    odd = msgspec.structs.replace(detectors()[0].card, title='a "title" with \\ and ü', about="two\nlines\t\x7f")
    assert read_card(write_card(odd), "odd") == odd


def test_an_archive_gives_the_account_hours_of_its_log(worlds: tuple[Path, Path], tmp_path: Path) -> None:
    log, archive = worlds[0] / "litellm.ndjson", tmp_path / "archive"
    made = CliRunner().invoke(cli, ["archive", "--from", str(log), "--to", str(archive), "--plain-ids"])
    assert made.exit_code == 0, made.output
    labels = worlds[0] / "labels.csv"
    (whole, again), _ = _collected([log, archive], [labels, labels], offline(Settings()), "extraction")
    assert whole.attack.any() and again._replace(source=whole.source).digest() == whole.digest()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "nothing is no pattern of single accounts: extraction"),
        (("extraction", "--split", "week"), "'week' is none of time, campaign, none"),
        (("extraction", "--verdicts", "few"), "'few' is no list of numbers"),
        (("extraction", "--verdicts", "20"), "--verdicts needs --left-out"),
        (("extraction", "--left-out", "{log}"), "one --left-out-labels for each --left-out"),
        (("scraping", "--prior", str(PRIOR)), "--prior extraction.toml is a card of extraction, not of scraping"),
        (("extraction", "--prior", "{log}"), "card log.ndjson: "),
    ],
)
def test_bad_usage_is_exit_code_2_and_named(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    log, labels = tmp_path / "log.ndjson", tmp_path / "labels.csv"
    log.touch()
    labels.touch()
    words = [word.format(log=log) for word in arguments]
    result = train(*words, "--data", str(log), "--labels", str(labels))
    assert result.exit_code == 2 and said in result.stderr, result.output


def test_labels_of_another_log_are_refused(worlds: tuple[Path, Path], tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("account,extracting\nsomeone,1\nanother,0\n")
    result = train("extraction", "--data", str(worlds[0] / "litellm.ndjson"), "--labels", str(labels))
    assert result.exit_code == 1 and "no account of the log has a label" in result.stderr, result.output

"""A pattern's name of an earlier version goes on to be read: in state, verdicts, allow entries, options and sinks."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from siphonwatch.models.detect import CardError
from siphonwatch.models.detect.registry import cards, current
from siphonwatch.models.evidence.cases import CaseBook
from siphonwatch.models.evidence.places import Place, assign
from siphonwatch.models.learn.ranker_features import Facts, features
from siphonwatch.models.learn.verdict_book import VerdictBook, Vote
from siphonwatch.streams.cli.alerts import command as alerts_command
from siphonwatch.streams.common.settings import Settings, SettingsError, Sink
from siphonwatch.streams.contracts.alert import decode, encode, to_alert
from siphonwatch.streams.deliver.make import check
from siphonwatch.streams.deliver.wanted import Filter
from siphonwatch.streams.worker.entries import Entry

FACTS = dict(
    first_seen=0.0, log_e=20.0, score=0.9, level=0.1, requests_seen=1, signals=[], counterfactual="", samples=[]
)


def old_alert() -> bytes:
    """An alert as a version sent it that knew `relay`."""
    found = CaseBook(1e-3, 9.0).record("a", "campaign", 5.0, **FACTS)
    return encode(to_alert(found)).replace(b'"campaign"', b'"relay"').replace(b"#campaign", b"#relay")


def test_no_name_is_of_two_patterns() -> None:
    names = list(itertools.chain.from_iterable((card.pattern, *card.formerly) for card in cards()))
    assert len(names) == len(set(names)) and {current(name) for name in names} == {card.pattern for card in cards()}


def test_an_open_case_of_the_state_goes_on_under_its_id_and_the_name_of_now() -> None:
    book, again = CaseBook(1e-3, 9.0), CaseBook(1e-3, 9.0)
    first = book.record("a", "campaign", 5.0, **FACTS)
    again.restore({"open": book.snapshot()["open"].replace(b"\xa8campaign", b"\xa5relay")})
    second = again.record("a", "campaign", 6.0, **FACTS)
    assert (second.case, second.kind, second.pattern) == (first.case, "update", "campaign")


def test_evidence_of_the_state_goes_on_where_only_the_name_is_another() -> None:
    places, changes, anew = assign([("campaign", "1")], [Place("relay", "1", 3)], 1)
    assert (places, changes, anew) == ([Place("campaign", "1", 3)], [], [])


def test_a_verdict_of_before_teaches_the_pattern_of_now() -> None:
    facts = Facts(
        pattern="relay", severity="low", log_e=7.0, alpha=1e-3, score=0.5, level=0.4, requests_seen=99, age_ms=3_600_000
    )
    assert features(facts) == features(msgspec.structs.replace(facts, pattern="campaign"))
    book = VerdictBook()
    book.take([Vote(case="0" * 16, account="a", decision="true-positive", facts=facts)])
    assert book.counts() == {("campaign", "true-positive"): 1}


@pytest.mark.parametrize("written", ["relay", "campaign"])
def test_an_allow_entry_and_a_sink_of_either_name_take_alerts_of_either(written: str) -> None:
    entry = Entry("000000000001", written, 2000.0, ("a",), "")
    wanted = Filter(patterns=[written])
    for told in ("relay", "campaign"):
        assert entry.covers(told, "f", ["a"]) and not entry.covers(told, "f", ["b"])
    assert not entry.covers("scraping", "f", ["a"])
    assert wanted.takes(decode(old_alert())) and wanted.takes(decode(old_alert().replace(b"relay", b"campaign")))
    assert not wanted.takes(decode(old_alert().replace(b'"relay"', b'"scraping"')))


def test_settings_of_a_sink_may_say_either_name_and_no_other() -> None:
    def settings(name: str) -> Settings:
        return Settings(sinks={"s": Sink(kind="alertmanager", url="https://x.example/", patterns=[name])})

    assert check(settings("relay")) and check(settings("campaign"))
    with pytest.raises(SettingsError, match="patterns has relays: there are "):
        check(settings("relays"))


def test_an_option_takes_either_name_and_says_those_of_now(tmp_path: Path) -> None:
    run = CliRunner().invoke(alerts_command, ["--pattern", "relays"])
    assert run.exit_code == 2 and "'campaign'" in run.output and "'relay'" not in run.output
    run = CliRunner().invoke(alerts_command, ["--pattern", "relay", "--by-rank", "--follow"])
    assert "--by-rank shows what is open now" in run.output, "the option itself was taken"


def test_two_cards_cannot_share_a_former_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from siphonwatch.models.detect import registry

    twice = [(card, f"{card.pattern}.toml") for card in cards()]
    other = msgspec.structs.replace(twice[0][0], pattern="other", formerly=("relay",))
    monkeypatch.setattr(registry, "_cards_of", lambda package: [*twice, (other, "other.toml")])
    with pytest.raises(CardError, match="are both of pattern relay"):
        registry.cards.__wrapped__()
    assert json.loads(old_alert())["data"]["unmapped"]["siphonwatch"]["pattern"] == "relay"

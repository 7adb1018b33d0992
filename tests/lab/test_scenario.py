"""The generated traffic is deterministic, ordered, labelled truthfully, and not separable by volume alone."""

from __future__ import annotations

import csv
import itertools
import json
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge.adapters import detect, make_adapter
from siphonwatch.streams.edge.sketch.sketcher import Sketcher
from siphonwatch.streams.lab.scenario import EPOCH, Event, Scenario, write
from siphonwatch.streams.lab.scenario.masking import SYNTAXES, Mask, canonical

FAMILIES = {
    "extraction": {
        "distil-100", "distil-100-sampling", "distil-50", "distil-50-chat", "distil-25", "distil-25-reasoning",
        "slow", "hydra",
    },
    "desensitisation": {"desensitised"},
    "scraping": {"scrape-ids", "scrape-ids-slow", "scrape-pages", "scrape-guess"},
}  # fmt: skip
ARCHETYPES = {
    "chat", "app", "etl", "evaluation", "proxy", "coding", "office", "ramp", "researcher",
    "mobile", "sync", "crawler", "monitor",
}  # fmt: skip


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return Scenario(seed=7, accounts=200, days=2.0)


@pytest.fixture(scope="module")
def events(scenario: Scenario) -> list[Event]:
    return list(scenario)


def account(event: Event) -> str:
    return event.record["account"] if event.format == "nginx" else event.record["metadata"]["user_api_key_org_id"]


def of(scenario: Scenario, events: list[Event], kind: str, *, attack: bool | None = None) -> list[Event]:
    names = {label.account for label in scenario.labels() if label.kind == kind}
    return [e for e in events if account(e) in names and (attack is None or bool(e.truth) == attack)]


def prompt(event: Event) -> str:
    return event.record["messages"][-1]["content"]


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "import hashlib, json; from siphonwatch.streams.lab.scenario import Scenario\n"
        "print(hashlib.sha256(json.dumps([e for e in Scenario(3, 25, 0.5)]).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True,
            cwd=Path(__file__).parents[2],
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(digests) == 1


def test_a_second_pass_gives_the_same_records() -> None:
    scenario = Scenario(3, 25, 0.5)
    assert list(scenario) == list(scenario)


def test_another_seed_gives_other_accounts_and_texts() -> None:
    one, two = Scenario(3, 25, 0.5), Scenario(4, 25, 0.5)
    assert not {label.account for label in one.labels()} & {label.account for label in two.labels()}


def test_records_come_by_event_time_within_the_span(scenario: Scenario, events: list[Event]) -> None:
    times = [e.time for e in events]
    assert times == sorted(times)
    assert EPOCH <= times[0] and times[-1] < scenario.end
    assert len(events) == len(scenario)


def test_every_request_has_an_id_of_its_own(events: list[Event]) -> None:
    ids = [e.record["id"] if e.format == "litellm" else e.record["request_id"] for e in events]
    assert len(set(ids)) == len(ids)


def test_every_family_and_archetype_is_there_at_the_smallest_useful_size(scenario: Scenario) -> None:
    kinds = defaultdict(set)
    for label in scenario.labels():
        kinds[label.pattern].add(label.kind)
    assert kinds[""] == ARCHETYPES
    assert {pattern: kinds[pattern] for pattern in FAMILIES} == FAMILIES


def test_labels_count_what_the_records_say(scenario: Scenario, events: list[Event]) -> None:
    requests = Counter(account(e) for e in events)
    bad = Counter(account(e) for e in events if e.truth)
    for label in scenario.labels():
        assert (label.requests, label.attack_requests) == (requests[label.account], bad[label.account])
        if label.pattern:
            first = next(e for e in events if e.truth and account(e) == label.account)
            assert (label.onset, label.pattern) == (first.time, first.truth)
        else:
            assert label.onset is None and not label.attack_requests


def test_volume_alone_does_not_separate_attack_from_honest(scenario: Scenario) -> None:
    honest = sorted((label.requests for label in scenario.labels() if not label.pattern), reverse=True)
    attack = [label.requests for label in scenario.labels() if label.pattern]
    assert sum(n > statistics.median(attack) for n in honest) >= 10
    assert honest[0] > max(attack)
    assert min(attack) < honest[len(honest) // 4]


@pytest.mark.parametrize(("kind", "share"), [("distil-100", 1.0), ("distil-50", 0.5), ("distil-25", 0.25)])
def test_an_operator_has_the_share_its_name_says(scenario: Scenario, kind: str, share: float) -> None:
    (label,) = [label for label in scenario.labels() if label.kind == kind]
    assert label.attack_requests / label.requests == pytest.approx(share, abs=0.04)


def test_an_honest_account_masks_from_its_first_request_and_an_attacker_only_from_its_onset(
    scenario: Scenario, events: list[Event]
) -> None:
    def masked(e: Event) -> bool:
        text = prompt(e)
        return any(sign in text for sign in ("<", "[", "{{", "***", "某")) or "answer the request" in text

    proxies = of(scenario, events, "proxy")
    typed = [e for e in proxies if masked(e)]
    assert {account(e) for e in typed}, "some proxies use a syntax that shows"
    for name in {account(e) for e in typed}:
        mine = [masked(e) for e in proxies if account(e) == name]
        assert mine[0] and all(mine)
    for event in of(scenario, events, "desensitised"):
        assert bool(event.truth) == ("answer the request" in prompt(event))


def test_desensitised_requests_carry_no_metadata_and_rotate_their_user_agent(
    scenario: Scenario, events: list[Event]
) -> None:
    for label in scenario.labels():
        if label.kind == "desensitised":
            mine = [e.record["metadata"] for e in events if e.truth and account(e) == label.account]
            assert all(m["user_api_key_end_user_id"] is None and not m["requester_custom_headers"] for m in mine)
            assert len({m["user_agent"] for m in mine}) >= 2
            prompts = [prompt(e) for e in events if e.truth and account(e) == label.account]
            assert all(text == canonical(text) for text in prompts)


def test_the_hydra_deals_one_list_over_many_accounts_that_share_a_client(
    scenario: Scenario, events: list[Event]
) -> None:
    hydra = of(scenario, events, "hydra")
    per_account = Counter(account(e) for e in hydra)
    assert len(per_account) >= 6
    assert max(per_account.values()) <= 26 * scenario.days * 1.3
    assert len({e.record["user_agent"] for e in hydra}) == 1


def test_an_evaluation_repeats_its_items_and_an_operator_does_not(scenario: Scenario, events: list[Event]) -> None:
    def repetition(kind: str) -> float:
        texts = [prompt(e) for e in of(scenario, events, kind) if e.record["status"] == "success"]
        return 1 - len(set(texts)) / len(texts)

    assert repetition("evaluation") > 0.5
    assert repetition("distil-100") < 0.1


def test_a_failed_request_is_sent_again_with_the_same_text(scenario: Scenario, events: list[Event]) -> None:
    failures = [(i, e) for i, e in enumerate(events) if e.format == "litellm" and e.record["status"] == "failure"]
    assert len(failures) > 20
    again = sum(
        any(
            later.format == "litellm"
            and account(later) == account(e)
            and later.record["messages"] == e.record["messages"]
            for later in events[i + 1 : i + 400]
        )
        for i, e in failures
    )
    assert again / len(failures) > 0.5
    assert {e.record["error_information"]["error_code"] for _, e in failures} <= {"429", "503"}


def test_scrapers_walk_ids_and_pages_and_guess_numbers_that_nobody_has(scenario: Scenario, events: list[Event]) -> None:
    def paths(kind: str) -> list[str]:
        return [e.record["request_uri"] for e in of(scenario, events, kind, attack=True) if e.record["status"] < 429]

    ids = [int(p.rpartition("/")[2]) for p in paths("scrape-ids")]
    assert all(0 < b - a <= 5 for a, b in itertools.pairwise(ids))
    pages = [int(p.split("page=")[1].split("&")[0]) for p in paths("scrape-pages")]
    assert sum(b == a + 1 for a, b in itertools.pairwise(pages)) > 0.95 * (len(pages) - 1)
    guesses = of(scenario, events, "scrape-guess")
    assert 0.5 < sum(e.record["status"] == 404 for e in guesses) / len(guesses) < 0.9
    for kind in ("sync", "crawler", "monitor"):
        honest = [e.record["request_uri"] for e in of(scenario, events, kind)]
        assert len(set(honest)) < 0.6 * len(honest)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_mask_hides_the_value_and_repeats_its_surrogate(syntax: str) -> None:
    mask = Mask(syntax, "salt")
    first = mask("P", "Ada Novak")
    assert "Ada" not in first and "Novak" not in first
    assert mask("P", "Ada Novak") == first


def test_an_unknown_masking_syntax_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown masking syntax 'rot13'; one of typed"):
        Mask("rot13")


@pytest.mark.parametrize(("accounts", "days"), [(19, 2.0), (100, 0.1)])
def test_a_scenario_too_small_for_its_families_is_refused(accounts: int, days: float) -> None:
    with pytest.raises(ValueError, match=r"at least 20 accounts and 0\.5 days"):
        Scenario(1, accounts, days)


def test_adapters_recognise_and_take_every_record_with_its_account_and_time() -> None:
    settings = load(
        {"SIPHONWATCH_IDENTITY_KEY": "a-key-for-this-test", "SIPHONWATCH_IDENTITY_PLAIN_IDS": "true"}
    ).settings
    identity = Identity.from_settings(settings)
    adapters = {f: make_adapter(f, settings, Sketcher(identity), identity) for f in ("litellm", "nginx")}
    for event in itertools.islice(Scenario(5, 25, 0.5), 0, None, 5):
        raw = json.dumps(event.record).encode()
        assert detect(raw + b"\n") == event.format
        (taken,) = adapters[event.format].records(raw)
        assert not isinstance(taken, Malformed), taken
        assert taken.account == account(event)
        assert taken.time == pytest.approx(event.time, abs=0.01)
        assert taken.kind == ("llm" if event.format == "litellm" else "rest")


def test_files_hold_every_record_and_label(tmp_path: Path) -> None:
    scenario = Scenario(5, 25, 0.5)
    written = write(tmp_path / "new" / "folder", scenario)
    llm = [json.loads(line) for line in written.litellm.read_text().splitlines()]
    rest = [json.loads(line) for line in written.nginx.read_text().splitlines()]
    assert written.records == len(llm) + len(rest) == len(scenario)
    assert llm == [e.record for e in scenario if e.format == "litellm"]
    with written.labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["account"] for row in rows} == {label.account for label in scenario.labels()}
    assert sum(int(row["n_requests"]) for row in rows) == written.records

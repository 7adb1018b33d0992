"""Every way of copying a REST API scores high, and every honest use that looks like one scores low."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable

import numpy as np
import pytest
from card_tools import Watch

from siphonwatch.models.account.request import Array, blank, names
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.patterns import detector
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.contracts.telemetry import Malformed, encode
from siphonwatch.streams.edge.adapters import make_adapter
from siphonwatch.streams.edge.sketch.sketcher import Sketcher
from siphonwatch.streams.lab.scenario import EPOCH, records, rest, rest_clients, rest_scrapers, rest_world
from siphonwatch.streams.lab.scenario.calls import DAY, Account, Call, Channel, Stream
from siphonwatch.streams.worker.decode import Decoder

CAUGHT, SPARED = 0.3, 0.1
"""Mean of an account's thirty highest scores."""
DAYS = 5.0


SCRAPING = detector("scraping")


def account(name: str) -> Account:
    r = random.Random(name)
    return Account(name, name, r, EPOCH, EPOCH + DAYS * DAY, 0.0, format="nginx")


def read(streams: list[Stream]) -> Array:
    """The requests of some accounts, through the adapter, by event time."""
    chosen = load(
        {"SIPHONWATCH_IDENTITY_KEY": "a-key-for-this-test", "SIPHONWATCH_IDENTITY_PLAIN_IDS": "true"}
    ).settings
    identity = Identity.from_settings(chosen)
    adapter = make_adapter("nginx", chosen, Sketcher(identity), identity)
    raw = []
    for time, place in sorted((t, i) for i, stream in enumerate(streams) for t in stream.times):
        stream = streams[place]
        record = records.nginx(stream.account.r, time, stream.account, stream.make(time))
        for taken in adapter.records(json.dumps(record).encode()):
            assert not isinstance(taken, Malformed)
            raw.append(encode(taken))
    return Decoder().decode(raw).requests


def watch(q: Array) -> tuple[Watch, np.ndarray, np.ndarray]:
    """The detector after some requests, each one's account, and each one's score."""
    detector = Watch("scraping")
    Scorer(ScorerConfig(), chosen=(detector,)).score(q, np.arange(len(q)))
    return detector, np.array(names(q["account"])), detector.scores


def levels(streams: list[Stream]) -> dict[str, float]:
    _, accounts, scores = watch(read(streams))
    return {name: float(np.sort(scores[accounts == name])[-30:].mean()) for name in np.unique(accounts).tolist()}


WAYS = [(way, "fast", 1.0) for way in rest_scrapers.WAYS] + [
    ("ids", pace, share) for pace in ("slow", "minute", "addresses", "keys") for share in (1.0, 0.5, 0.25)
] + [(way, "fast", 0.25) for way in ("ids", "ids-guessed", "pages", "cursors", "offsets")] + [
    (way, pace, share) for way in ("ids-random", "facets", "details") for pace, share in (("fast", 0.25), ("slow", 0.5))
]  # fmt: skip
LOOK_ALIKES: dict[str, tuple[Callable[[Account, int], Stream], int]] = {
    "app of one person": (rest.mobile, 300),
    "backend of an app": (rest_clients.backend, 2500),
    "shopper": (rest_clients.browsing, 600),
    "synchronisation": (rest_clients.syncing, 1500),
    "merchant that polls its items": (rest.sync, 1500),
    "dashboard": (rest_clients.dashboard, 3000),
    "health check": (rest.monitor, 1500),
    "nightly backup": (rest_clients.export, 450),
    "bookkeeper": (rest_clients.reporting, 1000),
    "subscriber to events": (rest_clients.following, 1200),
    "price comparison": (rest_clients.comparing, 2000),
    "client with a stale list": (rest_clients.broken, 800),
    "flaky connection": (rest_clients.retrying, 1200),
    "integration tests": (rest_clients.testing, 300),
}


@pytest.fixture(scope="module")
def scrapers() -> dict[str, float]:
    made: list[Stream] = []
    for way, pace, share in WAYS:
        made += rest_world.scraping(account(f"{way}.{pace}.{share}"), way, pace, share, (EPOCH, EPOCH + DAYS * DAY))
    return levels(made)


@pytest.fixture(scope="module")
def honest() -> dict[str, float]:
    return levels([
        behave(account(f"{kind.replace(' ', '-')}.{copy}"), n) for kind, (behave, n) in LOOK_ALIKES.items()
        for copy in range(3)
    ])  # fmt: skip


@pytest.mark.parametrize(("way", "pace", "share"), WAYS)
def test_every_way_of_scraping_is_caught(scrapers: dict[str, float], way: str, pace: str, share: float) -> None:
    assert scrapers[f"{way}.{pace}.{share}"] > CAUGHT


@pytest.mark.parametrize("kind", LOOK_ALIKES)
def test_an_honest_look_alike_is_spared(honest: dict[str, float], kind: str) -> None:
    mine = {name: level for name, level in honest.items() if name.startswith(kind.replace(" ", "-"))}
    assert len(mine) == 3
    assert max(mine.values()) < SPARED, mine


def stream(name: str, paths: list[str], gap: float, status: int = 200) -> Stream:
    """Requests for some paths, one after the other."""
    via = Channel("key", [rest_scrapers.channel(account(name)).software[0]], ["198.18.0.1"], None)  # type: ignore[arg-type]
    rest_of = iter(paths)
    times = (EPOCH + gap * np.arange(len(paths))).tolist()
    return Stream(account(name), times, lambda t: Call(via, path=next(rest_of), status=status))


def test_a_retried_walk_counts_each_identifier_once() -> None:
    steady = stream("steady", [f"/v1/items/{i}" for i in range(500)], 2.0)
    flaky = stream("flaky", [f"/v1/items/{i // 4}" for i in range(500)], 2.0)
    found = levels([steady, flaky])
    assert found["steady"] > CAUGHT
    assert found["flaky"] < found["steady"] / 2


def test_going_over_the_same_records_every_night_is_no_scraping_from_the_second_night_on() -> None:
    night = [f"/v1/records/{i}" for i in range(120)]
    _, _, scores = watch(read([stream("backup", night * 10, 7200.0 / len(night))]))
    assert scores[-120:].max() < SPARED


def test_changes_since_then_are_one_resource_however_often_they_are_asked_for() -> None:
    polls = [f"/v1/orders?updated_since={1_767_571_200 + 60 * i}&limit=100" for i in range(900)]
    assert levels([stream("poll", polls, 60.0)])["poll"] == 0.0


def test_a_feed_of_three_pages_is_no_walk_and_a_fourth_begins_one() -> None:
    def feed(depth: int) -> list[str]:
        return [f"/v1/feed?user={i}&page={page}" for i in range(600 // depth) for page in range(1, depth + 1)]

    detector, accounts, _ = watch(read([stream("short", feed(3), 30.0), stream("long", feed(30), 30.0)]))
    share = detector.values["page_step_1d"]
    assert share[accounts == "short"].max() == 0.0
    assert share[accounts == "long"][-1] > 0.5


def test_two_walks_and_honest_use_between_them_do_not_hide_each_other() -> None:
    r = random.Random(5)
    paths = []
    for i in range(400):
        paths += [f"/v1/items/{1000 + i}", f"/v1/items/{900_000 - i}", f"/v1/items/{r.randrange(10**9)}"]
    detector, _, _ = watch(read([stream("mixed", paths, 5.0)]))
    assert detector.values["step_1h"][-1] > 0.6


def test_an_explanation_names_the_enumeration() -> None:
    detector, _, scores = watch(read([stream("walk", [f"/v1/items/{i}" for i in range(700)], 2.0)]))
    told = SCRAPING.explain(detector.values.values[scores.argmax()], SCRAPING.null)
    assert told.signals[0].name.startswith("step_")


def test_guesses_are_explained_by_what_was_not_found() -> None:
    r = random.Random(6)
    paths = [f"/v1/users/{r.randrange(10**8)}" for _ in range(500)]
    detector, _, scores = watch(read([stream("guess", paths, 40.0, 404)]))
    told = SCRAPING.explain(detector.values.values[scores.argmax()], SCRAPING.null)
    assert any(signal.name.startswith("not_found") for signal in told.signals)


def busy(name: str, paths: list[str], mean: float) -> Stream:
    """Requests that come as many people's do: each at any time, whatever the others."""
    made = stream(name, paths, 1.0)
    return dataclasses.replace(
        made, times=(EPOCH + np.random.default_rng(1).exponential(mean, len(paths)).cumsum()).tolist()
    )


def test_a_busy_client_that_fetches_each_new_thing_once_as_it_comes_is_spared_and_a_program_is_not() -> None:
    r = random.Random(7)
    paths = [f"/v1/deliveries/{r.getrandbits(96):024x}" for _ in range(4000)]
    found = levels([busy("consumer", paths, 1.0), stream("program", paths, 1.0)])
    assert found["program"] > CAUGHT
    assert found["consumer"] < found["program"] / 2


def test_rising_identifiers_are_followed_and_the_same_ones_in_disorder_are_copied() -> None:
    r = random.Random(8)
    numbers = [1_000_000 + 5000 * i + r.randrange(4000) for i in range(800)]
    found = []
    for name in ("rising", "disordered"):
        detector, _, _ = watch(read([stream(name, [f"/v1/orders/{n}" for n in numbers], 60.0)]))
        found.append(detector.values["trail_rising"][-1])
        r.shuffle(numbers)
    assert found[0] > 0.95
    assert 0.2 < found[1] < 0.8


def test_a_copy_beside_ordinary_use_is_new_and_even_on_its_own_trail() -> None:
    r = random.Random(9)
    use = busy("two", [f"/v1/items/{r.randrange(40)}" for _ in range(3000)], 20.0)
    copy = stream("two", [f"/v1/reports/{r.randrange(10**9)}" for _ in range(1000)], 60.0)
    detector, _, _ = watch(read([use, copy]))
    features = detector.values
    on_copy = features["trail_new"] > 0.9
    assert features["new_resource_7d"][-1] < 0.5
    assert on_copy[-200:].any()
    assert not on_copy[-200:].all()
    assert features["trail_spread"][-200:][on_copy[-200:]].max() < 0.4


def test_what_remembers_texts_in_an_account_that_uses_models_too_is_left_alone() -> None:
    rest_too = read([stream("both", [f"/v1/items/{i * 977}" for i in range(400)], 0.5)])
    text = np.repeat(blank(), 200)
    text["account"], text["account_hash"] = rest_too["account"][0], rest_too["account_hash"][0]
    text["template"], text["turns"], text["status"] = 5, 1, 200
    text["content"] = np.random.default_rng(3).integers(1, 2**63, 200).astype(np.uint64)
    text["time"] = EPOCH + np.arange(200)
    alone, both = Scorer(ScorerConfig()), Scorer(ScorerConfig())
    alone.score(text, np.arange(200))
    both.score(np.concatenate([text[:100], rest_too, text[100:]]), np.arange(600))
    kept = [s.table.rows[s.table.used()]["contents"][0] for s in (alone, both)]
    assert np.array_equal(*kept)

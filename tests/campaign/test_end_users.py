"""End users of one account that act together are one case of that account; a product's own users are none."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from core_fakes import dump_of, load_into
from relay_traffic import DAY, START, Traffic, by_name

from siphonwatch.models.account.request import Array, blank
from siphonwatch.models.campaign.edges import Spotter
from siphonwatch.models.campaign.inside import Inside, apart
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.erase import CAMPAIGNS, FINGERPRINTS, SUSPECTS
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.cases import ERASED, Finding
from siphonwatch.streams.common.settings import Scoring, Settings
from siphonwatch.streams.contracts.alert import to_alert
from siphonwatch.streams.worker.scoring import make_coordinator, make_scorer

PRODUCT = {"headers": 31, "agent": 32, "system": 33, "temperature": 0.7, "max_tokens": 1024, "model": 5}
DAYS = 3
CONFIG = ScorerConfig(end_users=True)


def platform(traffic: Traffic, name: str = "platform", users: int = 200) -> None:
    """People behind one product: their loads differ, they come in sittings, and talk."""
    rng = traffic.rng
    for user in range(users):
        n = rng.poisson(12 * DAYS * rng.lognormal(-0.7, 1.2))
        times = np.repeat(START + rng.uniform(0, DAYS * DAY, n), rng.geometric(0.25, n))[:n] + rng.uniform(0, 1200, n)
        turns = np.where(rng.random(n) < 0.6, 3, 1)
        traffic.send(name, times, subject=user + 1, user=1000 + user, turns=turns, **PRODUCT)


def pool(
    traffic: Traffic, users: int, per_day: float, name: str = "platform", *, first: int = 1, template: int = 77
) -> set[str]:
    """One list, dealt out over users of the product in one template."""
    times = START + np.sort(traffic.rng.uniform(0, DAYS * DAY, int(users * per_day * DAYS)))
    who = (np.arange(len(times)) % users + first).astype(np.uint64)
    traffic.send(name, times, user=who, template=template, **PRODUCT)
    return {f"{user:016x}" for user in np.unique(who).tolist()}


def feature(traffic: Traffic, template: int, users: range, per_day: float) -> None:
    """A part of the product that some users have, each as often as the others, at any hour: the hardest to tell."""
    for user in users:
        n = traffic.rng.poisson(per_day * DAYS)
        times = START + traffic.rng.uniform(0, DAYS * DAY, n)
        traffic.send("platform", times, user=user, template=template, **PRODUCT)


def sighted(requests: Array) -> tuple[Array, np.ndarray]:
    places = Spotter(end_users=True).pick(requests, np.zeros(len(requests), np.int64), requests["time"])
    return requests[places], places


def coordinate(requests: Array, restart: int = 0) -> list[Finding]:
    """What a coordinator finds; after `restart` sightings another one goes on from its state."""
    sightings, places = sighted(requests)
    coordinator = Coordinator(CONFIG)
    findings = coordinator.score(sightings[:restart], places[:restart])
    if restart:
        coordinator = resumed(coordinator, CONFIG)
    return findings + coordinator.score(sightings[restart:], places[restart:])


def resumed(old: Coordinator, config: ScorerConfig) -> Coordinator:
    """Another coordinator that goes on from the state of one."""
    pages = {page: rows for page, rows in old.table.take_dirty().items() if rows is not None}
    new = Coordinator(config)
    new.table.place(pages)
    new.table.settle()
    load_into(new, dump_of(old))
    return new


# ------------------------------------------------------------------------ found
@pytest.mark.parametrize(("users", "per_day"), [(6, 100), (15, 50), (50, 25)])
def test_a_pool_of_end_users_is_a_case_of_their_account_which_names_them(users: int, per_day: float) -> None:
    traffic = Traffic(3)
    platform(traffic)
    members = pool(traffic, users, per_day)
    findings = coordinate(traffic.requests())
    assert len({f.case for f in findings}) == 1
    assert {account for f in findings for account in f.accounts} == {"platform"}
    told = [part for f in findings for part in f.members]
    assert {part.account for part in told} == {"platform"}
    found = {part.user for part in told}
    assert found <= members and len(found) >= 0.9 * users
    own = to_alert(findings[0]).own
    assert own.shared[0].startswith("one account")
    assert {part.user for part in own.members} <= members
    carriers = {(part.kind, part.name) for part in own.carried_by}
    assert carriers and carriers <= {("user", member) for member in members}


def test_a_pool_is_found_beside_features_whose_users_use_the_product_too() -> None:
    traffic = Traffic(4)
    platform(traffic)
    for number in range(5):
        feature(traffic, 500 + number, range(1000 + 20 * number, 1020 + 20 * number), 4)
    members = pool(traffic, 15, 50)
    findings = coordinate(traffic.requests())
    assert len({f.case for f in findings}) == 1
    assert {part.user for f in findings for part in f.members} == members


def test_members_of_a_case_over_accounts_name_no_end_user() -> None:
    traffic = Traffic(5)
    traffic.hydra(30, 26, user=4)
    alert = to_alert(coordinate(traffic.requests())[0])
    assert len(alert.own.members) > 1 and not alert.own.carried_by
    assert all("user" not in part for part in msgspec.to_builtins(alert.own.members))


# -------------------------------------------------------------------- not found
@pytest.mark.parametrize("seed", [1, 2])
def test_people_who_use_one_product_are_no_group(seed: int) -> None:
    traffic = Traffic(seed)
    platform(traffic)
    assert coordinate(traffic.requests()) == []


def test_users_of_a_feature_who_use_the_rest_of_the_product_too_are_no_group() -> None:
    traffic = Traffic(6)
    platform(traffic)
    for number in range(5):
        feature(traffic, 500 + number, range(1000 + 20 * number, 1020 + 20 * number), 15)
    assert coordinate(traffic.requests()) == []


def test_a_product_whose_users_do_one_thing_each_has_no_group() -> None:
    traffic = Traffic(7)
    for number in range(8):
        feature(traffic, 500 + number, range(1000 + 20 * number, 1020 + 20 * number), 25)
    assert coordinate(traffic.requests()) == []


def test_a_template_that_most_of_an_account_s_users_have_is_the_product_s() -> None:
    traffic = Traffic(4)
    platform(traffic)
    pool(traffic, 200, 8, first=1000)
    assert coordinate(traffic.requests()) == []


def test_few_end_users_are_no_platform() -> None:
    traffic = Traffic(5)
    pool(traffic, 15, 50)
    assert coordinate(traffic.requests()) == []


def test_the_same_end_users_of_two_accounts_are_never_one_group() -> None:
    traffic = Traffic(6)
    for name in ("one", "other"):
        platform(traffic, name, users=100)
        pool(traffic, 15, 50, name)
    cases: dict[str, set[str]] = {}
    for f in coordinate(traffic.requests()):
        cases.setdefault(f.case, set()).update(f.accounts)
    assert sorted(map(sorted, cases.values())) == [["one"], ["other"]]


def test_the_more_a_group_is_like_its_product_s_users_the_less_counts() -> None:
    whole = {"alone": 1.0, "others": 0.0, "disparity": 1.02}
    assert apart(*(np.array([value]) for value in whole.values())) == [1.0]
    for name, value in (("alone", 0.7), ("others", 0.3), ("disparity", 1.4), ("alone", -1.0)):
        assert apart(*(np.array([x]) for x in (whole | {name: value}).values())) == [0.0]


# --------------------------------------------------------------------- settings
def test_end_users_are_looked_for_where_the_settings_say_so_alone() -> None:
    traffic = Traffic(3)
    platform(traffic)
    pool(traffic, 15, 50)
    requests = traffic.requests()
    for wanted in (False, True):
        settings = Settings(scoring=Scoring(end_users=wanted))
        scorer, coordinator = make_scorer(settings), make_coordinator(settings)
        offsets = np.arange(len(requests))
        scorer.score(requests.copy(), offsets)
        assert bool(coordinator.score(requests[scorer.sighted], offsets[scorer.sighted])) == wanted


def test_an_account_without_end_users_is_sighted_as_where_none_are_looked_for() -> None:
    requests = np.repeat(blank(), 400)
    requests["template"], requests["turns"], requests["max_tokens"] = 7, 1, 256
    requests["content"] = np.arange(400)
    slots, now = np.zeros(400, np.int64), np.zeros(400)
    picked = Spotter().pick(requests, slots, now)
    assert Spotter(end_users=True).pick(requests, slots, now).tolist() == picked.tolist()
    requests["user"] = np.arange(400) % 40 + 1
    assert Spotter().pick(requests, slots, now).tolist() == picked.tolist()
    assert len(Spotter(end_users=True).pick(requests, slots, now)) > 2 * len(picked)


# ------------------------------------------------------------------------ state
def test_what_is_known_of_end_users_is_part_of_the_state() -> None:
    traffic = Traffic(7)
    platform(traffic, users=100)
    pool(traffic, 15, 50)
    assert coordinate(traffic.requests(), restart=900) == coordinate(traffic.requests()) != []


def test_state_outlives_the_setting() -> None:
    traffic = Traffic(8)
    platform(traffic, users=60)
    pool(traffic, 10, 20)
    sightings, places = sighted(traffic.requests())
    looking = Coordinator(CONFIG)
    looking.score(sightings, places)
    off = resumed(looking, ScorerConfig())
    assert not any("inside" in name for name in off.snapshot())
    off.table.take_dirty()
    on = Coordinator(CONFIG)
    load_into(on, dump_of(off))
    assert any("inside" in name for name in on.snapshot())


def test_state_of_end_users_of_another_shape_is_refused() -> None:
    parts = Inside().snapshot()
    with pytest.raises(ValueError, match="written by another version"):
        Inside().restore({**parts, "accounts": np.zeros((1, 3), np.uint64)})


# ------------------------------------------------------------------------ erase
def test_with_an_account_its_end_users_are_forgotten() -> None:
    traffic = Traffic(3)
    for name in ("platform", "other"):
        platform(traffic, name, users=100)
        pool(traffic, 15, 50, name)
    sightings, places = sighted(traffic.requests())
    coordinator = Coordinator(CONFIG)
    assert coordinator.score(sightings, places)
    counted = coordinator.erase(["platform"], remove=False)
    assert min(counted.counts[place] for place in (FINGERPRINTS, CAMPAIGNS, SUSPECTS)) > 0
    cases = len(coordinator.cases)

    assert coordinator.erase(["platform"]).counts == counted.counts
    assert len(coordinator.cases) == cases, "the case closes in its time"
    assert not any(coordinator.erase(["platform"]).counts.values())
    name = by_name("platform")
    for part in coordinator.snapshot().values():
        if isinstance(part, bytes):
            assert b"platform" not in part
        elif part.dtype == np.uint64:
            assert not (part == name).any()
    assert not (coordinator.table.rows["account"] == name).any()
    end = Traffic()
    for late in range(12):
        end.send(f"late-{late}", [START + (DAYS + 4) * DAY], **PRODUCT)
    closed = coordinator.score(end.requests(), np.arange(12) + 10**9)
    assert sorted(f.accounts for f in closed) == [[ERASED], ["other"]]


def test_who_is_erased_and_comes_back_is_another() -> None:
    traffic = Traffic(3)
    platform(traffic, users=100)
    members = pool(traffic, 15, 50)
    sightings, places = sighted(traffic.requests())
    coordinator = Coordinator(CONFIG)
    half = len(places) // 2
    coordinator.score(sightings[:half], places[:half])
    coordinator.erase(["platform"])
    findings = coordinator.score(sightings[half:], places[half:])
    assert findings and {account for f in findings for account in f.accounts} <= {"platform", ERASED}
    assert {part.user for f in findings for part in f.members} <= members


def test_a_scorer_has_the_same_rows_whether_end_users_are_looked_for() -> None:
    traffic = Traffic(9)
    platform(traffic, users=40)
    requests = traffic.requests()
    one, other = Scorer(ScorerConfig()), Scorer(CONFIG)
    offsets = np.arange(len(requests))
    assert one.score(requests.copy(), offsets) == other.score(requests.copy(), offsets)
    assert one.table.rows.tobytes() == other.table.rows.tobytes()

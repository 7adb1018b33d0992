"""Public data through our stages: the adapters of `bench` on made-up data, bounds on the real sets where present."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from bench import drawn, generic, nab, oracle, sharing, weblogs
from bench.sharing import Share
from river import anomaly, preprocessing

from siphonwatch.models.learn.sample import Sample


def there(path: Path) -> Path:
    """The path, where the shared data is beside this checkout."""
    if not path.exists():
        pytest.skip(f"{path.name} is not at {path}: the shared data is not beside this checkout")
    return path


# ------------------------------------------------------------------- sharing
def lockstep(accounts: int, objects: int, apart: float) -> list[Share]:
    """Each object is shared by every account, one `apart` seconds after the other."""
    return [
        Share(1e9 + 7200.0 * o + apart * a, f"member-{a}", f"thing-{o}")
        for o in range(objects)
        for a in range(accounts)
    ]


def test_hand_overs_are_the_shares_within_a_minute_of_another_accounts() -> None:
    quick, slow = lockstep(5, 4, apart=20.0), lockstep(5, 4, apart=90.0)
    assert sharing.hand_overs(quick) == {f"member-{a}": 4 for a in range(1, 5)}
    assert sharing.coordinated(quick) == {f"member-{a}" for a in range(5)}
    assert not sharing.hand_overs(slow)
    assert not sharing.coordinated(slow)


def test_an_object_many_accounts_share_at_once_has_evidence_and_its_accounts_are_named() -> None:
    rng = np.random.default_rng(1)
    crowd = [
        Share(1e9 + float(t), f"person-{a}", f"other-{o}")
        for a, (t, o) in enumerate(zip(rng.uniform(0, 5e6, 400), rng.integers(0, 150, 400), strict=True))
    ]
    group = [share for share in lockstep(80, 1, apart=600.0)]
    outcome = sharing.run(crowd + group)
    assert max(outcome.evidence, key=outcome.evidence.__getitem__) == "thing-0"
    assert outcome.cases == 1
    assert set(outcome.named) <= {share.account for share in group}
    assert len(outcome.named) > 40
    assert max(outcome.shipped.values()) == 0.0  # who shares a thing once does not come back


def test_precision_takes_equal_ranks_together_and_is_unknown_where_the_ranking_ends() -> None:
    ranked = {"a": 3.0, "b": 2.0, "c": 2.0, "d": 1.0}
    assert sharing.precision(ranked, {"a", "c"}, "abcde") == [1.0, 1.0, 1.0, pytest.approx(2 / 3)]
    assert math.isnan(sharing.precision(ranked, {"a", "e"}, "abcde")[-1])


def test_accounts_that_coortweet_pairs_are_found_without_its_pairs() -> None:
    shares = sorted(sharing.active(sharing.coortweet(there(sharing.FOLDER / "coortweet").parent)))
    handed, truth = sharing.hand_overs(shares), sharing.coordinated(shares)
    found = truth & set(handed)
    assert len(found) / len(handed) > 0.99
    assert len(found) / len(truth) > 0.7


def test_repositories_with_a_campaign_rank_above_others_whose_stars_are_suspect_too() -> None:
    _, rows = sharing.measure_starscout(there(sharing.FOLDER / "starscout").parent)
    (_, ours), (_, stars) = rows
    assert ours[0] > 0.6  # one in ten would be by chance
    assert stars[0] > ours[0]  # the honest figure: their number says more than how close they come


# --------------------------------------------------------------- weblogs
def test_a_crawl_by_number_ranks_on_top_of_readers(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    lines = []
    for second in range(6000):
        clock = f"[17/May/2015:{10 + second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d} +0000]"
        if second % 5 == 0:
            lines.append(f'192.0.2.9 - - {clock} "GET /items/{1000 + second // 5} HTTP/1.1" 200 512 "-" "robot/1"')
        who, page = int(rng.integers(1, 60)), int(rng.zipf(1.5)) % 200
        lines.append(f'198.51.100.{who} - - {clock} "GET /pages/{page} HTTP/1.1" 200 512 "-" "reader/2"')
    log = tmp_path / "access.log"
    log.write_text("\n".join(lines))
    found = weblogs.survey(log)
    assert (found.ranked[0].account, found.ranked[0].card) == ("192.0.2.9", "scraping")
    assert found.ranked[0].reached > 1.0
    assert found.ranked[0].requests == 1200


def test_nobody_in_a_blogs_log_is_accused() -> None:
    found = weblogs.survey(there(weblogs.FOLDER / "elastic_apache_logs"))
    assert not found.opened
    assert len(found.ranked) == 1753
    assert max(one.reached for one in found.ranked) < 1.0  # of no card has anybody's score been evidence
    assert found.ranked[0].suspicion < 1.0


# ----------------------------------------------------------- estimators
@pytest.mark.parametrize("name", list(generic.SETS))
def test_our_half_space_trees_rank_adbench_as_rivers_do(name: str) -> None:
    X, labels = generic.load(name, there(generic.FOLDER / f"{generic.SETS[name]}.npz").parent)
    order = np.random.default_rng(1).permutation(len(X))[:12_000]
    rows, truth = X[order], labels[order]
    theirs = generic.one_by_one(preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1))(rows)
    assert generic.auc(truth, generic.scaled_trees(1)(rows)) > generic.auc(truth, theirs) - 0.02


def test_the_benchmarks_score_is_0_for_false_alarms_alone_and_near_100_for_the_first_row_of_each_window() -> None:
    series = nab.Series("made-up", np.zeros((1000, 3), np.float32), [(300, 349), (700, 799)])
    early, wrong, late = np.zeros((3, 1000))
    early[[300, 700]] = wrong[500:600] = late[[349, 799]] = 1.0
    assert nab.score([early], [series]) == pytest.approx(100.0, abs=0.5)
    assert nab.score([wrong], [series]) < 10.0
    assert 50.0 < nab.score([late], [series]) < 60.0


def test_features_of_a_series_never_look_ahead() -> None:
    values = np.random.default_rng(3).normal(size=200)
    assert nab.features(values)[:120].tobytes() == nab.features(values[:120]).tobytes()


def test_our_estimators_score_on_nab_as_rivers_do() -> None:
    corpus = nab.load(there(nab.FOLDER / "data").parent)
    chosen = [series for series in corpus if series.name.startswith("realKnownCause")]
    rows = {name: [nab.METHODS[name]()(series.rows) for series in chosen] for name in nab.METHODS}
    reached = {name: nab.score(scores, chosen) for name, scores in rows.items()}
    assert reached["our half-space trees"] == pytest.approx(reached["River HalfSpaceTrees"], abs=1e-6)
    assert reached["our online isolation forest"] > 0.0


# -------------------------------------------------------------------- oracle
def test_an_account_is_told_by_the_highest_mean_and_middle_of_its_hours() -> None:
    hours = np.array([[0.0], [2.0], [1.0], [np.nan]], np.float32)
    account, nobody = np.array([0, 0, 0, 1]), np.zeros(2, np.bool_)
    sample = Sample(hours, account, np.zeros(4), ["a", "b"], nobody, np.ones(2), ["a", "b"], ["", ""], ["", ""])
    assert oracle.whole(sample).tolist() == [[2.0, 1.0, 1.0], [0.0, 0.0, 0.0]]


def test_found_are_attackers_of_a_family_above_so_many_of_the_honest() -> None:
    scores, family = np.array([9.0, 4.0, 9.0, *np.linspace(0, 5, 200)]), ["A", "A", "D", *[""] * 200]
    assert [oracle.found(scores, family, "A", rate) for rate in (0.001, 0.5)] == [1, 2]
    assert oracle.found(scores, family, "E", 0.5) == 0


def test_an_oracle_needs_a_second_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        oracle.main(["here"])
    assert "two sets or more" in capsys.readouterr().err


# --------------------------------------------------------------------- drawn
def test_compositions_are_drawn_from_a_seed_and_ask_only_the_families_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text('{"benign": {"weights": {"chat": 0.8, "researcher": 0.2}}}')
    (tmp_path / "dev2.json").write_text(
        '{"benign": {"requests_per_week": {"chat": [8, 300]}}, "lookalikes": {"kinds": {"class": {"accounts": 120}}}}'
    )

    def made(seed: int) -> dict[str, object]:
        out = tmp_path / f"{seed}.json"
        assert drawn.main([str(seed), str(out), "--composer", str(tmp_path), "--families", "one", "two"]) == 0
        return dict(json.loads(out.read_text()))

    first, again, other = made(1), made(1), made(2)
    assert first == again
    assert first["campaigns"] != other["campaigns"]
    attacks = first["campaigns"]
    assert isinstance(attacks, list)
    assert {family for attack in attacks for family in attack["families"]} == {"one", "two"}
    assert {attack["type"] for attack in attacks} == set("ACDE")
    assert any("blend" in attack for attack in attacks)
    assert any("jitter" in attack for attack in attacks)
    with pytest.raises(SystemExit):
        drawn.main(["1", str(tmp_path / "x"), "--composer", str(tmp_path), "--families", drawn.BATCHES])

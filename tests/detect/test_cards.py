"""Every card keeps the promises of a card, the checks notice those that do not, and a card's id is what it computes."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from card_tools import as_toml, bound, card

from siphonwatch.models.account.features import FEATURES, INDEX, WIDTH
from siphonwatch.models.common.tensors import write_tensors
from siphonwatch.models.detect import Card, CardError, Detector
from siphonwatch.models.detect.card import read_card
from siphonwatch.models.detect.checks import BrokenPromise, card_checks, check_card
from siphonwatch.models.detect.registry import cards
from siphonwatch.models.detect.support import arrays_of, logit
from siphonwatch.models.engine.patterns import detectors, patterns

LEARNED = {"weight": 1.0, "learned": "steep", "low": 0.2, "high": 0.9}
ALL = [(detector, name, check) for detector in patterns() for name, check in card_checks(detector, seed=1)]


@pytest.mark.parametrize(("detector", "name", "check"), ALL, ids=[f"{d.pattern}-{name}" for d, name, _ in ALL])
def test_every_card_keeps_its_promises(detector: Detector, name: str, check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("detector", patterns(), ids=lambda d: d.pattern)
@pytest.mark.parametrize("seed", [2, 3])
def test_every_card_keeps_them_on_other_features(detector: Detector, seed: int) -> None:
    check_card(detector, seed=seed)


def test_the_check_passes_a_card_that_keeps_them() -> None:
    check_card(bound())


class Double(Detector):
    def score(self, values: np.ndarray) -> np.ndarray:
        return super().score(values).astype(np.float64)


class Large(Detector):
    def score(self, values: np.ndarray) -> np.ndarray:
        return super().score(values) * np.float32(2.0)


class Comparing(Detector):
    def score(self, values: np.ndarray) -> np.ndarray:
        scores = super().score(values)
        return scores / max(scores.max(), np.float32(1e-6))


class Counting(Detector):
    calls = 0

    def score(self, values: np.ndarray) -> np.ndarray:
        self.calls += 1
        return super().score(values) * np.float32(1.0 / self.calls)


class Curious(Detector):
    def score(self, values: np.ndarray) -> np.ndarray:
        return super().score(values) * (values[:, INDEX["idle"]] > 0.5)


class Backward(Detector):
    def score(self, values: np.ndarray) -> np.ndarray:
        return np.where(np.abs(values[:, INDEX["seen"]] - 3.0) < 0.5, np.float32(0.0), super().score(values))


class Boastful(Detector):
    def explain(self, here: np.ndarray, level: float) -> Any:
        return super().explain(here, level)._replace(counterfactual="would be no evidence with seen at or below 9")


class Unsorted(Detector):
    def explain(self, here: np.ndarray, level: float) -> Any:
        told = super().explain(here, level)
        return told._replace(signals=told.signals[::-1])


class Other(Detector):
    @property
    def id(self) -> str:
        return f"{super().id}-{id(self)}"


@pytest.mark.parametrize(
    ("broken", "promise"),
    [(Double, "float32"), (Large, r"outside \[0, 1\]"), (Comparing, "depends on the other rows"),
     (Counting, "again gives other"), (Curious, "does not need|ramps at their ends"), (Backward, "falls as seen"),
     (Boastful, "counterfactual .* applied"), (Unsorted, "not in order"), (Other, "another card")],
)  # fmt: skip
def test_the_checks_notice_a_broken_promise(broken: type[Detector], promise: str) -> None:
    with pytest.raises(BrokenPromise, match=promise):
        check_card(broken(card(), FEATURES))


def test_the_checks_notice_a_card_that_can_give_no_evidence() -> None:
    weak = bound(ways=[{"weight": 0.2, "of": ["idle"], "low": 0.0, "high": 1.0}])
    with pytest.raises(BrokenPromise, match="ramps at their ends"):
        check_card(weak)


@pytest.mark.parametrize(
    ("parts", "message"),
    [({"pattern": "Not a word"}, "not one lower-case word"), ({"title": " "}, "no title"), ({"atlas": []}, "atlas"),
     ({"atlas": ["T1005"]}, "T1005"), ({"null": 1.0}, r"not in \(0, 1\)"), ({"trust": 0.0}, "above 0"),
     ({"first": 1.5}, "first 1.5"), ({"span": 0.0}, "span 0.0"), ({"offset": 2.0}, "offset 2.0"),
     ({"gates": [], "supports": []}, "reads no feature"), ({"null_level": 0.3}, "null_level"),
     ({"gates": [{"of": ["seen"], "low": 1.0, "high": 1.0}]}, "does not rise"), ({"gates": [{"all": []}]}, "one ramp"),
     ({"gates": [{"of": ["seen"], "low": 0.0, "high": 1.0, "weight": -1.0}]}, "weight is above 0"),
     ({"ways": [{"any": [{"of": [], "low": 0.0, "high": 1.0}]}]}, "reads no feature")],
)  # fmt: skip
def test_what_is_no_card_is_refused_with_its_name_and_what_is_wrong(parts: dict[str, Any], message: str) -> None:
    whole = msgspec.to_builtins(card()) | parts
    with pytest.raises(CardError, match=rf"card acme/good\.toml: .*{message}"):
        read_card(as_toml(whole), "acme/good.toml")


@pytest.mark.parametrize(
    "raw", [b"", b"pattern = ", b"\xff", b"null = " + b"[" * 50_000, b"null = " + b"1" * 5000],
    ids=["empty", "broken", "bytes", "nested", "digits"],
)  # fmt: skip
def test_what_is_no_toml_or_empty_is_refused_with_its_name(raw: bytes) -> None:
    with pytest.raises(CardError, match=r"card here\.toml: "):
        read_card(raw, "here.toml")


def test_a_card_that_reads_an_unknown_feature_is_refused_with_its_name() -> None:
    with pytest.raises(CardError, match=r"card good reads features that no account has: no_such"):
        bound(gates=[{"of": ["no_such"], "low": 0.0, "high": 1.0}])


@pytest.mark.parametrize("values", [np.zeros((2, 3), np.float32), np.zeros((2, WIDTH)), np.zeros(WIDTH, np.float32)])
def test_features_of_another_shape_or_type_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match=rf"features of accounts are \(n, {WIDTH}\) float32"):
        bound().score(values)


def one(**values: float) -> np.ndarray:
    x = np.zeros((1, WIDTH), np.float32)
    for name, value in values.items():
        x[0, INDEX[name]] = value
    return x


def test_all_counts_the_product_and_any_the_greatest_of_its_ramps() -> None:
    ramps = [{"of": ["seen"], "low": 0.0, "high": 4.0}, {"of": ["age"], "low": 0.0, "high": 2.0}]
    x = one(seen=1.0, age=1.0)
    for how, expected in (("all", 0.125), ("any", 0.5)):
        assert bound(gates=[{how: ramps}], supports=[]).score(x) == expected
        assert bound(gates=[], supports=[{how: ramps, "weight": 7.0}]).score(x) == expected
        assert bound(gates=[], supports=[], ways=[{how: ramps, "weight": 0.5}]).score(x) == 0.5 * expected


def test_ways_count_the_strongest_first_and_then_all_together() -> None:
    ways = [{"of": ["seen"], "low": 0.0, "high": 4.0}, {"of": ["age"], "low": 0.0, "high": 2.0}]
    made = bound(gates=[], supports=[], ways=ways, first=0.75)
    assert made.score(one(seen=1.0, age=1.0)) == 0.75 * 0.5 + 0.25 * (0.25 + 0.5) / 2


def test_a_scorecard_adds_log_odds_up_from_its_offset() -> None:
    supports = [{"of": ["seen"], "low": 0.0, "high": 4.0, "weight": 3.0}]
    made = bound(gates=[], supports=supports, offset=-1.0, span=4.0)
    assert made.score(one(seen=1.0)) == 0.0
    assert made.score(one(seen=2.0)) == 0.125


def test_a_counterfactual_of_several_scales_names_those_that_must_change() -> None:
    x = one(sweep_1h=0.9, sweep_1d=0.95, seen=9.0, gap_spread_1h=0.0)[0]
    text = bound().explain(x, 0.3).counterfactual
    assert text.startswith("would be no evidence with sweep_1h and sweep_1d at or below 0.3")
    x[INDEX["sweep_1h"]] = 0.1
    assert "with sweep_1d at or below 0.3" in bound().explain(x, 0.3).counterfactual


def test_the_id_says_what_a_card_computes_and_nothing_else() -> None:
    known = bound()
    others = {"title": "Another title", "about": "Other words.", "owasp": ["API4:2023"], "pattern": "other"}
    assert bound(**others).id == known.id == Detector(card(), FEATURES).id
    changed = [
        bound(null=0.26), bound(trust=2.0), bound(gates=[{"of": ["sweep_1h", "sweep_1d"], "low": 0.2, "high": 0.81}]),
        bound(supports=[]), bound(ways=[{"of": ["seen"], "low": 0.0, "high": 4.0}]), bound(offset=-1.0, span=3.0),
        bound(supports=[{"of": ["seen"], "low": 1.0, "high": 4.0, "weight": 2.0}]),
        bound(gates=[{"of": ["sweep_1d", "sweep_1d"], "low": 0.2, "high": 0.8}]),
        bound(gates=[{"any": [{"of": ["sweep_1h", "sweep_1d"], "low": 0.2, "high": 0.8}]}]),
    ]  # fmt: skip
    ids = [detector.id for detector in changed]
    assert len({known.id, *ids}) == 1 + len(ids)


def test_the_id_changes_with_the_order_of_the_features_read_and_with_no_other_feature() -> None:
    known, read = bound(), {INDEX[name] for name in bound().needs}
    swapped = list(FEATURES)
    swapped[INDEX["seen"]], swapped[INDEX["sweep_1h"]] = swapped[INDEX["sweep_1h"]], swapped[INDEX["seen"]]
    assert Detector(card(), swapped).id != known.id
    kept = [feature for place, feature in enumerate(FEATURES) if place in read]
    assert Detector(card(), kept).id == known.id


def test_our_cards_say_where_their_numbers_come_from() -> None:
    for found in cards():
        assert len(found.fitted.on) > 10 and len(found.fitted.by) > 3
        for measured in found.measured:
            assert measured.figures and measured.on and measured.by


def test_accounts_cards_come_by_trust_and_null_level() -> None:
    order = ["extraction", "scraping", "desensitisation", "elicitation", "replay", "shift", "rarity"]
    assert [d.pattern for d in detectors()] == order
    assert [d.pattern for d in detectors("campaign")] == ["cleaning", "harvest", "swarm", "campaign"]


def distribution(room: Path, package: str, files: dict[str, str | bytes]) -> None:
    """A distribution, installed in `room`, whose one package holds cards."""
    (room / package).mkdir(parents=True)
    for name, held in files.items():
        (room / package / name).write_bytes(held if isinstance(held, bytes) else held.encode())
    info = room / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[siphonwatch.cards]\n{package} = {package}\n")


def found(room: Path) -> subprocess.CompletedProcess[str]:
    """The patterns that another process finds with `room` on its path, and the accounts' scores of zeros."""
    code = """
        import numpy as np
        from siphonwatch.models.account.features import WIDTH
        from siphonwatch.models.engine.patterns import patterns, detectors
        print([p.pattern for p in patterns()])
        print([float(d.score(np.zeros((1, WIDTH), np.float32))[0]) for d in detectors()])
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300,
        env={"PYTHONPATH": str(room), "PATH": ""}, check=False,
    )  # fmt: skip


def text(made: Card) -> str:
    return as_toml(msgspec.to_builtins(made))


def test_a_card_of_another_distribution_is_one_file_and_one_entry_point(tmp_path: Path) -> None:
    steep = write_tensors(arrays_of(np.array([INDEX["novelty"]]), weights=[2.0], base=[1.0]))
    seen = {"weight": 1.0, "of": ["seen"], "low": 1.0, "high": 4.0}
    good = text(card(trust=2.0, gates=[], supports=[seen, LEARNED]))
    distribution(tmp_path, "acme_cards", {"good.toml": good, "steep.safetensors": steep})
    run = found(tmp_path)
    assert run.returncode == 0, run.stderr
    expected = ["extraction", "good", *(d.pattern for d in detectors()[1:]), "cleaning", "harvest", "swarm", "campaign"]
    assert run.stdout.startswith(str(expected))
    scores = json.loads(run.stdout.splitlines()[1])
    assert scores[1] == pytest.approx((1.0 - logit(0.2)) / (logit(0.9) - logit(0.2)) / 2.0, abs=1e-4)


@pytest.mark.parametrize(
    ("files", "message"),
    [({"scraping.toml": text(card(pattern="scraping"))}, "scraping.toml are both of pattern scraping"),
     ({"good.toml": "pattern = 1"}, "card acme_cards/good.toml: "), ({}, "package acme_cards has no card"),
     ({"good.toml": text(card(gates=[{"of": ["nothing"], "low": 0.0, "high": 1.0}]))}, "no account has: nothing"),
     ({"good.toml": text(card(supports=[LEARNED]))}, "names the learned support steep, which is not there"),
     ({"good.toml": text(card(supports=[LEARNED])), "steep.safetensors": b"junk"}, "a learned support beside the")],
)  # fmt: skip
def test_a_card_of_another_distribution_that_is_none_is_named(tmp_path: Path, files: dict, message: str) -> None:
    distribution(tmp_path, "acme_cards", files)
    run = found(tmp_path)
    assert run.returncode == 1 and message in run.stderr.splitlines()[-1]


def test_the_package_of_card_files_hides_no_function() -> None:
    importlib.import_module("siphonwatch.models.detect.cards")
    assert callable(cards) and len(cards()) >= 6

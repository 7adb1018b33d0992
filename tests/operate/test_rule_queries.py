"""Rules ask only for metrics, labels and label values that exist: an alert on another one would never fire."""

from __future__ import annotations

import re

import pytest
from known_metrics import TARGET, known
from rule_files import ALERTS, FRESH_SECONDS, PROMETHEUS, RECORDINGS, RULES, load

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.streams.contracts.telemetry import REASONS
from siphonwatch.streams.deliver import metrics as deliverer
from siphonwatch.streams.desk.web.service import SKIPPED
from siphonwatch.streams.operate.provision.rules import Alert, Recording
from siphonwatch.streams.worker.gauges import PATTERN_TEXTS, TEXTS
from siphonwatch.streams.worker.metrics import FRESHNESS, STREAMS

VALUES = {
    "job": {job["job_name"] for job in load(PROMETHEUS / "prometheus.yml")["scrape_configs"]},
    "stream": set(STREAMS),
    "reason": {*REASONS, *SKIPPED},
    "outcome": set(deliverer.OUTCOMES),
    "le": {str(float(bound)) for bound in FRESHNESS},
    "pattern": {pattern.pattern for pattern in patterns()},
}
"""Values of labels that are fixed; of all labels the live queries tell whether a series is there."""
OPERATORS = {"and", "bool", "offset", "or", "unless"}
_LABELS = re.compile(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\(([^)]*)\)")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*+)(?!\s*\()(?:\{([^}]*)\})?")
"""A name that is no function's: no parenthesis follows."""


def recorded() -> dict[str, frozenset[str]]:
    """Labels that recorded series can have, by name: those they are added up by."""
    found = {}
    for recording in RECORDINGS:
        by = re.search(r"by \(([^)]*)\)", recording.expr)
        labels = by[1] if by else "job, namespace"
        found[recording.record] = frozenset(label.strip() for label in labels.split(","))
    return found


KNOWN = known() | recorded()
each_rule = pytest.mark.parametrize("rule", [*ALERTS, *RECORDINGS], ids=lambda r: getattr(r, "name", "") or r.record)


def selectors(expr: str) -> list[tuple[str, str]]:
    """Metric names of a query with their matchers."""
    bare = re.sub(r"#.*", "", expr)
    bare = re.sub(r"\[[^\]]*\]|\boffset\s+\w+", " ", _LABELS.sub(" ", bare))
    return [(name, inner) for name, inner in _SELECTOR.findall(bare) if name not in OPERATORS]


@each_rule
def test_a_rule_asks_for_series_and_labels_that_exist(rule: Alert | Recording) -> None:
    found = selectors(rule.expr)
    assert found
    for name, inner in found:
        assert name in KNOWN, f"{name} is neither exported nor recorded"
        for label, operator, value in _MATCHER.findall(inner):
            assert label in KNOWN[name] | TARGET, f"{name} has no label {label}"
            wanted = set(value.split("|")) if "~" in operator else {value}
            assert wanted <= VALUES.get(label, wanted), f"{label} is never {wanted - VALUES[label]}"
    labels = {label.strip() for group in _LABELS.findall(rule.expr) for label in group.split(",")}
    known = TARGET.union(*(KNOWN[name] for name, _ in found))
    assert labels <= known, f"no series here has {labels - known}"


@each_rule
def test_a_rule_speaks_of_streams_and_never_of_a_topic_s_name(rule: Alert | Recording) -> None:
    assert not [label for _, inner in selectors(rule.expr) for label, *_ in _MATCHER.findall(inner) if label == "topic"]


def test_a_query_is_taken_apart_whole() -> None:
    expr = 'sum by (job) (rate_of{a="x{y"}) and on (job) up{job=~"a|b"}[5m] offset 1d > 3  # seconds'
    assert [name for name, _ in selectors(expr)] == ["rate_of", "up"]


def test_freshness_has_a_bucket_for_its_objective() -> None:
    assert FRESH_SECONDS in FRESHNESS


def test_a_recording_is_defined_before_the_recordings_that_use_it() -> None:
    seen: set[str] = set()
    for recording in RECORDINGS:
        used = {name for name, _ in selectors(recording.expr) if ":" in name}
        assert used <= seen, f"{recording.record} uses {used - seen} before it is there"
        seen.add(recording.record)


def test_recordings_over_several_windows_are_one_query_with_another_window() -> None:
    forms: dict[str, set[str]] = {}
    for recording in RECORDINGS:
        if match := re.fullmatch(r"(.+?)(\d+[smhd])", recording.record):
            name, window = match.groups()
            forms.setdefault(name, set()).add(re.sub(rf"(?<!\d){window}\b", "WINDOW", recording.expr))
    assert len(forms) == 9
    assert {name: len(queries) for name, queries in forms.items() if len(queries) > 1} == {}


def test_every_recording_is_used_by_an_alert_or_another_recording() -> None:
    used = {name for rule in (*ALERTS, *RECORDINGS) for name, _ in selectors(rule.expr)}
    assert {recording.record for recording in RECORDINGS} <= used


def test_reasons_of_dead_letters_are_ours_or_of_who_wrote_the_record() -> None:
    theirs = {"encoding", "json", "origin", "size"}
    named = set(re.findall(r'reason=~"([^"]*)"', RULES.read_text()))
    assert [set(ours.split("|")) for ours in named] == [set(REASONS) - theirs]


def test_gauges_of_partitions_are_told_apart_from_those_by_pattern() -> None:
    partition = TARGET | {"stream", "topic", "partition"}
    assert all(KNOWN[f"siphonwatch_{name}"] == partition for name in TEXTS)
    assert all(KNOWN[f"siphonwatch_{name}"] == partition | {"pattern"} for name in PATTERN_TEXTS)

"""The tables say what an alert says of its case and show ids that can be pasted, whatever stands on the topic."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from alert_samples import START, alerts, findings
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from siphonwatch.streams.cli.alerts import Reader
from siphonwatch.streams.cli.table import ACCOUNT, alert_table
from siphonwatch.streams.cli.triage import TriageTable, in_order, judged, open_cases
from siphonwatch.streams.contracts.alert import encode, to_alert
from siphonwatch.streams.deliver.wanted import Filter

WIDTHS = (80, 200)


def drawn(table: object, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def tables(values: list[bytes]) -> tuple[Reader, str]:
    """All that the command prints of these records."""
    reader = Reader(Filter())
    chosen = reader.select(values)
    ranked = in_order(open_cases(chosen), judged([]))
    assert [json.loads(row.line())["rank"] for row in ranked] == [row.rank for row in ranked]
    shown = [alert_table([alert.event for alert in chosen]), TriageTable(ranked, START)]
    return reader, "".join(drawn(table, width) for table in shown for width in WIDTHS)


def paths(node: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in an alert."""
    yield above
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield from paths(node[key], (*above, key))


SAMPLE = msgspec.to_builtins(alerts(findings(1))[0])
PLACES = [path for path in paths(SAMPLE) if path]
HOSTILE = ["[/]", "[red]", "\x1b[2J", "9999-12-31T23:59:59Z", 10**400, -(10**400), 1e308, "x" * 10_000, "😀" * 30]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=30)
    | st.sampled_from(HOSTILE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON | st.just(...)), min_size=1, max_size=4))
def test_no_record_ends_the_tables(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    """Each is an alert with something else, or nothing, in some places."""
    alert = copy.deepcopy(SAMPLE)
    for path, value in changes:
        node: Any = alert
        try:
            for step in path[:-1]:
                node = node[step]
            if value is ...:
                del node[path[-1]]
            else:
                node[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    reader, text = tables([json.dumps(alert).encode(), json.dumps(SAMPLE).encode()])
    assert reader.unreadable <= 1
    assert "org-extraction-0" in text and "\x1b" not in text


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"\xff", b"null", b'{"a":' * 5000, b'"\\ud800"', b"1e999"])
def test_what_is_no_json_object_is_counted_and_left_out(value: bytes) -> None:
    reader, text = tables([value, json.dumps(SAMPLE).encode()])
    assert reader.unreadable == 1 and "org-extraction-0" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_row_says_whether_its_case_was_opened_updated_or_closed(width: int) -> None:
    opened = alerts(findings(1))[0]
    updated = msgspec.structs.replace(opened, type="siphonwatch.case.updated.v1")
    closed = msgspec.structs.replace(opened, type="siphonwatch.case.closed.v1")
    for alert, word in ((opened, "opened"), (updated, "updated"), (closed, "closed")):
        text = drawn(alert_table([alert]), width)
        assert word in text and not {"opened", "updated", "closed"} - {word} & set(text.split())


@pytest.mark.parametrize("name", ["a" * 64, "组织" * 20, "org [x] with\ttab " * 3])
def test_what_stands_for_an_account_selects_it_when_it_is_pasted(name: str) -> None:
    finding = findings(1)[0]
    finding.accounts[:] = [name, "other-1", "other-2"]
    value = encode(to_alert(finding))
    text = drawn(alert_table([to_alert(finding)]), 200)
    cell = next(line for line in text.splitlines() if "extraction" in line).split("│")[6]
    pasted = cell.strip().removesuffix(" +2").rstrip().replace("\N{REPLACEMENT CHARACTER}", "\t")
    assert 4 < len(pasted) <= ACCOUNT
    assert len(Reader(Filter(accounts=[pasted])).select([value])) == 1
    assert Reader(Filter(accounts=["nobody"])).select([value]) == []
    assert len(Reader(Filter(accounts=["other-2"])).select([value])) == 1


def test_ranked_cases_show_how_long_they_are_open() -> None:
    reader = Reader(Filter())
    ranked = in_order(open_cases(reader.select([encode(alert) for alert in alerts(findings(1))])), judged([]))
    for width in WIDTHS:
        assert "3 h" in drawn(TriageTable(ranked, START + 3 * 3600 + 5), width)

"""Differences are found where they are and nowhere else; routes of others keep their order."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.operate.provision.diff import LONGEST, Field, fields, show
from siphonwatch.streams.operate.provision.objects.contact import route, with_ours

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(min_size=1, max_size=5), JSON, max_size=5)
OTHERS = st.lists(
    st.fixed_dictionaries({"receiver": st.sampled_from(["pager", "mail"]), "n": st.integers()}), max_size=5
)


@given(JSON)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert list(fields(copy.deepcopy(value), value)) == []


@given(OBJECTS)
def test_a_key_of_grafana_is_no_difference_but_where_all_keys_are_ours(want: dict[str, Any]) -> None:
    have = want | {"added by Grafana": "x", "left empty": None}
    assert list(fields(have, want)) == []
    assert [field.path for field in fields(have, want, exact=("",))] == ["added by Grafana"]


@given(OBJECTS, st.integers())
def test_a_changed_leaf_is_the_one_that_is_named(want: dict[str, Any], value: int) -> None:
    have = {"outer": [want, {"name": "inner", "leaf": value}]}
    new = {"outer": [want, {"name": "inner", "leaf": value + 1}]}
    assert list(fields(have, new)) == [Field("outer[inner].leaf", str(value), str(value + 1))]


def test_what_is_not_set_and_what_is_empty_are_the_same() -> None:
    assert list(fields({"a": None, "b": "", "c": [], "d": {}, "e": False, "f": "0s"}, {})) == []
    assert list(fields({}, {"a": None, "b": "", "c": [], "d": {}, "e": False, "f": "0s"})) == []
    assert [f.path for f in fields({"a": 0, "b": False}, {"a": False, "b": 0})] == ["a", "b"]


def test_elements_that_are_missing_or_too_many_are_named() -> None:
    have, want = [{"title": "A"}, {"title": "B"}], [{"title": "A"}]
    assert [(f.path, f.new) for f in fields(have, want, path="panels")] == [("panels[B]", "")]
    assert [(f.path, f.old) for f in fields(want, have, path="panels")] == [("panels[B]", "")]


@given(st.text())
def test_what_is_shown_fits_a_line_and_is_no_order_to_a_terminal(text: str) -> None:
    assert len(show(text)) <= LONGEST
    assert show(text).isprintable()


@given(OTHERS, st.integers(0, 5))
def test_routes_of_others_keep_their_order(others: list[dict[str, Any]], place: int) -> None:
    new = with_ours(others, [route()])
    assert new == [route(), *others]
    moved = [*others[:place], route() | {"group_wait": "1s"}, *others[place:]]
    assert with_ours(moved, [route()]) == [*others[:place], route(), *others[place:]]
    assert with_ours(moved, []) == others

"""A backtest as sheets of cells, which a terminal and a page both show. It computes nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from siphonwatch.models.evaluate.bootstrap import Estimate
from siphonwatch.models.evaluate.compare import Comparison, Load, Move, Reason, Row
from siphonwatch.streams.contracts.alert import rfc3339
from siphonwatch.streams.lab.backtest.near import exp
from siphonwatch.streams.lab.evaluate.sheets import Sheet
from siphonwatch.streams.lab.evaluate.text import NONE

SHOWN = 40
"""Accounts of one kind of change that a table shows; the JSON has all."""


def summary(report: Comparison) -> Sheet:
    """Return the figures that decide, at both loads."""
    rows = []
    for load in report.loads:
        at = "as they are" if load.name == "own" else f"{report.b} at {report.a}'s alert load ({_moved(load.shift)})"
        attack, honest, campaigns = report.attack, report.honest, report.campaigns
        rows += [
            [at, "attack accounts caught", *_counts(load.caught_counts, attack), _points(load.caught.difference)],
            ["", "campaigns caught", *_counts(load.campaign_counts, campaigns), _points(load.campaigns.difference)],
            ["", "honest accounts alarmed", *_counts(load.false_counts, honest), _points(load.false_alarms.difference)],
            ["", "requests to detection, median where both catch", _number(load.requests.a), _number(load.requests.b),
             _difference(load.requests.difference)],
            ["", "cases a day", *(f"{x:.2f}" for x in load.cases_a_day), _plain(load.cases_a_day)],
            ["", "analyst minutes a day", *(f"{x:.1f}" for x in load.minutes_a_day), _plain(load.minutes_a_day)],
            ["", "accounts without a label alarmed", *(f"{x:,}" for x in load.unjudged), _plain(load.unjudged)],
        ]  # fmt: skip
    return Sheet("What changes", ["bars", "figure"], [report.a, report.b, "difference"], rows)


def groups(report: Comparison, load: Load, *, caught: bool) -> Sheet:
    """Return who is caught, or which honest accounts are alarmed, by group."""
    rows = load.caught_rows if caught else load.false_rows
    title = "Attack accounts caught" if caught else "Honest accounts alarmed"
    return Sheet(
        f"{title}, {'as they are' if load.name == 'own' else 'at matched alert load'}", ["by", "name"],
        ["accounts", report.a, report.b, "both", "difference"], [_row(row) for row in rows],
    )  # fmt: skip


def moves(report: Comparison) -> list[Sheet]:
    """Return the accounts that one version tells of and the other does not, each with both reasons."""
    kinds: Sequence[tuple[str, list[Move]]] = (
        (f"Gained: attacks that {report.b} catches and {report.a} misses", report.gained),
        (f"Lost: attacks that {report.a} catches and {report.b} misses", report.lost),
        (f"New false alarms: honest accounts that only {report.b} alarms", report.false_new),
        (f"False alarms gone: honest accounts that only {report.a} alarms", report.false_gone),
        (f"Without a label, alarmed by {report.b} only: to be judged", report.unjudged_new),
        (f"Without a label, alarmed by {report.a} only", report.unjudged_gone),
    )
    return [
        Sheet(
            title + (f" (the first {SHOWN} of {len(found):,})" if len(found) > SHOWN else ""),
            ["account", "kind", "campaign", "first alert", f"why {report.a}", f"why {report.b}"], ["requests"],
            [[m.account, m.kind or NONE, m.campaign or NONE, rfc3339(m.time)[:16] + "Z", reason(m.a), reason(m.b),
              _number(m.requests)] for m in found[:SHOWN]],
        )
        for title, found in kinds if found
    ]  # fmt: skip


def reason(why: Reason) -> str:
    """Return what a version says of an account, in words."""
    if why.found:
        says = f"; {why.says}" if why.says else ""
        return f"told: {why.pattern}, e-value {why.e_value:.2g}: {', '.join(why.signals)}{says}"
    nearest = f" ({why.pattern}, e-value {why.e_value:.2g} of {why.needed:.2g})" if why.pattern else ""
    return "; ".join([f"not told{nearest}", *why.held, *([why.says] if why.says else [])])


def subject(report: Comparison) -> str:
    """Return what was compared, in a sentence."""
    unseen = f"; {report.unseen:,} labels without a request" if report.unseen else ""
    return (
        f"{report.requests:,} requests of {report.accounts:,} accounts over {report.days:.1f} days: {report.attack:,} "
        f"attack accounts in {report.campaigns:,} campaigns, {report.honest:,} honest ones, {report.unjudged:,} "
        f"without a label and unjudged{unseen}"
    )


def footnote(report: Comparison) -> str:
    """Return what the figures rest on."""
    return (
        f"intervals: {report.level:.0%} of {report.replicates:,} paired bootstrap replicates over campaigns and honest "
        f"accounts, seed {report.seed}; {report.minutes_a_case:g} analyst minutes a case; at matched load "
        f"{report.b}'s bar is moved until it opens as many cases as {report.a}, where campaigns can only lose"
    )


def speed(report: Comparison) -> str:
    """Return how fast it was, in a sentence; empty where it was not measured."""
    if report.speed is None:
        return ""
    took = report.speed
    said = (
        f"judged twice in {took.seconds:.1f} s: {report.requests / max(took.seconds, 1e-9):,.0f} requests/s, "
        f"{report.requests / max(took.work, 1e-9):,.0f} a second of processor time"
    )
    if took.replay:
        said += (
            f"; {report.a} alone, as replay: {report.requests / took.replay:,.0f}; the second version adds "
            f"{took.work / took.replay - 1:.0%}"
        )
    return said


def _row(row: Row) -> list[str]:
    return [row.by, row.name, f"{row.of:,}", f"{row.a:,}", f"{row.b:,}", f"{row.both:,}", _points(row.difference)]


def _counts(counts: tuple[int, int], of: int) -> list[str]:
    return [f"{count:,} of {of:,}" for count in counts]


def _points(e: Estimate) -> str:
    """A difference of shares in percentage points."""
    if math.isnan(e.value):
        return NONE
    interval = "" if math.isnan(e.low) else f" [{100 * e.low:+.1f}, {100 * e.high:+.1f}]"
    return f"{100 * e.value:+.1f} points{interval}"


def _difference(e: Estimate) -> str:
    if math.isnan(e.value):
        return NONE
    return f"{e.value:+,.0f}" + ("" if math.isnan(e.low) else f" [{e.low:+,.0f}, {e.high:+,.0f}]")


def _plain(pair: Sequence[float]) -> str:
    return f"{pair[1] - pair[0]:+,.3g}"


def _number(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:,.0f}"


def _moved(shift: float) -> str:
    return f"bar {'raised' if shift > 0 else 'lowered'} {exp(abs(shift)):.3g}-fold"

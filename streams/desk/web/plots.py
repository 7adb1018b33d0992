"""The desk's pictures as inline SVG: requests by hour, a week at a glance, a signal in its cohort, a campaign's ties.
No style attribute and no script, so that the strictest policy shows them; colours come from the style sheet.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from markupsafe import Markup, escape

from siphonwatch.streams.deliver.text import clean, clip
from siphonwatch.streams.desk.views import CampaignPage, Hour, Near, Signal
from siphonwatch.streams.lab.evaluate.svg import Scale

HOUR, DAY = 3600.0, 86_400.0
MEMBERS = 40
"""Of a campaign's picture; the table has all."""


def _svg(width: float, height: float, title: str, parts: Sequence[str], css: str = "plot") -> Markup:
    return Markup(  # noqa: S704 - numbers, and names that were escaped
        f'<svg class="{css}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _when(seconds: float, form: str) -> str:
    return time.strftime(form, time.gmtime(seconds))


def timeline(hours: Sequence[Hour]) -> Markup:
    """Return requests by hour as bars, those that were refused within them."""
    if not hours:
        return Markup('<p class="soft">No requests in the index.</p>')
    width, height, left, right, top, bottom = 760.0, 190.0, 58.0, 8.0, 12.0, 24.0
    first, last = hours[0].time, hours[-1].time + HOUR
    span = max(last - first, 12 * HOUR)
    last = first + span
    most = max(max(h.requests for h in hours), 1)
    x = Scale(first, last, left, width - right)
    y = Scale(0.0, most * 1.05, height - bottom, top)
    parts: list[str] = []
    for tick in y.ticks():
        if tick == int(tick):
            parts.append(f'<line class="grid" x1="{left}" y1="{y(tick)}" x2="{width - right}" y2="{y(tick)}"/>')
            parts.append(f'<text x="{left - 6}" y="{y(tick) + 4}" text-anchor="end">{tick:,.0f}</text>')
    step, form = (DAY, "%d %b") if span > 2 * DAY else (6 * HOUR, "%d %b %H:00")
    step *= max(1, math.ceil(span / step / 8))
    at = math.ceil(first / step) * step
    while at < last:
        anchor = "middle" if left + 30 < x(at) < width - 40 else "start" if x(at) <= left + 30 else "end"
        parts.append(f'<line class="grid" x1="{x(at)}" y1="{top}" x2="{x(at)}" y2="{height - bottom}"/>')
        parts.append(f'<text x="{x(at)}" y="{height - 6}" text-anchor="{anchor}">{_when(at, form)}</text>')
        at += step
    wide = max(x(first + HOUR) - x(first) - 0.6, 0.8)
    for hour in hours:
        low = y(hour.requests)
        hint = f"{_when(hour.time, '%d %b %H:%M')}: {hour.requests:,} requests"
        hint += f", {hour.refused:,} refused" if hour.refused else ""
        parts.append(
            f'<rect class="bar" x="{x(hour.time)}" y="{low}" width="{wide:.2f}" height="{height - bottom - low:.2f}">'
            f"<title>{hint}</title></rect>"
        )
        if hour.refused:
            low = y(hour.refused)
            parts.append(
                f'<rect class="bad" x="{x(hour.time)}" y="{low}" width="{wide:.2f}" '
                f'height="{height - bottom - low:.2f}"/>'
            )
    total, refused = sum(h.requests for h in hours), sum(h.refused for h in hours)
    title = f"Requests by hour from {_when(first, '%d %b %H:%M')} UTC: {total:,}, of which {refused:,} were refused"
    return _svg(width, height, title, parts, "plot time")


def week(hours: Sequence[Hour]) -> Markup:
    """Return days against hours of the day; the darker, the more requests."""
    if not hours:
        return Markup('<p class="soft">No requests in the last seven days of its event time.</p>')
    left, top, cell, gap = 84.0, 20.0, 26.0, 2.0
    days = sorted({math.floor(h.time / DAY) for h in hours})
    days = list(range(max(days[0], days[-1] - 7), days[-1] + 1))
    most = max(h.requests for h in hours)
    by = {(math.floor(h.time / DAY), int(h.time % DAY // HOUR)): h for h in hours}
    parts = [
        f'<text x="{left + k * cell + cell / 2}" y="{top - 7}" text-anchor="middle">{k:02d}</text>'
        for k in range(0, 24, 3)
    ]
    for row, day in enumerate(days):
        y = top + row * cell
        parts.append(f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{_when(day * DAY, "%a %d %b")}</text>')
        for k in range(24):
            at = f'x="{left + k * cell}" y="{y}" width="{cell - gap}" height="{cell - gap}" rx="3"'
            parts.append(f'<rect class="empty" {at}/>')
            if hour := by.get((day, k)):
                strength = 0.15 + 0.85 * math.sqrt(hour.requests / most)
                css = "bad" if 2 * hour.refused > hour.requests else "bar"
                parts.append(
                    f'<rect class="{css}" fill-opacity="{strength:.2f}" '
                    f"{at}><title>{_when(hour.time, '%d %b %H:00')}: {hour.requests:,} requests, {hour.refused:,} "
                    "refused</title></rect>"
                )
    total = sum(h.requests for h in hours)
    title = f"Requests by day and hour (UTC): {total:,} in {len(hours)} hours, {most:,} in the busiest"
    return _svg(left + 24 * cell, top + len(days) * cell, title, parts, "plot week")


def strip(signal: Signal) -> Markup:
    """Return a signal's value over the quantiles of its cohort; nothing where those are not known."""
    typical = [q for q in signal.typical if math.isfinite(q)]
    if len(typical) != 5 or not math.isfinite(signal.observed):
        return Markup("")
    width, height, side = 180.0, 26.0, 8.0
    low, high = min(*typical, signal.observed), max(*typical, signal.observed)
    if high <= low:
        high = low + 1.0
    x = Scale(low, high, side, width - side)
    q05, q25, q50, q75, q95 = (x(value) for value in typical)
    parts = [
        f'<line class="whisker" x1="{q05}" y1="13" x2="{q95}" y2="13"/>',
        f'<rect class="box" x="{q25}" y="7" width="{max(q75 - q25, 1):.2f}" height="12" rx="2"/>',
        f'<line class="median" x1="{q50}" y1="6" x2="{q50}" y2="20"/>',
        f'<circle class="dot" cx="{x(signal.observed)}" cy="13" r="5"/>',
    ]
    title = f"{signal.observed:.3g}; the middle half of the cohort is between {typical[1]:.3g} and {typical[3]:.3g}"
    return _svg(width, height, title, parts, "strip")


def distance(near: Near) -> Markup:
    """Return how much of the evidence that a case needs is there."""
    width, height = 180.0, 14.0
    end = max(near.bar, near.log_e, 1e-9) if math.isfinite(max(near.bar, near.log_e)) else 1.0
    x = Scale(0.0, end, 1.0, width - 1.0)
    value = max(near.log_e, 0.0) if math.isfinite(near.log_e) else 0.0
    css = "bad" if near.log_e >= near.bar else "bar"
    parts = [
        f'<rect class="empty" x="1" y="3" width="{width - 2}" height="8" rx="4"/>',
        f'<rect class="{css}" x="1" y="3" width="{max(x(value) - 1, 0):.2f}" height="8" rx="4"/>',
        f'<line class="median" x1="{x(near.bar)}" y1="0" x2="{x(near.bar)}" y2="14"/>',
    ]
    return _svg(width, height, f"log evidence {near.log_e:.1f} of {near.bar:.1f}", parts, "strip")


def ties(page: CampaignPage) -> Markup:
    """Return members and what they share as two columns with a line for each tie."""
    members, prints = page.members[:MEMBERS], page.fingerprints
    if not members or not prints:
        return Markup("")
    rows, gap, top = max(len(members), len(prints)), 24.0, 16.0
    width, height, left, right = 860.0, top + rows * gap, 220.0, 500.0

    def place(i: int, of: int) -> float:
        return top + (i + 0.5) * (height - top) / of - gap / 4

    parts: list[str] = []
    for member, mark in page.ties:
        if member < len(members) and mark < len(prints):
            parts.append(
                f'<line class="tie s{mark % 6}" x1="{left}" y1="{place(member, len(members)):.1f}" x2="{right}" '
                f'y2="{place(mark, len(prints)):.1f}"/>'
            )
    for i, one in enumerate(members):
        y = place(i, len(members))
        css = "node gone" if one.left is not None else "node follows" if one.follows else "node"
        parts.append(f'<circle class="{css}" cx="{left}" cy="{y:.1f}" r="5"/>')
        name = clip(clean(one.name or one.account), 24)
        parts.append(f'<text x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>')
    for i, shared in enumerate(prints):
        y = place(i, len(prints))
        parts.append(f'<rect class="mark s{i % 6}" x="{right - 5}" y="{y - 5:.1f}" width="10" height="10" rx="2"/>')
        label = (
            f"{shared.kind} {clip(clean(shared.value), 16)}: {shared.share:.0%}, {shared.accounts:,} accounts in all"
        )
        parts.append(f'<text x="{right + 12}" y="{y + 4:.1f}">{escape(label)}</text>')
    title = f"{len(page.members)} members and what they share"
    return _svg(width, height + 6, title, parts, "plot ties")

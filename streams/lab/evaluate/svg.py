"""Small plots as inline SVG: axes, lines, steps, bars with whiskers. Colours come from the page's style sheet.

It knows numbers and coordinates, not what they mean; text is escaped.
Why not a library: matplotlib (3.11) is ten packages and 97 MB beside numpy, and writes colours into each SVG (16 KB
for three lines), so that a page which is light or dark needs every plot twice; Altair draws in the browser, by scripts
in the page, or by a renderer of its own beside Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 14, 46
BAR = 22
"""Pixels of one horizontal bar with its gap."""
SERIES = 8
"""Colours of the style sheet, `s0` to `s7`; lines beyond them take the colours again with another dash."""
DASHES = 4
"""Dashes of the style sheet, `d0` (none) to `d3`: with the colours 32 lines that differ."""


class Scale(NamedTuple):
    """Values to pixels: `low` at `start`, `high` at `end`, linear or logarithmic. Values outside are cut off."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        value = min(max(value, low), high)
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 2)

    def ticks(self) -> list[float]:
        """Return a handful of round values, from low to high."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**k for k in range(first, last + 1, max(1, (last - first) // 5))]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(m for m in (1, 2, 2.5, 5, 10) if (self.high - self.low) / (step * m) <= 6)
        first = math.ceil(self.low / step - 1e-9)
        return [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def percent(value: float) -> str:
    """Return a share as a percentage with no more digits than it needs."""
    return f"{value * 100:.4g}%"


def number(value: float) -> str:
    """Return a plain number, with thousands separated."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


class Plot:
    """One plot with two axes, drawn in the order of the calls.

    Parameters
    ----------
    title
        Read out in place of the picture.
    x, y
        (label, low, high, logarithmic) of the axes; `low` is above 0 and below `high` where logarithmic.
    shares
        Which of the axes, of "xy", are marked in percent.
    """

    def __init__(
        self, title: str, x: tuple[str, float, float, bool], y: tuple[str, float, float, bool], shares: str = "xy"
    ) -> None:
        self._title = title
        self.x = Scale(x[1], x[2], LEFT, WIDTH - RIGHT, x[3])
        self.y = Scale(y[1], y[2], HEIGHT - BOTTOM, TOP, y[3])
        self._parts: list[str] = []
        self._legend: list[tuple[str, str]] = []
        self._coloured = 0
        self._axes(x[0], y[0], percent if "x" in shares else number, percent if "y" in shares else number)

    def _axes(self, x: str, y: str, show_x: Callable[[float], str], show_y: Callable[[float], str]) -> None:
        left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
        for value in self.x.ticks():
            at = self.x(value)
            self._parts.append(f'<line class="grid" x1="{at}" y1="{top}" x2="{at}" y2="{bottom}"/>')
            self._text(at, bottom + 16, show_x(value), "middle")
        for value in self.y.ticks():
            at = self.y(value)
            self._parts.append(f'<line class="grid" x1="{left}" y1="{at}" x2="{right}" y2="{at}"/>')
            self._text(left - 8, at + 4, show_y(value), "end")
        self._text((left + right) / 2, HEIGHT - 8, x, "middle", "axis")
        middle = (top + bottom) / 2
        self._parts.append(
            f'<text class="axis" x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
            f"{escape(y)}</text>"
        )

    def _text(self, x: float, y: float, text: str, anchor: str, css: str = "tick") -> None:
        self._parts.append(f'<text class="{css}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')

    def line(self, name: str, xs: Sequence[float], ys: Sequence[float], *, step: bool = False, css: str = "") -> None:
        """Draw a line through the points, by steps where the value holds until the next x; `css` "" takes a colour."""
        if not css:
            rounds, colour = divmod(self._coloured, SERIES)
            css = f"s{colour} d{rounds % DASHES}" if rounds else f"s{colour}"
            self._coloured += 1
        points: list[tuple[float, float]] = []
        for x, y in ((self.x(x), self.y(y)) for x, y in zip(xs, ys, strict=True)):
            if step and points:
                points.append((x, points[-1][1]))
            points.append((x, y))
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(f'<polyline class="line {css}" points="{path}"><title>{escape(name)}</title></polyline>')
        self._legend.append((name, css))

    def dots(self, name: str, xs: Sequence[float], ys: Sequence[float], ranges: Sequence[tuple[float, float]]) -> None:
        """Draw points with whiskers from low to high, in the colour of the last line."""
        css = self._legend[-1][1] if self._legend else "s0"
        for x, y, (low, high) in zip(xs, ys, ranges, strict=True):
            at = self.x(x)
            if math.isfinite(low) and math.isfinite(high):
                self._parts.append(
                    f'<line class="whisker {css}" x1="{at}" y1="{self.y(low)}" x2="{at}" y2="{self.y(high)}"/>'
                )
            label = f"{name}: {number(x)}, {number(y)}"
            self._parts.append(
                f'<circle class="dot {css}" cx="{at}" cy="{self.y(y)}" r="3"><title>{escape(label)}</title></circle>'
            )

    def svg(self) -> str:
        """Return the picture, with its legend below it."""
        picture = _svg(WIDTH, HEIGHT, self._title, self._parts)
        keys = "".join(f'<span class="key {css}">{escape(name)}</span>' for name, css in self._legend)
        return f'{picture}<p class="legend">{keys}</p>' if len(self._legend) > 1 else picture


class Bar(NamedTuple):
    """One horizontal bar."""

    name: str
    value: float
    low: float
    high: float
    note: str = ""
    css: str = "s0"


def bars(
    title: str, rows: Sequence[Bar], *, high: float = 0.0, limit: float | None = None, label_width: int = 190
) -> str:
    """Return horizontal bars of shares, with whiskers; `high` is the axis' end, `limit` a line to stay left of."""
    reach = max([row.high for row in rows if math.isfinite(row.high)] + [row.value for row in rows] + [limit or 0.0])
    end = high or max(reach * 1.08, 1e-3)
    x = Scale(0.0, end, label_width, WIDTH - 64)
    bottom = TOP + BAR * len(rows)
    parts: list[str] = []
    for value in x.ticks():
        at = x(value)
        parts.append(f'<line class="grid" x1="{at}" y1="{TOP}" x2="{at}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{bottom + 16}" text-anchor="middle">{percent(value)}</text>')
    for i, row in enumerate(rows):
        y = TOP + BAR * i
        middle = y + BAR / 2
        length = round(x(row.value) - label_width, 2)
        hint = escape(
            f"{row.name}: {percent(row.value)}, {row.note}" if row.note else f"{row.name}: {percent(row.value)}"
        )
        parts.append(
            f'<text class="tick" x="{label_width - 8}" y="{middle + 4}" text-anchor="end">{escape(row.name)}</text>'
            f'<rect class="bar {row.css}" x="{label_width}" y="{y + 4}" width="{length}" height="{BAR - 8}" rx="2">'
            f"<title>{hint}</title></rect>"
        )
        if math.isfinite(row.low) and math.isfinite(row.high):
            parts.append(f'<line class="error" x1="{x(row.low)}" y1="{middle}" x2="{x(row.high)}" y2="{middle}"/>')
        parts.append(f'<text class="tick" x="{WIDTH - 4}" y="{middle + 4}" text-anchor="end">{escape(row.note)}</text>')
    if limit is not None:
        at = x(limit)
        parts.append(f'<line class="limit" x1="{at}" y1="{TOP}" x2="{at}" y2="{bottom}"/>')
    return _svg(WIDTH, bottom + 26, title, parts)


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )

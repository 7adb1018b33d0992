"""The page and its plots: well-formed, self-contained, escaped, with every figure where its scale says."""

from __future__ import annotations

import itertools
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from eval_fakes import observed
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from siphonwatch.models.evaluate.bootstrap import Estimate
from siphonwatch.models.evaluate.data import pool
from siphonwatch.models.evaluate.measure import evaluate
from siphonwatch.models.evaluate.report import Report
from siphonwatch.streams.lab.evaluate import svg, text
from siphonwatch.streams.lab.evaluate.page import NoTemplates, Page
from siphonwatch.streams.lab.evaluate.sheets import sheets
from siphonwatch.streams.lab.evaluate.svg import Bar, Plot, Scale, bars
from siphonwatch.streams.lab.evaluate.table import show

VOID = {"meta"}
STYLE = (Path(svg.__file__).parent / "page.css").read_text()


def page(report: Report) -> str:
    return Page().render(report)


class Checker(HTMLParser):
    """Every element that opens closes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report() -> Report:
    first, second = observed(1, name="<one> & two"), observed(2, name="other")
    sets = [s._replace(baselines={"volume <x>": np.arange(60.0)}) for s in (first, second)]
    return evaluate(
        sets, pool(sets), alpha=0.001, budget=0.1, replicates=40, seed=1, left_out=("C-1",), unlabelled=[0, 2]
    )


def test_the_page_is_well_formed_and_loads_nothing(report: Report) -> None:
    made = page(report)
    checker = Checker()
    checker.feed(made)
    assert checker.open == []
    assert not {tag for tag, _ in checker.seen} & {"script", "link", "img", "iframe", "object"}
    assert not [attrs for _, attrs in checker.seen if {"src", "href"} & set(attrs)]
    assert not re.search(r"https?:|url\(|@import", made)
    assert made == page(report)


def test_the_page_holds_every_plot_and_the_names_escaped(report: Report) -> None:
    made = page(report)
    for title in ("ROC", "Precision and recall", "Found after so many requests", "Honest accounts alerted",
                  "False discoveries", "Calibration", "Recall at 0.1% false positives", "volume &lt;"):  # fmt: skip
        assert title in made
    assert "&lt;one&gt; &amp; two" in made and "<one>" not in made
    assert "prefers-color-scheme:dark" in made
    pictures = re.findall(r"<svg.*?</svg>", made, re.S)
    assert len(pictures) == 8 + 1 + 3, "and one for all attacks and each of their types beside the baselines"
    assert made.count("<figcaption>") == made.count("<figure>") == len(pictures)
    for picture in pictures:
        ElementTree.fromstring(picture)  # noqa: S314 - of our own making
        assert "nan" not in picture and "inf" not in picture


def test_a_page_without_alerts_or_intervals_is_whole_too() -> None:
    data = observed(9)
    quiet = data._replace(alerts=data.alerts.where(np.zeros(60, bool)), opened=0, told=0, severity=[])
    made = page(evaluate([quiet], quiet, alpha=0.001, budget=0.1, replicates=0, seed=1, unlabelled=[0]))
    checker = Checker()
    checker.feed(made)
    assert checker.open == []
    for picture in re.findall(r"<svg.*?</svg>", made, re.S):
        assert "nan" not in picture and "inf" not in picture


def test_without_its_template_engine_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(NoTemplates, match=r"siphonwatch\[evaluate\]"):
        Page()


def test_the_terminal_shows_every_sheet(report: Report) -> None:
    console = Console(width=240, record=True, quiet=True)
    show(report, console)
    made = sheets(report)
    assert len(made) == 10
    for sheet in made:
        assert all(len(row) == len(sheet.names) + len(sheet.figures) for row in sheet.rows)
        assert all(isinstance(cell, str) for row in sheet.rows for cell in row)


@settings(deadline=None)
@given(st.floats(1e-6, 1e3), st.floats(1.5, 1e4), st.booleans(), st.lists(st.floats(1e-7, 1e8), min_size=2, max_size=5))
def test_a_scale_keeps_order_and_ends_and_its_ticks_inside(
    low: float, factor: float, log: bool, values: list[float]
) -> None:
    scale = Scale(low, low * factor, 10.0, 500.0, log)
    assert scale(low) == 10.0 and scale(low * factor) == 500.0
    placed = [scale(value) for value in sorted(values)]
    assert placed == sorted(placed)
    assert all(10.0 <= at <= 500.0 for at in placed)
    ticks = scale.ticks()
    assert all(low * 0.999 <= tick <= low * factor * 1.001 for tick in ticks)
    assert len(ticks) <= 12 and ticks == sorted(ticks)


def test_logarithmic_decades_are_equally_far_apart() -> None:
    scale = Scale(0.001, 1.0, 0.0, 300.0, log=True)
    assert [scale(value) for value in (0.001, 0.01, 0.1, 1.0)] == [0.0, 100.0, 200.0, 300.0]
    assert scale.ticks() == pytest.approx([0.001, 0.01, 0.1, 1.0])


def test_steps_hold_their_value_until_the_next() -> None:
    plot = Plot("p", ("x", 0.0, 1.0, False), ("y", 0.0, 1.0, False))
    plot.line("a<b", [0.0, 0.5, 1.0], [0.0, 0.5, 1.0], step=True)
    points = re.search(r'class="line s0" points="([^"]*)"', plot.svg())
    assert points
    xy = [tuple(map(float, pair.split(","))) for pair in points[1].split()]
    assert len(xy) == 5
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in itertools.pairwise(xy))
    assert "a&lt;b" in plot.svg()


def test_lines_of_one_plot_never_look_alike() -> None:
    plot = Plot("p", ("x", 0.0, 1.0, False), ("y", 0.0, 1.0, False))
    plot.line("promise", [0.0, 1.0], [0.0, 1.0], css="ideal")
    for name in range(20):
        plot.line(str(name), [0.0, 1.0], [0.0, 1.0])
    styles = re.findall(r'class="key ([^"]*)"', plot.svg())
    assert len(styles) == len(set(styles)) == 21
    for name in {word for style in styles for word in style.split()} - {"ideal"}:
        assert f".{name}" in STYLE, name


def test_bars_are_as_long_as_their_shares() -> None:
    drawn = bars("b", [Bar("half", 0.5, 0.4, 0.6, "5/10"), Bar("all", 1.0, math.nan, math.nan)], high=1.0, limit=0.1)
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', drawn)]
    assert widths[1] == pytest.approx(2 * widths[0])
    assert drawn.count('class="error"') == 1 and drawn.count('class="limit"') == 1 and "5/10" in drawn


def test_figures_read_as_people_write_them() -> None:
    assert text.share(Estimate(0.615, 0.42, 0.81, 16, 26)) == "61.5% [42.0, 81.0] 16/26"
    assert text.share(Estimate(0.5, math.nan, math.nan)) == "50.0%"
    assert text.area(Estimate(0.968, 0.945, 0.987)) == "0.968 [0.945, 0.987]"
    assert text.area(Estimate(0.9996, 0.9994, 0.9997)) == "1.000 [0.999, 1.000]", "rounded outward"
    assert text.count(Estimate(1234.4, 7.0, math.inf)) == "1,234 [7, ∞]"
    assert {text.share(e) for e in [Estimate(math.nan, 0, 0)]} == {text.NONE}

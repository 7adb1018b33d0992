"""The report of a training, as text, as a model card with plots, and as figures by name. It measures nothing."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from siphonwatch.models.detect import Card
from siphonwatch.models.evaluate.judged import Judged
from siphonwatch.models.learn.fit import Fit
from siphonwatch.models.learn.sample import Sample
from siphonwatch.streams.lab.train.card_file import listed

LEFT_OUT = "Data left out"
PLOT = "plots/left-out.png"
WORSE = 0.02
"""A share that is this much lower (of attacks) or higher (of honest accounts) is told as worse."""


class Part(NamedTuple):
    """What one way to hold data out says."""

    name: str
    accounts: int
    judged: Judged


class Learnt(NamedTuple):
    """Learning from few verdicts, on one data set that was left out."""

    source: str
    verdicts: int
    unsupervised: float
    """Precision at the top by the card before."""
    median: float
    """By the card after so many verdicts, over the seeds."""


class Family(NamedTuple):
    """A family of attacks by a learned support; shares above the threshold at 0.1 % and 1 % false alarms."""

    name: str
    accounts: int
    card: tuple[float, ...]
    """By the card before."""
    known: tuple[float, ...]
    """With the support, which has seen other campaigns of the family, where it has some."""
    unknown: tuple[float, ...]
    """With the support, fitted without the family."""
    alone: tuple[float, ...]
    """By that support alone, at hours at which the card's gates are open; empty where the others taught it nothing."""


class Trained(NamedTuple):
    """Everything that is told of a training."""

    before: Card
    fit: Fit
    data: list[str]
    """One line a data set."""
    digest: str
    """Sha256 of the account-hours and labels of all of them."""
    parts: list[Part]
    learnt: list[Learnt]
    command: str
    families: Sequence[Family] = ()
    """Of a learned support, each family that was left out once."""


def tell(trained: Trained) -> list[str]:
    """Return the report, line by line; Markdown tables that are read as text too."""
    fit = trained.fit
    lines = ["## What it was fitted on", "", *(f"- {line}" for line in trained.data), "", "## What moved", ""]
    if fit.moved or fit.told or fit.card.null != trained.before.null:
        lines += ["| what | before | after |", "|---|---:|---:|"]
        lines += [f"| {name} | {before:g} | {after:g} |" for name, before, after in fit.moved]
        lines += [f"| null level | {trained.before.null:g} | {fit.card.null:g} |"]
    else:
        lines.append("Nothing: the data do not say enough to leave the card.")
    if fit.told:
        lines += ["", f"## Learned support {', '.join(fit.supports)}", "", *fit.told]
    for part in trained.parts:
        lines += ["", f"## {part.name}", "", *_judged(part)]
    if trained.families:
        lines += ["", "## What the learned support makes of a family that it has not seen", ""]
        lines += ["Recall at 0.1 % / 1 % false alarms; known: fitted on other campaigns of the family.", ""]
        lines += ["| family | accounts | card | known | unknown | unknown, support alone |"]
        lines += ["|---|---:|---:|---:|---:|---:|"]
        for one in trained.families:
            by = (one.card, one.known, one.unknown, one.alone)
            shares = " | ".join(listed(share) or "taught it nothing" for share in by)
            lines.append(f"| {one.name} | {one.accounts:,} | {shares} |")
        worse = [one.name for one in trained.families if _is_worse("family", one.card, one.unknown)]
        lines += ["", f"Unknown, and worse than the card: {', '.join(worse) or 'none'}."]
    if trained.learnt:
        lines += ["", "## Learning from verdicts", "", "Precision at the top 50; a median over seeds.", ""]
        lines += ["| left out | verdicts | unsupervised | after |", "|---|---:|---:|---:|"]
        lines += [f"| {o.source} | {o.verdicts} | {o.unsupervised:.2f} | {o.median:.2f} |" for o in trained.learnt]
    return lines


def _judged(part: Part) -> list[str]:
    judged = part.judged
    low, high = judged.beyond
    lines = [
        f"{part.accounts:,} accounts; recall at 0.1 % / 1 % false alarms, of honest kinds the share above.",
        "",
        "| group | accounts | before | after |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {line.by}: {line.name} | {line.accounts:,} | {listed(line.before)} | {listed(line.after)} |"
        for line in judged.lines
    ]
    lines.append("")
    if judged.gained:
        gained = "; ".join(_gain(one.value, one.low, one.high) for one in judged.gained)
        lines.append(f"Gained: {gained} (95 %, campaigns and honest accounts drawn again).")
    lines.append(f"Honest hours beyond the null level: {low:.2%} before, {high:.2%} after; promised at most 5 %.")
    worse = [f"{line.by} {line.name}" for line in judged.lines if _is_worse(line.by, line.before, line.after)]
    lines.append(f"Worse: {', '.join(worse) or 'nowhere'}.")
    return lines


def _gain(value: float, low: float, high: float) -> str:
    if math.isnan(low):
        return f"{100 * value:+.1f} points, of too few campaigns for an interval"
    return f"{100 * value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"


def _is_worse(by: str, before: Sequence[float], after: Sequence[float]) -> bool:
    falls = [a - b for a, b in zip(after, before, strict=True)]
    return max(falls) > WORSE if by == "honest" else min(falls) < -WORSE


def metrics(trained: Trained) -> dict[str, float | str]:
    """Return the figures of a version."""
    found: dict[str, float | str] = {"credit_before": trained.fit.credit_before, "credit": trained.fit.credit}
    for part in trained.parts:
        line, name = part.judged.lines[0], part.name.lower().replace(" ", "_")
        for f, fpr in enumerate(("0_1", "1")):
            found[f"{name}_recall_at_{fpr}_percent_before"] = round(line.before[f], 4)
            found[f"{name}_recall_at_{fpr}_percent"] = round(line.after[f], 4)
        found[f"{name}_honest_hours_beyond_null"] = round(part.judged.beyond[1], 4)
    for one in trained.families:
        for f, fpr in enumerate(("0_1", "1")):
            for said, shares in (("card", one.card), ("known", one.known), ("unknown", one.unknown)):
                found[f"family_{one.name}_{said}_recall_at_{fpr}_percent"] = round(shares[f], 4)
    return found


def model_card(trained: Trained, name: str) -> bytes:
    """Return `MODEL_CARD.md`."""
    head = [
        f"# {name}: {trained.before.title} (`{trained.before.pattern}`)", "", f"Made by `{trained.command}`.", "",
        trained.before.about.strip(), "", "Scores of the card alone: evidence and campaigns come on top of them.", "",
        *(f"![{part.name}]({PLOT})\n" for part in trained.parts if part.name == LEFT_OUT),
    ]  # fmt: skip
    return ("\n".join([*head, *tell(trained)]) + "\n").encode()


def plot(part: Part, sample: Sample) -> bytes:
    """Return a PNG: recall over false alarms by both cards, and what honest and attack accounts score."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    roc, spread = figure.subplots(1, 2)
    for label, highest, style in zip(("before", "after"), part.judged.highest, ("--", "-"), strict=True):
        honest, attack = np.sort(highest[~sample.attack])[::-1], highest[sample.attack]
        recall = [(attack > threshold).mean() for threshold in honest]
        roc.plot(np.arange(len(honest)) / len(honest) + 1e-4, recall, style, label=label)
    roc.set(xscale="log", xlim=(5e-4, 1), ylim=(0, 1), xlabel="false alarms, share of honest accounts", ylabel="recall")
    roc.legend(loc="upper left")
    for label, members in (("honest", ~sample.attack), ("attack", sample.attack)):
        spread.hist(part.judged.highest[1][members], bins=40, range=(0, 1), histtype="step", density=True, label=label)
    spread.set(xlabel="highest score of an account, after", ylabel="density", yscale="log")
    spread.legend()
    figure.suptitle(part.name)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()

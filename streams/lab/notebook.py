"""The pieces of the loop, each as its command has it: `from siphonwatch.streams.lab import notebook as lab`.

What they return speaks Arrow's PyCapsule interface: `polars.DataFrame(x)`, `pyarrow.table(x)` and from that pandas, and
DuckDB's `register` take it as it is. Needs `siphonwatch[lab]`; nothing of it is imported before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siphonwatch.models.evaluate.compare import Comparison
    from siphonwatch.models.learn.version import Version
    from siphonwatch.streams.lab.archive.reader import Archive
    from siphonwatch.streams.lab.archive.rows import Rows
    from siphonwatch.streams.lab.dataset.features import Features
    from siphonwatch.streams.lab.dataset.logged import LoggedFeatures
    from siphonwatch.streams.lab.dataset.read import Dataset
    from siphonwatch.streams.lab.dataset.rows import At

Tell = Callable[[str], None]


def archive(url: str) -> Archive:
    """Open an archive, a folder or a URL.

    Raises
    ------
    siphonwatch.streams.lab.archive.store.StoreError
        Where none is there, or it cannot be read.
    """
    from siphonwatch.streams.lab.archive.reader import Archive

    return Archive(url)


def rows(url: str, kind: str, columns: Sequence[str] | None = None) -> Rows:
    """Return the rows of an archive's `telemetry`, `alerts`, `verdicts` or logged `features`; raises as `archive`."""
    from siphonwatch.streams.lab.archive.layout import KINDS
    from siphonwatch.streams.lab.archive.rows import Rows

    if kind not in KINDS:
        raise ValueError(f"an archive has {', '.join(KINDS)}, not {kind!r}")
    return Rows(archive(url), kind, columns)


def dataset(folder: Path | str) -> Dataset:
    """Open a data set: its `labels()`, its `requests()`, and `features` of it.

    Raises
    ------
    siphonwatch.streams.lab.dataset.layout.DatasetError
        Where none is there, it was changed, or the archive has not its files any more.
    """
    from siphonwatch.streams.lab.dataset.read import Dataset

    return Dataset(folder)


def features(dataset: Dataset, at: At | Sequence[At] = "alert", pattern: str = "", *, partitions: int = 1) -> Features:
    """Return features, scores and e-values of a data set, as `siphonwatch features` writes them; read once, made once.

    Raises
    ------
    siphonwatch.streams.lab.dataset.layout.DatasetError
        Where there is no such time or pattern.
    """
    from siphonwatch.streams.common.settings import load
    from siphonwatch.streams.lab.dataset.features import Features

    return Features(dataset, at, pattern, load().settings, partitions=partitions)


def logged(dataset: Dataset, at: At | Sequence[At] = "alert", pattern: str = "") -> LoggedFeatures:
    """Return features of a data set as workers logged them when they scored, with its labels and its split.

    Raises
    ------
    siphonwatch.streams.lab.dataset.layout.DatasetError
        Where there is no such time or pattern, or nothing was logged.
    """
    from siphonwatch.streams.lab.dataset.logged import LoggedFeatures

    return LoggedFeatures(dataset, at, pattern)


def version(name: str) -> Version:
    """Return a version of the detectors: `shipped`, one of the registry, or a directory.

    Raises
    ------
    siphonwatch.streams.lab.backtest.version.NoVersion
        Where there is none.
    """
    from siphonwatch.streams.common.settings import load
    from siphonwatch.streams.lab.backtest.version import find_version

    return find_version(name, load().settings)


def backtest(
    champion: str, challenger: str, data: Dataset, *, partitions: int = 1, minutes: float = 15.0, replicates: int = 1000
) -> Comparison:
    """Hold two versions against each other on a data set, see `siphonwatch backtest`.

    Parameters
    ----------
    champion, challenger
        As `version` takes them.
    minutes
        Of an analyst, a case.

    Raises
    ------
    siphonwatch.streams.lab.backtest.version.NoVersion
        Where there is no such version.
    siphonwatch.streams.lab.evaluate.labels.LabelsError
        Where no account of the data set has a label.
    """
    from siphonwatch.streams.common.settings import load
    from siphonwatch.streams.lab.backtest import run
    from siphonwatch.streams.lab.backtest.version import load_version

    settings = load().settings
    versions = load_version(champion, settings), load_version(challenger, settings)
    return run.backtest(
        versions, [str(data.folder)], run.known([], "", [data.truth()]), settings, partitions=partitions,
        minutes=minutes, replicates=replicates, seed=1,
    )  # fmt: skip


def plot_scores(features: Features, pattern: str) -> Any:
    """Return a matplotlib figure: how often a pattern's score is reached, by label, and its null level."""
    import matplotlib.figure
    import pyarrow as pa

    from siphonwatch.models.engine.patterns import detector

    table = features.reader().read_all()
    figure = matplotlib.figure.Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for label, colour in (("attack", "tab:red"), ("honest", "tab:blue"), (None, "tab:gray")):
        wanted = table["label"].to_numpy(zero_copy_only=False) == label
        scores = table[f"score_{pattern}"].filter(pa.array(wanted)).to_numpy()
        if len(scores):
            axes.ecdf(scores, complementary=True, color=colour, label=f"{label or 'no label'}, {len(scores):,} rows")
    axes.axvline(detector(pattern).null, color="black", linewidth=1, linestyle="--", label="null level")
    axes.set(xlim=(0, 1), xlabel=f"score of {pattern}", ylabel="rows with this score or more", yscale="log")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure

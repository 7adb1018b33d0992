"""A run takes note of everything and changes nothing: peaks, features and findings are those of a scorer left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from eval_fakes import Log, write_log

from siphonwatch.models.account.request import names
from siphonwatch.models.evaluate.ablation import combined
from siphonwatch.models.evidence.process import SEVERITIES
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.evaluate.labels import LabelsError, read_attack_requests, read_labels
from siphonwatch.streams.lab.evaluate.run import Run, observe
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.scoring import make_together


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return write_log(tmp_path_factory.mktemp("run") / "log", seed=13)


@pytest.fixture(scope="module")
def run(log: Log) -> Run:
    return observe(
        [str(log.requests)], read_labels(log.labels), Settings(), name="log",
        attack_ids=read_attack_requests(log.attack_requests),
    )  # fmt: skip


def test_suspicion_findings_and_peaks_are_those_of_a_scorer_fed_one_request_at_a_time(log: Log, run: Run) -> None:
    requests = Decoder().decode(log.requests.read_bytes().splitlines()).requests
    alone = make_together(Settings())
    place = {name: i for i, name in enumerate(run.observed.truth.account)}
    patterns = len(alone.scorer.patterns)
    peak = np.zeros((len(place), patterns))
    findings = []
    for k in range(len(requests)):
        findings += alone.score(requests[k : k + 1], np.array([k]))
        [slot] = alone.table.locate(requests[k : k + 1])
        row = alone.table.rows[slot]
        account = place[names(row["account"][None])[0]]
        peak[account] = np.maximum(peak[account], row["judged"]["evidence"]["log_e"][:patterns])
    data = run.observed
    assert (data.peak[:, :patterns] == peak).all() and peak.any()
    suspicion = alone.suspicion()
    assert data.score.tolist() == [suspicion[name] for name in data.truth.account]
    told = sorted((f.time, place[a], f.pattern) for f in findings if f.kind != "close" for a in f.accounts)
    columns = zip(data.alerts.time.tolist(), data.alerts.account.tolist(), data.alerts.pattern.tolist(), strict=True)
    assert sorted((time, account, data.patterns[p]) for time, account, p in columns) == told != []
    assert data.told == len(findings)
    graves: dict[str, str] = {}
    for f in findings:
        if f.kind != "close":
            graves[f.case] = max(graves.get(f.case, f.severity), f.severity, key=SEVERITIES.index)
    assert sorted(data.severity) == sorted(graves.values())
    named = data.patterns[patterns:]
    assert not data.own[patterns:].any() and data.own[:patterns].all()
    for p, pattern in enumerate(named, patterns):
        for account in range(len(place)):
            mine = [f.log_e for f in findings if f.pattern == pattern and data.truth.account[account] in f.accounts]
            assert data.peak[account, p] == max([0.0, *mine])


def test_all_patterns_together_rank_accounts_by_no_less_than_their_suspicion(run: Run) -> None:
    """More only where the highest score and the most evidence came at different requests."""
    data = run.observed
    ranked = combined(data.peak, data.top, data.weight, np.ones(len(data.patterns), bool))
    assert (ranked >= data.score - 1e-3).all()
    assert np.median(ranked - data.score) < 0.5 < data.score.max()


def test_requests_are_counted_to_the_accounts_and_attacks_that_the_labels_name(log: Log, run: Run) -> None:
    data = run.observed
    requests = Decoder().decode(log.requests.read_bytes().splitlines()).requests
    assert data.requests.time.tolist() == requests["time"].tolist()
    assert [data.truth.account[a] for a in data.requests.account.tolist()] == names(requests["account"])
    ids = read_attack_requests(log.attack_requests)
    assert data.requests.attack.tolist() == [i.encode() in ids for i in names(requests["id"])]
    assert data.days == pytest.approx((requests["time"].max() - requests["time"].min()) / 86_400)
    assert (run.unlabelled, run.unseen, run.rejected, run.budget) == (0, 0, 0, Settings().scoring.budget)


def test_what_cannot_be_read_is_counted(log: Log, tmp_path: Path) -> None:
    lines = log.requests.read_bytes().splitlines(keepends=True)
    (tmp_path / "t").write_bytes(b"".join(lines) + b'{"id":"x"}\nno json\n')
    again = observe([str(tmp_path / "t")], read_labels(log.labels), Settings(), name="log")
    assert again.rejected == 2
    assert not again.observed.knows_requests and not again.observed.requests.attack.any()


def test_a_log_cut_into_two_files_is_one_data_set(log: Log, run: Run, tmp_path: Path) -> None:
    lines = log.requests.read_bytes().splitlines(keepends=True)
    for name, part in (("a", lines[:777]), ("b", lines[777:])):
        (tmp_path / name).write_bytes(b"".join(part))
    files = [str(tmp_path / "a"), str(tmp_path / "b")]
    again = observe(files, read_labels(log.labels), Settings(), name="log").observed
    assert (again.peak == run.observed.peak).all() and (again.score == run.observed.score).all()
    assert (again.feature_mean == run.observed.feature_mean).all()


def test_a_log_of_attackers_alone_is_refused(log: Log, tmp_path: Path) -> None:
    truth = read_labels(log.labels)
    bad = {name for name, attack in zip(truth.account, truth.attack, strict=True) if attack}
    lines = log.requests.read_bytes().splitlines(keepends=True)
    accounts = names(Decoder().decode(lines).requests["account"])
    kept = (line for line, account in zip(lines, accounts, strict=True) if account in bad)
    (tmp_path / "t").write_bytes(b"".join(kept))
    with pytest.raises(LabelsError, match="no benign account is in the log"):
        observe([str(tmp_path / "t")], truth, Settings(), name="log", partial=True)

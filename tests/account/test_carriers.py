"""Who inside an account sends what is evidence is named, with a share that is never too high."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from core_fakes import START, chat, hashes, run, sweep

from siphonwatch.models.account.carriers import CARRIED, FADE, KINDS, LEAST, carriers, carry
from siphonwatch.models.account.request import DRAWN_SYSTEM, blank
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.streams.contracts.alert import decode, encode, to_alert

KEY = KINDS.index("key")


@kernel
def _carry_all(rows: npt.NDArray[np.void], requests: npt.NDArray[np.void], weights: npt.NDArray[np.float32]) -> None:
    for i in range(len(requests)):
        carry(rows[0], requests[i], weights[i])


def counted(keys: npt.NDArray[np.uint64], weights: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.void]:
    """A row that saw requests by these keys."""
    q = np.repeat(blank(), len(keys))
    q["key"] = keys
    rows = np.zeros(1, CARRIED)
    _carry_all(rows, q, np.ones(len(keys), np.float32) if weights is None else weights)
    return rows[0]


@pytest.mark.parametrize("seed", range(6))
def test_a_key_with_more_than_a_quarter_is_named_and_no_share_is_higher_than_it_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = hashes(rng, 30)
    shares = np.r_[0.5, 0.3, np.full(28, 0.2 / 28)]
    keys = rng.choice(names, 4000, p=shares)
    found = [part for part in carriers(counted(keys)) if part.kind == "key"]
    fade = (1.0 - float(FADE)) ** np.arange(len(keys))[::-1]
    true = {f"{name:016x}": float(fade[keys == name].sum() / fade.sum()) for name in names.tolist()}
    assert found[0].name == f"{names[0]:016x}"
    assert all(LEAST <= part.share <= true[part.name] + 0.02 for part in found)
    assert sum(part.share for part in found) <= 1.0 + 1e-6


def test_many_small_parts_are_none() -> None:
    assert carriers(counted(hashes(np.random.default_rng(1), 2000))) == []
    assert carriers(np.zeros(1, CARRIED)[0]) == []


def test_what_is_no_evidence_counts_for_nobody_and_what_is_more_counts_more() -> None:
    keys = np.array([7, 8] * 200, np.uint64)
    assert [part.name for part in carriers(counted(keys, np.tile(np.float32([0.0, 2.0]), 200)))] == [f"{8:016x}"]
    heavy = carriers(counted(keys, np.tile(np.float32([1.0, 9.0]), 200)))
    assert [part.name for part in heavy] == [f"{8:016x}"]


def test_a_part_that_is_not_named_has_no_share_and_a_drawn_system_prompt_is_no_part() -> None:
    q = np.repeat(blank(), 50)
    q["key"][:25], q["system"] = 5, DRAWN_SYSTEM
    rows = np.zeros(1, CARRIED)
    _carry_all(rows, q, np.ones(50, np.float32))
    found = carriers(rows[0])
    assert [(part.kind, part.name) for part in found] == [("key", f"{5:016x}")]
    assert found[0].share == pytest.approx(0.5, abs=0.05)


def test_an_alert_on_a_busy_account_names_the_key_and_the_client_of_the_job_that_distils() -> None:
    """Honest conversations by day and night, and beside them a sweep by one key of three."""
    honest = chat("a", START + np.arange(3000) * 180.0, 1)
    attack = sweep("a", START + np.arange(2000) * 270.0 + 7.0, 2)
    rng = np.random.default_rng(3)
    honest["key"], honest["agent"] = rng.choice(hashes(rng, 2), len(honest)), 77
    attack["key"], attack["agent"] = 0xABCDEF, 99
    q = np.concatenate([honest, attack])
    q = q[np.argsort(q["time"], kind="stable")]
    findings = [f for f in run(Scorer(ScorerConfig()), q) if f.pattern == "extraction"]
    assert findings, "the job is found"
    parts = {part.kind: part for part in reversed(findings[-1].carriers)}
    assert parts["key"].name == f"{0xABCDEF:016x}" and parts["key"].share > 0.75
    assert parts["agent"].name == f"{99:016x}"
    alert = to_alert(findings[-1])
    assert decode(encode(alert)) == alert
    assert [(c.kind, c.name, c.share) for c in alert.own.carried_by] == [tuple(c) for c in findings[-1].carriers]

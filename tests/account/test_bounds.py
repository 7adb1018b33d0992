"""What traffic could make grow without end stops growing: fingerprints, campaigns' accounts, open cases."""

from __future__ import annotations

import numpy as np
import pytest
from core_fakes import START, dump_of, requests

from siphonwatch.models.account.request import Array
from siphonwatch.models.account.row import ROW
from siphonwatch.models.account.table import AccountTable
from siphonwatch.models.engine import campaigns
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.engine import BLOCK
from siphonwatch.models.engine.vitals import Bound
from siphonwatch.models.evidence import cases
from siphonwatch.models.evidence.cases import CaseBook, Finding
from siphonwatch.streams.common.addresses import Addresses
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.worker.scoring import make_coordinator


def strangers(n: int, first: int = 0) -> Array:
    """Requests that share nothing: each has a client of its own."""
    q = requests("stranger", START + np.arange(first, first + n) / 10)
    q["template"], q["turns"], q["content"] = 1, 1, np.arange(first, first + n) + 1
    q["agent"], q["headers"], q["max_tokens"] = np.arange(first, first + n) + 1, 5, np.arange(first, first + n) + 7
    return q


def bound_of(scorer: Coordinator, name: str) -> Bound:
    return next(bound for bound in scorer.bounds() if bound.name == name)


def test_fingerprints_stay_within_their_setting_while_sightings_are_read() -> None:
    scorer = Coordinator(ScorerConfig(), most=3000)
    rows = len(scorer.table._room)
    for first in range(0, 20_000, 4000):
        scorer.score(strangers(4000, first), np.arange(first, first + 4000))
        assert len(scorer.table) <= 3000 + 2 * BLOCK
    assert len(scorer.table._room) == rows, "nothing beyond what was reserved"
    bound = bound_of(scorer, "fingerprints")
    assert (bound.used, bound.limit) == (len(scorer.table), 3000) and bound.dropped > 30_000
    newest = scorer.table.rows["last_time"][scorer.table.used()]
    assert newest.min() > START + 1800, "the longest idle went"


@pytest.mark.parametrize("cut", [1, 700, 20_000])
def test_which_fingerprints_go_depends_on_the_sightings_alone(cut: int) -> None:
    whole, parts = Coordinator(ScorerConfig(), most=1000), Coordinator(ScorerConfig(), most=1000)
    q = strangers(6000 if cut > 1 else 2500)
    whole.score(q, np.arange(len(q)))
    for start in range(0, len(q), cut):
        parts.score(q[start : start + cut], np.arange(start, min(start + cut, len(q))))
    assert dump_of(parts) == dump_of(whole)
    assert [set(c.table.rows["hash"][c.table.used()]) for c in (parts, whole)] == [
        set(whole.table.rows["hash"]) - {0}
    ] * 2


def test_the_setting_reaches_the_coordinator() -> None:
    settings = Settings()
    settings.state.fingerprints = 777
    assert bound_of(make_coordinator(settings), "fingerprints").limit == 777


def test_campaigns_together_remember_so_many_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "MEMBERS", 100)
    scorer = Coordinator(ScorerConfig())
    for edge in range(4):
        campaign = scorer.judge._watch(edge, 1, START, 1.0)
        assert campaign is not None
        for i in range(60 if edge else 5):
            campaign.add(f"a{i}", START + i)
        campaign.name()
    scorer.judge.tidy(False)
    bound = bound_of(scorer, "campaign_accounts")
    assert bound.used <= bound.limit == 100
    assert len(scorer.judge.kept.campaigns[0].members) == 5, "a small campaign keeps all"
    last = {f"a{i}" for i in range(52, 60)}
    assert set(scorer.judge.kept.campaigns[1].members) == last, "a large one those seen last"


def record(book: CaseBook, account: str, time: float) -> Finding:
    return book.record(
        account, "campaign", time, first_seen=0.0, log_e=20.0, score=0.9, level=0.1, requests_seen=1, signals=[],
        counterfactual="", samples=[],
    )  # fmt: skip


def test_open_cases_stay_within_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "MAX_OPEN", 10)
    book = CaseBook(1e-3, 1e6)
    for i in range(12):
        record(book, f"a{i}", 100.0 + i)
    record(book, "a2", 200.0)
    record(book, "a12", 201.0)
    closed = book.close_until(202.0)
    assert [(f.accounts[0], f.kind, f.time) for f in closed] == [
        ("a0", "close", 110.0), ("a1", "close", 111.0), ("a3", "close", 201.0),
    ]  # fmt: skip
    assert len(book) == 10 and book.crowded_out == 3
    assert book.close_until(203.0) == []


def test_evidence_without_end_does_not_lengthen_the_line() -> None:
    book = CaseBook(1e-3, 1e6)
    for i in range(20_000):
        record(book, f"a{i % 3}", float(i))
    assert len(book._due) < 3000
    assert {f.accounts[0] for f in book.close_until(3e6)} == {"a0", "a1", "a2"}


def test_a_reserved_table_grows_without_copying() -> None:
    table = AccountTable()
    table.reserve(10_000)
    rows = table.rows.base
    for first in range(0, 10_000, 1000):
        q = requests("x", np.zeros(1000))
        q["account_hash"] = q["account"][:, 0] = np.arange(first + 1, first + 1001)
        table.locate(q)
    assert table.rows.base is rows and len(table) == 10_000
    assert table.nbytes < 10_200 * (ROW.itemsize + 60)


def test_names_that_clients_choose_are_remembered_only_while_they_are_short() -> None:
    addresses = Addresses()
    for i in range(300):
        assert addresses.account(f"{i}" + "x" * 100_000)[-1] == "x"
        assert addresses.account(f"key-{i}") == f"key-{i}"
    assert addresses._cached_account.cache_info().currsize == 300

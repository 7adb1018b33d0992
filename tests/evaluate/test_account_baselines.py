"""The plain account baselines: counts, placeholders, and River's trees on days."""

from __future__ import annotations

import numpy as np
import pytest
from baseline_streams import stream, texts

from siphonwatch.models.account.request import MASKS
from siphonwatch.models.evaluate.baselines.account_trees import DailyTrees, aggregates
from siphonwatch.models.evaluate.baselines.placeholder import MARKED, PlaceholderShare
from siphonwatch.models.evaluate.baselines.volume import Volume


def test_volume_is_the_number_of_requests() -> None:
    requests, owners, n = stream([texts(7, 1), texts(0, 2), texts(3, 3)])
    assert Volume().score(requests, owners, n).tolist() == [7.0, 0.0, 3.0]


def test_the_placeholder_share_counts_requests_not_spans() -> None:
    requests, owners, n = stream([texts(4, 1), texts(4, 2)])
    own = np.flatnonzero(owners == 1)
    requests["masks"][own[0], 2] = 9
    requests["masks"][own[1], [0, 1]] = 1
    assert PlaceholderShare().score(requests, owners, n).tolist() == [0.0, 0.5]


@pytest.mark.skipif(MASKS == MARKED, reason="every syntax family leaves a marker")
def test_invented_names_are_no_placeholders() -> None:
    requests, owners, n = stream([texts(4, 1)])
    requests["masks"][:, MARKED:] = 3
    assert PlaceholderShare().score(requests, owners, n).tolist() == [0.0]


def test_a_day_unlike_all_others_ranks_its_account_first() -> None:
    requests, owners, n = stream([texts(60, i) for i in range(80)])
    requests["tokens_in"], requests["tokens_out"], requests["user"] = 300, 400, 1
    odd = owners == 33
    requests["tokens_in"][odd], requests["tokens_out"][odd], requests["user"][odd] = 9, 30_000, 0
    requests["status"][odd] = 500
    scores = DailyTrees().score(requests, owners, n)
    assert scores.argmax() == 33


def test_the_first_day_has_no_score() -> None:
    requests, owners, n = stream([texts(60, 1), texts(60, 2)])
    first = requests["time"] < requests["time"][0] + 86400
    owners = np.where(first, owners, 0)
    assert DailyTrees().score(requests, owners, n)[1] == 0.0


def test_aggregates_of_one_request_are_finite() -> None:
    requests, _, _ = stream([texts(1, 1)])
    assert all(np.isfinite(value) for value in aggregates(requests).values())

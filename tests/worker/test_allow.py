"""Accounts that the operator allows are known by name or by id, and a case needs all of its accounts allowed."""

from __future__ import annotations

import pytest

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.worker.allow import Allowed

KEY = "a-key-for-this-test"


@pytest.mark.parametrize("plain", [False, True])
def test_a_name_of_the_settings_matches_the_account_as_gateways_hash_it(plain: bool) -> None:
    env = {"SIPHONWATCH_IDENTITY_KEY": KEY, "SIPHONWATCH_ACCOUNTS_ALLOW": "crawler, backup"}
    allowed = Allowed.from_settings(load(env).settings)
    identity = Identity(KEY, plain)
    assert allowed.covers([identity.account("crawler")])
    assert allowed.covers([identity.account("backup"), "crawler"])
    assert not allowed.covers([identity.account("crawler"), identity.account("other")])
    assert not Allowed.from_settings(load({"SIPHONWATCH_IDENTITY_KEY": KEY}).settings).covers(["crawler"])


def test_without_a_key_ids_are_understood_as_alerts_show_them() -> None:
    shown = Identity(KEY).account("crawler")
    allowed = Allowed.from_settings(load({"SIPHONWATCH_ACCOUNTS_ALLOW": shown}).settings)
    assert allowed.covers([shown])
    assert not allowed.covers(["crawler"])

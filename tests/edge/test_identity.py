"""Identifiers become keyed hashes that nobody without the key can recompute or link."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from siphonwatch.streams.common.identity import CACHED, Identity
from siphonwatch.streams.common.settings import Settings, SettingsError
from siphonwatch.streams.contracts.telemetry import Telemetry, decode, encode

KEY = "a secret of the deployment"


@given(st.text(st.characters(codec=None), min_size=1, max_size=400))
@run(deadline=None)
def test_any_name_gets_an_account_id_that_the_contract_takes(name: str) -> None:
    for plain in (False, True):
        account = Identity(KEY, plain_ids=plain).account(name)
        assert decode(encode(Telemetry(id="r", time=1.0, account=account))).account == account


@given(st.text(min_size=1), st.text(min_size=1))
@run(deadline=None)
def test_different_names_get_different_ids(one: str, other: str) -> None:
    identity = Identity(KEY)
    assert (identity.account(one) == identity.account(other)) == (one == other)
    assert (identity.hash64("user", one) == identity.hash64("user", other)) == (one == other)


def test_the_same_value_in_two_fields_gives_two_hashes() -> None:
    identity = Identity(KEY)
    hashes = {identity.hash64(domain, "192.0.2.7") for domain in ("ip", "net", "user", "account")}
    assert len(hashes) == 4
    assert identity.account("192.0.2.7")[:16] not in hashes


def test_another_key_gives_unrelated_ids() -> None:
    one, other = Identity(KEY), Identity(KEY + "!")
    assert one.account("acme") != other.account("acme")
    assert one.hash64("ip", "192.0.2.7") != other.hash64("ip", "192.0.2.7")
    assert one.offset("route", "/v1/items") != other.offset("route", "/v1/items")
    assert one.secret("sketch") != other.secret("sketch")


def test_empty_values_stay_empty() -> None:
    identity = Identity(KEY)
    assert identity.hash64("ip", "") == ""
    assert identity.account("") == ""


def test_plain_ids_keep_only_names_that_fit_the_contract() -> None:
    identity = Identity(KEY, plain_ids=True)
    assert identity.account("acme-corp") == "acme-corp"
    for name in ("two words", "x" * 65, "h\u00e9l\u00e8ne", "line\n", "tab\t", "nul\0"):
        assert re.fullmatch("[0-9a-f]{32}", identity.account(name))
    assert re.fullmatch("[0-9a-f]{16}", identity.hash64("user", "acme-corp"))


def test_offsets_hide_numbers_and_stay_below_two_to_the_forty() -> None:
    identity = Identity(KEY)
    offsets = {identity.offset("route", f"/v1/{n}") for n in range(200)}
    assert len(offsets) == 200
    assert all(0 <= offset < 2**40 for offset in offsets)
    assert max(offsets) > 2**39


@pytest.mark.parametrize("key", ["", "short"])
def test_a_missing_or_short_key_is_refused_with_the_remedy(key: str) -> None:
    settings = Settings()
    settings.identity.key = key
    with pytest.raises(SettingsError, match=r"SIPHONWATCH_IDENTITY_KEY.*openssl rand -hex 32"):
        Identity.from_settings(settings)


def test_settings_decide_key_and_plain_ids() -> None:
    settings = Settings()
    settings.identity.key = KEY
    settings.identity.plain_ids = True
    assert Identity.from_settings(settings).account("acme") == "acme"
    settings.identity.plain_ids = False
    assert Identity.from_settings(settings).account("acme") == Identity(KEY).account("acme")


def test_the_cache_stays_bounded_and_changes_no_hash() -> None:
    identity = Identity(KEY)
    first = identity.hash64("user", "u0")
    for n in range(CACHED + 10):
        identity.hash64("user", f"u{n}")
    identity.hash64("user", "long " * 1000)
    assert identity._cached_hash64.cache_info().currsize == CACHED
    assert identity.hash64("user", "u0") == first


def test_neither_key_nor_names_show_in_its_representation() -> None:
    identity = Identity(KEY)
    identity.account("acme")
    assert KEY not in repr(identity)
    assert "acme" not in repr(identity)


def test_another_process_gives_the_same_ids() -> None:
    code = f"from siphonwatch.streams.common.identity import Identity; print(Identity({KEY!r}).account('acme'))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == Identity(KEY).account("acme")

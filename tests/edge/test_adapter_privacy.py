"""No prompt, reply, account, user, session, key or address of the input stands in what an adapter gives out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from adapter_samples import COMBINED, KEY, SAMPLES, SECRETS, adapter, one
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.edge.sketch import Sketcher

words = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=6, max_size=20)
SKETCHER = Sketcher(Identity(KEY))
SOURCES: list[tuple[str, Any]] = [(format, SAMPLES[format]) for format in ("litellm", "otlp", "kong", "envoy", "nginx")]


@pytest.mark.parametrize(("format", "record"), [*SOURCES, ("nginx", COMBINED)])
def test_no_secret_of_the_input_is_in_the_telemetry(format: str, record: Any) -> None:
    text = record if isinstance(record, str) else json.dumps(record)
    assert any(secret in text for secret in SECRETS)
    encoded = encode(one(format, record, SKETCHER)).decode()
    assert [secret for secret in SECRETS if secret.lower() in encoded.lower()] == []


def test_plain_ids_leave_the_account_readable_and_nothing_else() -> None:
    record = one("litellm", SAMPLES["litellm"])
    plain = adapter("litellm", SKETCHER)
    plain.identity = Identity(KEY, plain_ids=True)
    (readable,) = plain.records(json.dumps(SAMPLES["litellm"]).encode())
    assert getattr(readable, "account", "") == "acme-research-organisation"
    assert getattr(readable, "user", "") == record.user


@pytest.mark.parametrize("format", ["litellm", "otlp", "kong", "envoy", "nginx"])
@settings(deadline=None)
@given(first=words, second=words)
def test_a_secret_in_any_place_of_a_name_or_a_text_does_not_come_out(format: str, first: str, second: str) -> None:
    secret = f"{first} {second}"  # one bare word may pass for a model's name
    raw = json.dumps(SAMPLES[format])
    for known in SECRETS:
        raw = raw.replace(json.dumps(known)[1:-1], json.dumps(secret)[1:-1])
    for record in adapter(format, SKETCHER).records(raw.encode()):
        assert secret not in str(record)

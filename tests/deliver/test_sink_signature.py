"""Webhooks are signed as Standard Webhooks has it; a receiver's check takes what is genuine and fresh, nothing else."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.deliver.signature import BadSecret, BadSignature, keys, sign, verify

NOW = 1_790_000_000
OLD, NEW = ("whsec_" + base64.b64encode(byte * 32).decode() for byte in (b"o", b"n"))


def headers(secret: str, body: bytes, id: str = "case-0", at: int = NOW) -> dict[str, str]:
    signature = sign(keys(secret), id, at, body)
    return {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": signature}


def test_the_signature_is_the_one_of_the_standard_s_own_example() -> None:
    """The example that the standard's libraries test with."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signature = sign(keys(secret), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(body=st.binary(max_size=200), id=st.text("abcdef0123456789-", min_size=1, max_size=40))
def test_what_was_signed_is_taken_and_gives_its_id(body: bytes, id: str) -> None:
    assert verify(keys(NEW), headers(NEW, body, id), body, NOW) == id


@given(body=st.binary(min_size=1, max_size=50), at=st.integers(0, 49), bit=st.integers(0, 7))
def test_a_changed_body_is_refused(body: bytes, at: int, bit: int) -> None:
    changed = bytearray(body)
    changed[at % len(body)] ^= 1 << bit
    with pytest.raises(BadSignature, match="no signature fits"):
        verify(keys(NEW), headers(NEW, body), bytes(changed), NOW)


def test_while_secrets_rotate_a_receiver_with_either_takes_it() -> None:
    signed = headers(f"{OLD}, {NEW}", b"x")
    assert verify(keys(OLD), signed, b"x", NOW) == verify(keys(NEW), signed, b"x", NOW) == "case-0"
    assert verify(keys(f"{OLD} {NEW}"), headers(OLD, b"x"), b"x", NOW) == "case-0"
    with pytest.raises(BadSignature):
        verify(keys(NEW), headers(OLD, b"x"), b"x", NOW)


@pytest.mark.parametrize("seconds", [-301, 301, 1e9])
def test_an_old_or_early_message_is_refused(seconds: float) -> None:
    with pytest.raises(BadSignature, match="s from now"):
        verify(keys(NEW), headers(NEW, b"x"), b"x", NOW + seconds)
    assert verify(keys(NEW), headers(NEW, b"x"), b"x", NOW + 299)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"webhook-id": "case-1"}, "no signature fits"),
        ({"webhook-timestamp": str(NOW + 1)}, "no signature fits"),
        ({"webhook-timestamp": "soon"}, "no number of seconds"),
        ({"webhook-timestamp": "9" * 5000}, "no number of seconds"),
        ({"webhook-signature": ""}, "no signature fits"),
        ({"webhook-signature": "v1,"}, "no signature fits"),
        ({"webhook-signature": "v2,abc \udcff v1,é"}, "no signature fits"),
    ],
)
def test_a_changed_header_is_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(BadSignature, match=message):
        verify(keys(NEW), headers(NEW, b"x") | change, b"x", NOW)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_refused_by_name(name: str) -> None:
    signed = headers(NEW, b"x")
    del signed[name]
    with pytest.raises(BadSignature, match=f"header {name} is missing"):
        verify(keys(NEW), signed, b"x", NOW)


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("", "no secret: make one with `echo whsec_$(openssl rand -base64 32)`"),
        ("hunter2", "does not begin with whsec_"),
        ("whsec_hunter2!", "is not base64"),
        ("whsec_aHVudGVyMg==", "has 7 bytes, 24 are the least"),
        (f"{NEW},hunter2", "does not begin with whsec_"),
    ],
)
def test_a_secret_that_protects_nothing_is_refused_and_not_shown(secret: str, message: str) -> None:
    with pytest.raises(BadSecret, match=re.escape(message)) as caught:
        keys(secret)
    assert "hunter2" not in str(caught.value) and "aHVu" not in str(caught.value)

"""What a gateway knows of a customer beyond its name arrives from every format, a client's own word from none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from adapter_samples import ENVOY, GEN_AI, KEY, KONG, LITELLM, NGINX, START, adapter, changed, export, one, span
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.common import chosen
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Telemetry, decode, encode
from siphonwatch.streams.edge.adapters import standing

IDENTITY = Identity(KEY)
CARD = "card-9f8e7d6c"
AUTH = "metadata.user_api_key_auth_metadata"
RECORDS: dict[str, Any] = {
    "litellm": changed(
        LITELLM,
        AUTH,
        {"plan": "Pro", "account_age": "41", "country": "de", "asn": "AS64500", "payment_fingerprint": CARD},
    ),
    "otlp": export(
        span(
            {
                **GEN_AI,
                "tenant.plan": "Pro",
                "siphonwatch.account_created": int(START) - 41 * 86400 - 5,
                "client.geo.country_iso_code": "DE",
                "client.as.number": 64500,
                "siphonwatch.payment_fingerprint": CARD,
                "tenant.id": "a",
            }
        )
    ),
    "kong": {
        **changed(KONG, "consumer.created_at", int(START) - 41 * 86400 - 5),
        **{"plan": "Pro", "country": "DE", "asn": 64500, "payment_fingerprint": CARD},
    },
    "envoy": {
        **ENVOY,
        **{"x-plan": "Pro", "x-account-age": "41", "x-geo-country": "DE", "x-geo-asn": "64500"},
        "x-payment-fingerprint": CARD,
    },
    "nginx": {
        **NGINX,
        **{"plan": "Pro", "account_created": "2025-11-24T12:00:00Z", "geoip2_data_country_code": "DE"},
        **{"asn": "AS64500 Example Networks", "payment_fingerprint": CARD},
    },
}


def told(record: Telemetry) -> tuple[str, int, str, str, str]:
    return record.plan, record.account_age, record.country, record.asn, record.payment


def test_a_key_that_itself_holds_dots_is_found_beside_the_object() -> None:
    flat = changed(LITELLM, "metadata", {**LITELLM["metadata"], f"{AUTH.partition('.')[2]}.plan": "Pro"})
    assert one("litellm", flat).plan == "pro"


@pytest.mark.parametrize("format", RECORDS)
def test_every_gateway_s_word_on_a_customer_reads_alike(format: str) -> None:
    record = one(format, RECORDS[format])
    wanted = ("pro", 41, "DE", IDENTITY.hash64("asn", "64500"), IDENTITY.hash64("payment", CARD))
    assert told(record) == wanted
    assert CARD not in encode(record).decode() and "64500" not in encode(record).decode()


@pytest.mark.parametrize(
    ("format", "record"), [("litellm", LITELLM), ("kong", KONG), ("envoy", ENVOY), ("nginx", NGINX)]
)
def test_what_a_gateway_does_not_know_stays_empty(format: str, record: Any) -> None:
    assert told(one(format, record)) == ("", -1, "", "", "")


@pytest.mark.parametrize(
    ("format", "record"),
    [
        ("litellm", changed(LITELLM, "metadata.requester_metadata", {"plan": "pro", "country": "DE", "asn": 1})),
        ("litellm", changed(LITELLM, "metadata.requester_custom_headers", {"x-plan": "pro", "x-account-age": "9"})),
        ("kong", changed(KONG, "request.headers", {"x-plan": "pro", "plan": "pro", "country": "DE"})),
        ("nginx", {**NGINX, "http_x_plan": "pro", "http_plan": "pro", "http_x_geo_country": "DE"}),
    ],
)
def test_a_client_s_own_word_counts_for_nothing(format: str, record: Any) -> None:
    assert told(one(format, record)) == ("", -1, "", "", "")


def test_settings_name_other_places_in_place_of_a_format_s_own() -> None:
    record = {**RECORDS["litellm"], "billing": {"tier": "Scale"}}
    found = one("litellm", record, SIPHONWATCH_WHO_PLAN="billing.plan,billing.tier")
    assert (found.plan, found.country) == ("scale", "DE")
    assert found.account == one("litellm", LITELLM).account
    assert one("nginx", {**NGINX, "vip": "1", "plan": "x"}, SIPHONWATCH_WHO_PLAN="vip").plan == "1"


def test_the_first_field_of_a_name_counts_in_a_line_of_nginx() -> None:
    line = '{"remote_addr":"192.0.2.1","time_iso8601":"2026-01-05T00:00:00Z","request":"GET / HTTP/1.1","plan":"free"'
    assert one("nginx", line + ',"plan":"pro"}').plan == "free"


@pytest.mark.parametrize(
    ("value", "days"),
    [(0, 0), ("12.9", 12), (99_999, 99_999), (-3, -1), (START - 86_400 * 3 - 1, 3), (str(int(START * 1e3)), 0),
     ("x", -1), (20_260_105, -1), ("2026-01-01T00:00:00Z", 4), (START + 1e6, 0), ({"a": 1}, -1)],
)  # fmt: skip
def test_an_age_is_of_days_or_of_when_the_account_was_made(value: Any, days: int) -> None:
    assert standing.fields({"a": value}.get, {"account_age": ["a"]}, START, IDENTITY).get("account_age", -1) == days


@pytest.mark.parametrize("value", ["XX", "T1", "DEU", "", "-", "d", "\u00e4\u00f6", 49, None])
def test_what_is_no_country_is_none(value: Any) -> None:
    assert standing.fields({"a": value}.get, {"country": ["a"]}, START, IDENTITY).get("country", "") == ""


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3))
def test_any_value_gives_what_the_contract_allows(value: Any) -> None:
    paths = {field: ["a"] for field in standing.FIELDS}
    record = Telemetry(id="r", time=START, account="a", **standing.fields({"a": value}.get, paths, START, IDENTITY))
    assert decode(encode(record)) == record


def test_a_place_that_clients_write_is_warned_of() -> None:
    settings = Settings()
    assert not list(chosen.warnings(settings))
    settings.who.plan = ["metadata.requester_metadata.plan", "http_x_plan", "plan"]
    settings.who.asn = ["request.headers.x-asn"]
    said = list(chosen.warnings(settings))
    assert len(said) == 3
    assert all("who." in line and "client" in line for line in said)


@pytest.mark.parametrize("format", RECORDS)
def test_the_page_on_gateways_names_every_place(format: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "gateways.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    for paths in adapter(format).who.values():
        for path in paths:
            shown = path.removeprefix(f"{AUTH}.")
            assert shown == "consumer.created_at" or any(f"`{shown}`" in row for row in rows), path


@pytest.mark.parametrize("value", [64500, "64500", "AS64500", "as64500 Example Networks", "AS64500, Example", 64500.0])
def test_a_network_is_known_by_its_number_however_it_is_written(value: Any) -> None:
    found = standing.fields({"a": value}.get, {"asn": ["a"]}, START, IDENTITY).get("asn")
    assert found == IDENTITY.hash64("asn", "64500")


@pytest.mark.parametrize("value", ["Example", "AS", "12345678901", "64500.5", "-1", None])
def test_what_is_no_number_of_a_network_is_none(value: Any) -> None:
    assert not standing.fields({"a": value}.get, {"asn": ["a"]}, START, IDENTITY).get("asn")

"""The callback against the real litellm package, with mock responses: every request, good or failed, is telemetry."""

from __future__ import annotations

import asyncio
import importlib
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from gateway_fakes import FakeProducer

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.contracts.telemetry import Telemetry, decode
from siphonwatch.streams.edge.adapters import make_adapter
from siphonwatch.streams.edge.producer import Outbox
from siphonwatch.streams.edge.sender import Sender
from siphonwatch.streams.edge.sketch import Sketcher

KEY = "a secret of the tests only"
PROMPT = "Why did the Zanzibar Widgets merger fail so badly?"
REPLY = "Because of forty-two warehouses."

pytestmark = pytest.mark.filterwarnings("ignore")  # litellm's own, at import and at every call


@pytest.fixture(scope="module")
def litellm() -> Any:
    """The real package; it warns at import, and would fetch a price list from the network."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        warnings.simplefilter("ignore")
        return pytest.importorskip("litellm")


@pytest.fixture
def producer(litellm: Any) -> Iterator[FakeProducer]:
    """What the callback, installed as LiteLLM's configuration would, produces to."""
    module = importlib.import_module("siphonwatch.streams.edge.litellm")
    settings = load({"SIPHONWATCH_IDENTITY_KEY": KEY, "SIPHONWATCH_ACCOUNTS_LITELLM": "metadata.user_api_key_org_id"})
    identity = Identity(KEY)
    adapter = make_adapter("litellm", settings.settings, Sketcher(identity), identity)
    fake = FakeProducer()
    sender = Sender(adapter, lambda: Outbox(fake, "topic"))
    before = litellm.callbacks
    litellm.callbacks = [module.SiphonwatchLogger(lambda: sender)]
    yield fake
    litellm.callbacks = before
    for name in ("success_callback", "failure_callback", "_async_success_callback", "_async_failure_callback"):
        setattr(litellm, name, [call for call in getattr(litellm, name) if type(call).__name__ != "SiphonwatchLogger"])
    sender.close(1)


def call(**changes: Any) -> dict[str, Any]:
    """Arguments of one mocked request by an organisation."""
    return {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": PROMPT}],
        "mock_response": REPLY,
        "temperature": 0.3,
        "metadata": {"user_api_key_org_id": "acme-research"},
        **changes,
    }


def produced(producer: FakeProducer, seconds: float = 300.0) -> Telemetry:
    """The one telemetry record; LiteLLM logs from a thread or a task of its own."""
    deadline = time.monotonic() + seconds
    while not producer.sent and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(producer.sent) == 1
    return decode(producer.sent[0]["value"])


async def logged(producer: FakeProducer) -> None:
    """LiteLLM's logging worker lives in this loop: it must not end before."""
    async with asyncio.timeout(300):
        while not producer.sent:  # noqa: ASYNC110 - it is filled by a thread or a task of LiteLLM's
            await asyncio.sleep(0.02)


def check(record: Telemetry, producer: FakeProducer) -> None:
    """What every mocked request must have become."""
    identity = Identity(KEY)
    assert record.account == identity.account("acme-research")
    assert producer.sent[0]["key"] == record.account.encode()
    assert (record.kind, record.op, record.model, record.temperature) == ("llm", "chat", "gpt-4o", 0.3)
    assert record.chars == len(PROMPT)
    assert abs(record.time - time.time()) < 900
    for secret in (PROMPT, REPLY, "Zanzibar", "acme-research"):
        assert secret.encode() not in producer.sent[0]["value"]


def test_a_synchronous_request_becomes_telemetry(litellm: Any, producer: FakeProducer) -> None:
    litellm.completion(**call())
    record = produced(producer)
    check(record, producer)
    assert (record.status, record.chars_out, record.finish) == (200, len(REPLY), "stop")


def test_an_asynchronous_request_becomes_telemetry(litellm: Any, producer: FakeProducer) -> None:
    async def ask() -> None:
        await litellm.acompletion(**call())
        await logged(producer)

    asyncio.run(ask())
    record = produced(producer)
    check(record, producer)
    assert record.status == 200


def test_a_failed_request_becomes_telemetry_with_its_status(litellm: Any, producer: FakeProducer) -> None:
    with pytest.raises(litellm.RateLimitError):
        litellm.completion(**call(mock_response="litellm.RateLimitError"), num_retries=0)
    record = produced(producer)
    check(record, producer)
    assert record.status == 429


def test_an_asynchronous_failure_becomes_telemetry_with_its_status(litellm: Any, producer: FakeProducer) -> None:
    async def ask() -> None:
        with pytest.raises(litellm.RateLimitError):
            await litellm.acompletion(**call(mock_response="litellm.RateLimitError"), num_retries=0)
        await logged(producer)

    asyncio.run(ask())
    record = produced(producer)
    assert record.status == 429


def test_the_gateway_goes_on_when_settings_forbid_telemetry(
    litellm: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = importlib.import_module("siphonwatch.streams.edge.litellm")
    monkeypatch.delenv("SIPHONWATCH_IDENTITY_KEY", raising=False)
    logger = module.SiphonwatchLogger()
    for _ in range(3):
        logger.log_success_event({"standard_logging_object": {"id": "1"}}, None, None, None)
    assert caplog.text.count("no telemetry is sent: identity.key is not set") == 1


def test_the_gateway_goes_on_when_a_payload_cannot_be_written(litellm: Any, caplog: pytest.LogCaptureFixture) -> None:
    module = importlib.import_module("siphonwatch.streams.edge.litellm")
    logger = module.SiphonwatchLogger(FakeSender)
    endless: dict[str, Any] = {"prompt": PROMPT}
    endless["self"] = endless
    logger.log_success_event({"standard_logging_object": endless}, None, None, None)
    assert "a request could not be logged" in caplog.text
    assert PROMPT not in caplog.text


class FakeSender:
    """Takes everything."""

    def __init__(self) -> None:
        self.offered: list[bytes] = []

    def offer(self, raw: bytes) -> bool:
        self.offered.append(raw)
        return True

    def close(self, timeout: float = 0.0) -> None:
        pass

    def counts(self) -> None:
        pass


def test_objects_and_broken_text_in_a_payload_are_written_anyway(litellm: Any) -> None:
    module = importlib.import_module("siphonwatch.streams.edge.litellm")
    sender = FakeSender()
    logger = module.SiphonwatchLogger(lambda: sender)
    for payload in ({"when": object()}, {"text": "cut \ud83d"}, {("a", 1): 2, "b": 3}):
        logger.log_success_event({"standard_logging_object": payload}, None, None, None)
    logger.log_success_event({}, None, None, None)
    assert len(sender.offered) == 3


def test_the_two_lines_of_configuration_name_an_idle_callback(litellm: Any) -> None:
    module = importlib.import_module("siphonwatch.streams.edge.litellm")
    custom_logger = importlib.import_module("litellm.integrations.custom_logger")
    assert isinstance(module.callback, custom_logger.CustomLogger)
    assert module.callback._sender is None


def test_a_request_told_to_both_kinds_of_hooks_is_one_record(litellm: Any) -> None:
    module = importlib.import_module("siphonwatch.streams.edge.litellm")
    sender = FakeSender()
    logger = module.SiphonwatchLogger(lambda: sender)
    refused = {"id": "c-1", "litellm_call_id": "c-1", "startTime": 5.0, "status": "failure"}
    logger.log_failure_event({"standard_logging_object": refused}, None, None, None)
    asyncio.run(logger.async_log_failure_event({"standard_logging_object": dict(refused)}, None, None, None))
    assert len(sender.offered) == 1
    attempt = refused | {"startTime": 6.0}
    logger.log_failure_event({"standard_logging_object": attempt}, None, None, None)
    assert len(sender.offered) == 2, "another attempt of the same request is another request to the provider"


def test_what_is_remembered_of_requests_is_bounded(litellm: Any) -> None:
    module = importlib.import_module("siphonwatch.streams.edge.litellm")
    sender = FakeSender()
    logger = module.SiphonwatchLogger(lambda: sender)
    for number in range(module.REMEMBERED + 100):
        logger.log_success_event({"standard_logging_object": {"id": f"c-{number}"}}, None, None, None)
    assert len(sender.offered) == module.REMEMBERED + 100
    assert len(logger._seen) == module.REMEMBERED

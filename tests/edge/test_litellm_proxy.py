"""The callback in the real LiteLLM proxy, under uvicorn and gunicorn: a stop loses no record, a refusal is one."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.contracts.telemetry import Telemetry, decode
from siphonwatch.streams.lab.broker.embedded import EmbeddedBroker
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate.topics import connect, create

MASTER = "sk-invented-for-tests"
REQUESTS = 100
STARTS = 300.0
"""Seconds that a busy machine may take to start the proxy."""

needs = ("fastapi", "uvicorn", "orjson", "backoff", "apscheduler", "multipart", "rq")
pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in needs),
        reason="LiteLLM's proxy is not installed: pip install 'litellm[proxy]'",
    ),
]

CONFIG = """
model_list:
  - model_name: echo
    litellm_params: {model: openai/echo, api_key: none, mock_response: "Forty-two warehouses."}
  - model_name: embed
    litellm_params: {model: openai/embed, api_key: none, mock_response: [[0.1, 0.2]]}
litellm_settings:
  callbacks: siphonwatch.streams.edge.litellm.callback
"""


class Proxy:
    """One running proxy."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = url
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def ask(self, path: str, body: dict[str, Any], key: str = MASTER) -> int:
        """The status of one request."""
        request = urllib.request.Request(  # noqa: S310 - to 127.0.0.1
            self.url + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self) -> None:
        """SIGTERM, as Kubernetes sends it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(300)


Start = Callable[..., Any]


@pytest.fixture
def settings(tansu: str, request: pytest.FixtureRequest) -> Settings:
    """Topics of the test's own."""
    name = "".join(char for char in request.node.name if char.isalnum())
    env = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": tansu,
        "SIPHONWATCH_TOPICS_PREFIX": name.lower(),
        "SIPHONWATCH_IDENTITY_KEY": "a secret of the tests only",
        "SIPHONWATCH_ACCOUNTS_LITELLM": "metadata.user_api_key_hash",
    }
    loaded = load(env).settings
    with connect(loaded.kafka) as admin:
        create(loaded, admin)
    return loaded


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Start]:
    """Starts a proxy; stops it after the test."""
    running: list[subprocess.Popen[bytes]] = []

    @contextmanager
    def started(*options: str) -> Iterator[Proxy]:
        (tmp_path / "config.yaml").write_text(CONFIG)
        port, log = free_port(), tmp_path / "proxy.log"
        env = os.environ | {
            "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
            "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
            "SIPHONWATCH_IDENTITY_KEY": settings.identity.key,
            "SIPHONWATCH_ACCOUNTS_LITELLM": "metadata.user_api_key_hash",
            "LITELLM_MASTER_KEY": MASTER,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        command = [sys.executable, "-c", "from litellm import run_server; run_server()", "--config", "config.yaml"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port), *options],
                cwd=tmp_path, env=env, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        running.append(process)
        proxy = Proxy(f"http://127.0.0.1:{port}", process, log)
        deadline = time.monotonic() + STARTS
        while True:
            assert process.poll() is None, proxy.log
            assert time.monotonic() < deadline, proxy.log
            try:
                urllib.request.urlopen(proxy.url + "/health/liveliness", timeout=60).close()  # noqa: S310
                break
            except OSError:
                time.sleep(0.3)
        yield proxy

    yield started
    for process in running:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(300)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def telemetry(settings: Settings) -> list[Telemetry]:
    """All that stands in the topic."""
    topic = settings.topic("telemetry")
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka.bootstrap, consumer_timeout_ms=2000)
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    found = []
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        found += [decode(record.value) for record in consumer]
    consumer.close()
    return found


@contextmanager
def frozen(node: EmbeddedBroker) -> Iterator[None]:
    """A broker that answers nothing for a while."""
    assert node.pid is not None
    pid = node.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_for(event: Callable[[], bool]) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + STARTS
    while not event():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def chat(number: int) -> dict[str, Any]:
    """A chat request."""
    return {"model": "echo", "messages": [{"role": "user", "content": f"What of warehouse {number}?"}]}


@pytest.mark.parametrize("options", [(), ("--run_gunicorn",)], ids=["uvicorn", "gunicorn"])
def test_a_proxy_that_is_stopped_delivers_what_it_was_asked(
    start: Start, settings: Settings, tansu_node: EmbeddedBroker, options: tuple[str, ...]
) -> None:
    if options and importlib.util.find_spec("gunicorn") is None:
        pytest.skip("gunicorn is not installed")
    with start(*options) as proxy:
        assert proxy.ask("/chat/completions", chat(0)) == 200
        with frozen(tansu_node), ThreadPoolExecutor(20) as pool:
            statuses = list(pool.map(lambda number: proxy.ask("/chat/completions", chat(number)), range(1, REQUESTS)))
            proxy.process.send_signal(signal.SIGTERM)
            wait_for(lambda: "Shutting down" in proxy.log)
        proxy.process.wait(300)
    assert statuses == [200] * (REQUESTS - 1)
    assert len(telemetry(settings)) == REQUESTS, proxy.log


def test_a_proxy_that_never_reached_kafka_says_what_it_lost(start: Start, settings: Settings) -> None:
    settings.kafka.bootstrap = f"127.0.0.1:{free_port()}"
    with start() as proxy:
        assert proxy.ask("/chat/completions", chat(1)) == 200
        proxy.stop()
    assert "closed with 0 of 1 records delivered, 1 dropped" in proxy.log
    assert "nothing listens there" in proxy.log


def test_a_request_that_the_proxy_refuses_is_one_record(start: Start, settings: Settings) -> None:
    with start() as proxy:
        assert proxy.ask("/chat/completions", chat(1), key="sk-nobody-has-this") in (400, 401)  # 401 with a data base
        assert proxy.ask("/chat/completions", {**chat(2), "model": "no-such-model"}) == 400
        proxy.stop()
    found = telemetry(settings)
    assert len(found) == 2, proxy.log


def test_a_batch_of_embeddings_is_one_request_with_all_of_its_inputs(start: Start, settings: Settings) -> None:
    inputs = ["the first input", "the second input", "the third one"]
    with start() as proxy:
        assert proxy.ask("/embeddings", {"model": "embed", "input": inputs}) == 200, proxy.log
        proxy.stop()
    [record] = telemetry(settings)
    assert (record.op, record.turns) == ("embedding", len(inputs))
    assert record.chars == sum(map(len, inputs)) + len(inputs) - 1

"""The configurations of docs/gateways.md: run by the programs that they are for, or held against the reader."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
import yaml
from adapter_samples import KEY, adapter, one
from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient

from siphonwatch.streams.common import extensions
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Telemetry
from siphonwatch.streams.edge.adapters import otlp
from siphonwatch.streams.edge.adapters.otlp import TEXT_VARIABLES
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate.topics import connect, create

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "gateways.md").read_text()
PROGRAMS = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"


def block(language: str, holding: str = "") -> str:
    """The block of the document in a language, the first that holds some words."""
    found = re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)
    return next(one for one in found if holding in one)


def program(name: str) -> str:
    path = shutil.which(name, path=PROGRAMS)
    if path is None:
        absent(name)
    return str(path)


def absent(what: str) -> NoReturn:
    (pytest.fail if os.environ.get("REQUIRE_ONCALL") == "1" else pytest.skip)(f"{what} is not installed")


def wait(done: Any, process: subprocess.Popen[bytes], what: str) -> Any:
    """Wait for something that a program brings about, as long as the program runs."""
    end = time.monotonic() + 300
    while not (found := done()):
        assert process.poll() is None, f"it ended while waiting for {what}"
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return found


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(300)


def test_every_format_has_a_part() -> None:
    topics = tomllib.loads(block("toml"))["ingest"]["topics"]
    assert list(topics) == ["gateway-logs"] and topics["gateway-logs"] in extensions.names(extensions.ADAPTERS)
    for words in ("## LiteLLM", "## NGINX", "## Envoy", "## OpenTelemetry", "## Telemetry of your own"):
        assert words in TEXT


def test_litellm_s_line_names_what_there_is() -> None:
    place = yaml.safe_load(block("yaml", "litellm_settings"))["litellm_settings"]["callbacks"]
    module, _, name = place.rpartition(".")
    source = ROOT / f"{module.removeprefix('siphonwatch.').replace('.', '/')}.py"
    assert re.search(rf"^{name}\b|def __getattr__", source.read_text(), re.M)


def nginx(folder: Path, agents: list[str]) -> list[str]:
    """The lines that NGINX writes with the document's format."""
    port, log = free_port(), folder / "access.log"
    snippet = block("nginx").replace("/var/log/nginx/siphonwatch.log", str(log))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ {snippet} server {{ listen 127.0.0.1:{port}; location / {{ return 200 'x'; }} }} }}\n"
    )

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/items/0"):
                return True
        except OSError:
            return False

    with running([program("nginx"), "-c", str(folder / "nginx.conf"), "-p", str(folder)]) as process:
        wait(answers, process, "an answer")
        for number, agent in enumerate(agents, 1):
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/items/{number}", headers={"User-Agent": agent}
            )
            urllib.request.urlopen(request).close()  # noqa: S310
        wait(lambda: log.read_text().count("\n") > len(agents), process, "the log")
    return log.read_text().splitlines()[-len(agents) :]


AGENTS = ["python-requests/2.32", 'x","remote_addr":"198.51.100.66', "a\\b\tc \u00e9"]


def test_what_nginx_writes_with_its_format_is_read_whatever_the_client_is_called(tmp_path: Path) -> None:
    agents = [agent.encode().decode("latin-1") for agent in AGENTS]
    found = [one("nginx", line) for line in nginx(tmp_path, agents)]
    assert [line.account for line in found] == [Identity(KEY).account("127.0.0.1")] * len(agents)
    assert all((line.op, line.status) == ("get", 200) and line.client for line in found)
    assert len({line.id for line in found}) == len(agents)


@pytest.mark.broker
@pytest.mark.kafka
def test_rsyslog_brings_every_line_to_kafka_as_it_stands(kafka: str, prefix: str, tmp_path: Path) -> None:
    log, topic = tmp_path / "siphonwatch.log", f"{prefix}-gateway-logs"
    lines = [
        json.dumps({"remote_addr": "192.0.2.7", "http_user_agent": agent, "request_uri": f"/v1/items/{number}"})
        for number, agent in enumerate(AGENTS * 20)
    ]
    log.write_text("".join(f"{line}\n" for line in lines))
    snippet = block("rsyslog").replace("/var/log/nginx/siphonwatch.log", str(log)).replace("127.0.0.1:9092", kafka)
    snippet = snippet.replace("/var/spool/rsyslog", str(tmp_path)).replace('topic="gateway-logs"', f'topic="{topic}"')
    config = tmp_path / "rsyslog.conf"
    config.write_text(f'global(workDirectory="{tmp_path}" maxMessageSize="64k")\n{snippet}')
    checked = subprocess.run([program("rsyslogd"), "-N1", "-f", config], capture_output=True, text=True, check=False)
    if "could not load module" in checked.stderr:
        absent("rsyslog's module for Kafka")
    assert checked.returncode == 0, checked.stderr
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}})
    admin.close()
    got: list[str] = []
    consumer = KafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest", group_id=prefix)
    try:
        with running([program("rsyslogd"), "-n", "-f", str(config), "-i", str(tmp_path / "pid")]) as process:
            consumer.subscribe([topic])

            def arrived() -> bool:
                for records in consumer.poll(timeout_ms=500).values():
                    got.extend(record.value.decode() for record in records)
                return len(got) >= len(lines)

            wait(arrived, process, f"{len(lines)} lines")
    finally:
        consumer.close()
    assert sorted(got) == sorted(lines)


def test_envoy_s_fields_are_all_read() -> None:
    (logger,) = yaml.safe_load(block("yaml", "envoy.access_loggers.file"))["access_log"]
    fields = logger["typed_config"]["log_format"]["json_format"]
    written = {
        "%START_TIME%": "2026-01-05T00:00:00.000Z", "%REQ(:METHOD)%": "POST", "%RESPONSE_CODE%": 200,
        "%DURATION%": 1250,
        "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%": "/v1/chat/completions", "%REQ(X-REQUEST-ID)%": "0b8f-1",
        "%REQ(X-ACCOUNT-ID)%": "acme", "%DOWNSTREAM_REMOTE_ADDRESS%": "192.0.2.9:5511",
        "%REQ(X-FORWARDED-FOR)%": None, "%REQ(USER-AGENT)%": "python-requests/2.32",
        "%DYNAMIC_METADATA(io.envoy.ai_gateway:model_name_override)%": "gpt-4o",
        "%DYNAMIC_METADATA(io.envoy.ai_gateway:llm_input_token)%": 31,
        "%DYNAMIC_METADATA(io.envoy.ai_gateway:llm_output_token)%": 57,
    }  # fmt: skip
    assert set(fields.values()) == set(written)
    line = {name: written[operator] for name, operator in fields.items()}
    found = one("envoy", json.dumps(line))
    assert (found.account, found.model, found.tokens_in, found.tokens_out) == (
        Identity(KEY).account("acme"), "gpt-4o", 31, 57)  # fmt: skip
    assert (found.op, found.status, found.duration, found.time) == ("chat", 200, 1.25, 1767571200.0)
    assert found.ip and found.agent and found.client
    rest = {name: value for name, value in line.items() if not name.startswith("gen_ai.")} | {
        "x-envoy-origin-path": "/v1/items/7", "method": "GET", "x-account-id": None,
    }  # fmt: skip
    assert one("envoy", json.dumps(rest)).account == Identity(KEY).account("192.0.2.9"), "the address, without its port"


def test_opentelemetry_s_variables_are_those_that_its_own_instrumentation_was_tried_with() -> None:
    exported = re.findall(r"^export (\S+)$", block("sh", "OTEL_"), re.M)
    assert tuple(exported) == TEXT_VARIABLES


def test_the_collector_s_configuration_hangs_together_and_its_encoding_is_read() -> None:
    config = yaml.safe_load(block("yaml", "exporters"))
    for pipeline in config["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(config[kind])
    kafka = config["exporters"]["kafka"]
    topics = {kafka[signal]["topic"] for signal in config["service"]["pipelines"]}
    assert len(topics) == 1 and all(kafka[signal]["encoding"] == "otlp_proto" for signal in ("traces", "logs"))
    assert kafka["producer"]["max_message_bytes"] <= Settings().ingest.max_record_bytes
    common = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    request = common.ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = b"1" * 16, b"2" * 8, "chat gpt-4o"
    span.start_time_unix_nano, span.end_time_unix_nano = 1_767_571_200 * 10**9, 1_767_571_201 * 10**9
    for name, value in {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "tenant.id": "acme"}.items():
        attribute = span.attributes.add()
        attribute.key, attribute.value.string_value = name, value
    (found,) = adapter("otlp").records(request.SerializeToString())
    assert isinstance(found, Telemetry) and (found.model, found.account) == ("gpt-4o", Identity(KEY).account("acme"))
    assert otlp.__doc__


@pytest.mark.broker
@pytest.mark.kafka
def test_kcat_puts_telemetry_where_the_worker_looks_for_its_account(kafka: str, prefix: str, tmp_path: Path) -> None:
    settings = Settings()
    settings.kafka.bootstrap, settings.topics.prefix, settings.topics.partitions = kafka, prefix, 5
    with connect(settings.kafka) as admin:
        create(settings, admin)
    accounts = [f"account-{number}" for number in range(30)]
    (tmp_path / "keyed.txt").write_text(
        "".join(f"{name}|{msgspec.json.encode({'account': name}).decode()}\n" for name in accounts)
    )
    command = block("kcat").replace("127.0.0.1:9092", settings.kafka.bootstrap)
    command = command.replace("siphonwatch.telemetry.v1", settings.topic("telemetry"))
    program("kcat")
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True, timeout=300, capture_output=True)
    from kafka.partitioner.default import murmur2

    consumer = KafkaConsumer(
        settings.topic("telemetry"), bootstrap_servers=settings.kafka.bootstrap, auto_offset_reset="earliest",
        group_id=settings.topics.prefix,
    )  # fmt: skip
    seen: dict[str, int] = {}
    end = time.monotonic() + 300
    try:
        while len(seen) < len(accounts) and time.monotonic() < end:
            for tp, records in consumer.poll(timeout_ms=500).items():
                seen |= {record.key.decode(): tp.partition for record in records}
    finally:
        consumer.close()
    assert seen == {name: (murmur2(name.encode()) & 0x7FFFFFFF) % 5 for name in accounts}

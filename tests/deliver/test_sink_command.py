"""`siphonwatch deliver` and what it makes of settings: refused before anything is sent, tried by --check."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from click.testing import CliRunner, Result
from grafana_double import TOKEN, Double
from sink_fakes import capture
from sink_receiver import Receiver
from sink_samples import SECRET, life, told

from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import Settings, SettingsError
from siphonwatch.streams.common.sink_settings import Sink
from siphonwatch.streams.deliver import make as maker
from siphonwatch.streams.deliver.make import check, make
from siphonwatch.streams.deliver.outcome import Outcome
from siphonwatch.streams.deliver.sample import ACCOUNT, TITLE
from siphonwatch.streams.deliver.trial import trials
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate import doctor

QUIET: dict[str, str | None] = {name: None for name in os.environ if name.startswith("SIPHONWATCH_")}
HOOK = "https://hooks.example/x"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logging is set up once a process: for the tests that come after, not here."""
    monkeypatch.setattr("siphonwatch.streams.cli.deliver.configure", lambda log: None)


def run(*arguments: str, **variables: str) -> Result:
    named = {f"SIPHONWATCH_{name}": value for name, value in variables.items()}
    return CliRunner().invoke(cli, ["deliver", *arguments], env=QUIET | named)


def sinks(**fields: Any) -> Settings:
    settings = Settings()
    settings.sinks = {"ops": Sink(**fields)}
    return settings


def test_without_a_sink_it_says_how_to_set_one() -> None:
    result = run()
    assert isinstance(result.exception, SettingsError), "main() makes exit code 2 of it"
    assert "no sink is set" in str(result.exception) and "[sinks.on-call]" in str(result.exception)


def test_a_wrong_setting_is_exit_code_2_for_the_shell() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()", "deliver"],
        env={name: value for name, value in os.environ.items() if not name.startswith("SIPHONWATCH_")},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "no sink is set" in done.stderr and "Traceback" not in done.stderr


def test_a_name_that_is_no_sink_is_refused_with_those_there_are() -> None:
    result = run("opps", SINKS_OPS_KIND="slack", SINKS_OPS_URL=HOOK)
    assert "there is no sink 'opps'; settings have ops" in str(result.exception)


def test_without_a_broker_it_says_where_it_looked() -> None:
    nobody = f"127.0.0.1:{free_port()}"
    result = run(SINKS_OPS_KIND="slack", SINKS_OPS_URL=HOOK, KAFKA_BOOTSTRAP=nobody)
    assert result.exit_code == 1 and nobody in result.output


@pytest.mark.broker
def test_without_its_topic_it_says_how_to_make_it(tansu: str, prefix: str) -> None:
    result = run(SINKS_OPS_KIND="slack", SINKS_OPS_URL=HOOK, KAFKA_BOOTSTRAP=tansu, TOPICS_PREFIX=prefix)
    assert result.exit_code == 1
    assert f"{prefix}.alerts.v1 does not exist: run `siphonwatch topics --create`" in result.output
    assert "telemetry" not in result.output, "it needs no other topic"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "pagerduty", "routing_key": "k" * 32, "title": "{{ nothing }}"}, "title: the template fails"),
        (
            {"kind": "alertmanager", "url": "http://am:9093", "body": "{% if %}"},
            "body: the template is wrong in line 1",
        ),
        ({"kind": "webhook", "url": HOOK}, "a sink of kind webhook needs secret, or secret_file"),
        ({"kind": "webhook", "secret": SECRET}, "a sink of kind webhook needs url, or url_file"),
        ({"kind": "webhook", "url": HOOK, "secret": "hunter2"}, "sinks.ops.secret: a secret does not begin with"),
        ({"kind": "slack"}, "a sink of kind slack needs url"),
        ({"kind": "slack", "url": "hooks.example"}, "sinks.ops.url is no address to send to"),
        ({"kind": "slack", "url": HOOK, "proxy": "proxy:3128"}, "sinks.ops.proxy is no address"),
        ({"kind": "slack", "url": HOOK, "secret": SECRET}, "a sink of kind slack has no use for it"),
        ({"kind": "slack", "url": HOOK, "patterns": ["extraktion"]}, "sinks.ops.patterns has extraktion: there are"),
        ({"kind": "slack", "url": HOOK, "url_file": "/x"}, "sinks.ops.url and url_file are both set"),
        ({"kind": "slack", "url_file": "/nowhere"}, "sinks.ops.url_file /nowhere cannot be read"),
        ({"kind": "pagerduty"}, "a sink of kind pagerduty needs routing_key"),
        ({"kind": "alertmanager"}, "a sink of kind alertmanager needs url"),
        ({"kind": "alertmanager", "url": HOOK, "token": "a\nb"}, "look for line breaks"),
        ({"kind": "slack", "url": HOOK, "cafile": "/nowhere.pem"}, "sinks.ops.cafile /nowhere.pem cannot be loaded"),
        ({"kind": "grafana"}, "grafana.url"),
    ],
)
def test_a_sink_that_cannot_work_is_refused_before_anything_is_sent(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        check(sinks(**fields))
    assert "hunter2" not in str(caught.value)
    found = doctor.sinks(sinks(**fields))
    assert found.state == "failed" and message in found.message


def test_doctor_finds_a_sound_sink_sound() -> None:
    settings = sinks(kind="pagerduty", routing_key="R" * 32)
    assert "sinks" in [one.name for one in doctor.examine(settings, offline=True)]
    assert doctor.sinks(settings).state == "ok"


async def test_an_unencrypted_way_over_a_network_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = capture(monkeypatch, maker)
    for url, warned in (("http://alertmanager.example:9093", True), ("http://127.0.0.1:9093", False)):
        await make(sinks(kind="alertmanager", url=url), "ops").receiver.close()
        assert ("alerts travel unencrypted" in str(captured.entries)) is warned
        captured.entries.clear()


async def test_check_sends_each_sink_a_marked_test_alert_and_says_what_came_of_it(tmp_path: Path) -> None:
    async with Receiver() as hook, Receiver(secret=None) as slack, Receiver(secret=None) as broken:
        broken.answer = lambda *_: web.Response(status=403, text="invalid_token")
        url = tmp_path / "url"
        url.write_text(broken.url)
        result = await asyncio.to_thread(
            run, "--check",
            SINKS_HOOK_KIND="webhook", SINKS_HOOK_URL=hook.url, SINKS_HOOK_SECRET=SECRET,
            SINKS_CHAT_KIND="slack", SINKS_CHAT_URL=slack.url, SINKS_CHAT_SEVERITY="critical",
            SINKS_BROKEN_KIND="slack", SINKS_BROKEN_URL_FILE=str(url),
        )  # fmt: skip
    assert result.exit_code == 1
    assert re.search(r"^hook \(webhook\): delivered in \d\.\d\d s: status 200$", result.output, re.M)
    assert re.search(r"^chat \(slack\): delivered in ", result.output, re.M), "whatever its filters"
    assert re.search(r"^broken \(slack\): misconfigured in .* status 403: invalid_token$", result.output, re.M)
    assert "not every test alert arrived" in result.output
    opened, closed = hook.taken
    assert (opened["type"], closed["type"]) == ("siphonwatch.case.opened.v1", "siphonwatch.case.closed.v1")
    assert opened["data"]["finding_info"]["title"] == TITLE and "nothing was detected" in opened["data"]["message"]
    assert opened["data"]["unmapped"]["siphonwatch"]["accounts"] == [ACCOUNT]
    assert TITLE in slack.taken[0]["text"] and TITLE in slack.taken[0]["blocks"][0]["text"]["text"]


async def test_check_of_one_sink_leaves_the_others_alone() -> None:
    async with Receiver(secret=None) as one, Receiver(secret=None) as other:
        result = await asyncio.to_thread(
            run, "--check", "one",
            SINKS_ONE_KIND="slack", SINKS_ONE_URL=one.url, SINKS_OTHER_KIND="slack", SINKS_OTHER_URL=other.url,
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert len(one.taken) == 2 and other.taken == []


async def test_a_secret_file_that_changes_is_used_without_a_restart_and_one_that_goes_away_is_waited_for(
    tmp_path: Path,
) -> None:
    file = tmp_path / "secret"
    file.write_text("whsec_" + "QUFB" * 8)
    async with Receiver() as hook:
        receiver = make(sinks(kind="webhook", url=hook.url, secret_file=str(file)), "ops").receiver
        try:
            alert = told(life("org-1")[0])
            assert (await receiver.deliver(alert)).verdict == "failed", "the receiver has another secret"
            file.write_text(f"whsec_{'QUFB' * 8}\n{SECRET}\n")
            assert (await receiver.deliver(alert)).verdict == "delivered"
            file.unlink()
            gone = await receiver.deliver(alert)
            assert gone.verdict == "misconfigured" and "secret_file" in gone.detail
        finally:
            await receiver.close()


async def test_an_alertmanager_or_webhook_behind_a_proxy_gets_the_token() -> None:
    async with Receiver(secret=None) as behind:
        seen: list[str | None] = []
        behind.answer = lambda request, _: seen.append(request.headers.get("Authorization"))
        for fields in ({"kind": "alertmanager"}, {"kind": "webhook", "secret": SECRET}):
            receiver = make(sinks(url=behind.url, token="tok-1", **fields), "ops").receiver
            assert (await receiver.deliver(told(life("org-1")[0]))).verdict == "delivered"
            await receiver.close()
    assert seen == ["Bearer tok-1"] * 2


async def test_a_sink_goes_through_its_proxy() -> None:
    async with Receiver(secret=None) as proxy:
        receiver = make(sinks(kind="slack", url="http://hooks.example/T0/x", proxy=proxy.url), "ops").receiver
        assert (await receiver.deliver(told(life("org-1")[0]))).verdict == "delivered"
        await receiver.close()
    assert len(proxy.taken) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody but its own file trusts, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert)]
    command += ["-days", "2", "-subj", "/CN=siphonwatch-test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


async def test_a_certificate_nobody_vouches_for_gets_no_alert_unless_its_file_is_named(
    certificate: tuple[Path, Path],
) -> None:
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    taken: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        taken.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/x", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/x"
    try:
        outcomes = []
        for cafile in ("", str(cert)):
            receiver = make(sinks(kind="slack", url=url, cafile=cafile), "ops").receiver
            outcomes.append(await receiver.deliver(told(life("org-1")[0])))
            await receiver.close()
    finally:
        await runner.cleanup()
    assert outcomes[0].verdict == "failed" and "certificate is not trusted" in outcomes[0].detail
    assert outcomes[1].verdict == "delivered" and len(taken) == 1


@pytest.fixture
def grafana() -> Iterator[Double]:
    double = Double()
    yield double
    double.stop()
    assert double.surprises == []


async def test_a_grafana_sink_annotates_each_alert_once_and_tells_passing_failures_from_lasting_ones(
    grafana: Double,
) -> None:
    settings = sinks(kind="grafana")
    settings.grafana.url, settings.grafana.token, settings.grafana.timeout = grafana.url, TOKEN, 0.5
    receiver = make(settings, "ops").receiver
    opened, updated, closed = (told(finding) for finding in life("org-1"))
    try:
        assert await receiver.deliver(opened) == Outcome("delivered", "annotated")
        assert await receiver.deliver(opened) == Outcome("delivered", "was there already")
        at_once = await asyncio.gather(*(receiver.deliver(alert) for alert in (updated, closed)))
        assert [outcome.verdict for outcome in at_once] == ["delivered"] * 2
        promotions = [each["text"] for each in grafana.annotations if "promotion" in each["tags"]]
        assert promotions == [f"siphonwatch {opened.version} scores from here on"], "once for each version"
        assert len(grafana.annotations) == 3, "the closing ends the opening's region"
        for fault, verdict in ((503, "failed"), ("drop", "failed"), ("hang", "failed"), (403, "misconfigured")):
            grafana.forget()
            grafana.fail = {1: fault}
            assert (await receiver.deliver(opened)).verdict == verdict, fault
    finally:
        await receiver.close()


async def test_a_test_alert_says_of_no_version_that_it_scores(grafana: Double) -> None:
    settings = sinks(kind="grafana")
    settings.grafana.url, settings.grafana.token = grafana.url, TOKEN
    assert [trial.passed async for trial in trials(settings)] == [True]
    assert not [each for each in grafana.annotations if "promotion" in each["tags"]]
    assert len(grafana.annotations) == 1


def test_every_sink_s_metrics_stand_at_zero_before_the_first_alert() -> None:
    from prometheus_client import CollectorRegistry

    from siphonwatch.streams.deliver.metrics import OUTCOMES, Metrics

    registry = CollectorRegistry()
    Metrics(registry).of("ops")
    for outcome in OUTCOMES:
        assert registry.get_sample_value("siphonwatch_deliveries_total", {"sink": "ops", "outcome": outcome}) == 0
    names = {f"siphonwatch_{name}" for name in (
        "deliveries", "delivery_seconds", "delivery_lag_records", "failing_seconds",
        "last_delivery_timestamp_seconds", "delivery_delay_seconds", "recreated_topics",
    )}  # fmt: skip
    assert {metric.name for metric in registry.collect()} == names


def test_the_example_that_is_printed_is_a_sink(tmp_path: Path) -> None:
    from siphonwatch.streams.common.settings import load
    from siphonwatch.streams.deliver.make import EXAMPLE

    path = tmp_path / "siphonwatch.toml"
    path.write_text(EXAMPLE)
    assert msgspec.structs.asdict(load({}, path).settings.sinks["on-call"])["severity"] == "high+"


def test_the_runbook_s_table_has_every_metric_of_the_deliverer_and_no_other() -> None:
    from prometheus_client import CollectorRegistry

    from siphonwatch.streams.deliver.metrics import OUTCOMES, Metrics

    runbook = (Path(__file__).parents[2] / "deploy" / "runbook.md").read_text()
    section = runbook.partition("\n## Sinks\n")[2].partition("\n## ")[0]
    table = section.partition("| metric,")[2].partition("\n\n")[0].splitlines()[2:]
    registry = CollectorRegistry()
    Metrics(registry)
    exported = {metric.name + "_total" * (metric.type == "counter") for metric in registry.collect()}
    named = {name for line in table for name in re.findall(r"`(\w+)`", line.split(" | ")[0])}
    assert {f"siphonwatch_{name}" for name in named} == exported
    assert all(f"`{outcome}`" in section for outcome in OUTCOMES)

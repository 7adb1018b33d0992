"""Whatever a client writes, its access-log line is read, under the address that it connected from."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import KEY, adapter, bad, one
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry
from siphonwatch.streams.edge.adapters import detect, read_records

ADDRESS = "192.0.2.44"
TIME = "[05/Jan/2026:00:00:00 +0000]"
REQUEST = '"GET /v1/parts/12 HTTP/1.1" 200 31 "-" "curl/8.7.1"'
LINE = f"{ADDRESS} - - {TIME} {REQUEST}"


def account(name: str) -> str:
    return Identity(KEY).account(name)


def written(words: str) -> str:
    """What NGINX writes of a client's words where its log escapes by default."""
    octets = words.encode("utf-8", "replace")
    return "".join(chr(o) if 32 <= o < 127 and chr(o) not in '"\\' else f"\\x{o:02X}" for o in octets)


@pytest.mark.parametrize(
    "user", ["a[b", "a b [", "] [", f"x {TIME}", f"{TIME} y", 'q"r', "", " ", '" 200 1 "', "198.51.100.1 - -", "\\x22"]
)
def test_no_user_name_hides_a_line_or_changes_its_address(user: str) -> None:
    found = one("nginx", f"{ADDRESS} - {user} {TIME} {REQUEST}")
    assert (found.account, found.op, found.status) == (account(ADDRESS), "get", 200)
    assert found.client == "curl"


@settings(deadline=None)
@given(user=st.text(max_size=60), target=st.text(max_size=60), agent=st.text(max_size=60), referer=st.text(max_size=60))
def test_no_words_of_a_client_cost_a_combined_line(user: str, target: str, agent: str, referer: str) -> None:
    user, target, agent, referer = map(written, (user, target, agent, referer))
    line = f'{ADDRESS} - {user} {TIME} "GET /{target} HTTP/1.1" 404 9 "{referer}" "{agent}"'
    found = one("nginx", line)
    assert (found.account, found.status, found.time) == (account(ADDRESS), 404, 1767571200.0)


@settings(deadline=None)
@given(agent=st.text(max_size=80), escape=st.sampled_from(["json", "default", "none"]))
def test_no_words_of_a_client_cost_a_json_line_however_it_is_escaped(agent: str, escape: str) -> None:
    words = {"json": json.dumps(agent)[1:-1], "default": written(agent), "none": agent.replace("\n", " ")}[escape]
    line = (
        f'{{"time_iso8601":"2026-01-05T00:00:00+00:00","remote_addr":"{ADDRESS}","request":"GET /v1/parts/12 HTTP/1.1",'
        f'"status":"200","http_user_agent":"{words}","request_time":"0.010"}}'
    )
    found = one("nginx", line)
    assert (found.account, found.op) == (account(ADDRESS), "get")


def test_a_field_that_a_client_writes_itself_does_not_replace_the_one_before() -> None:
    agent = 'x","remote_addr":"198.51.100.66","http_referer":"'
    line = f'{{"msec":"1767571200.000","remote_addr":"{ADDRESS}","http_user_agent":"{agent}","status":"200"}}'
    json.loads(line)  # it is good JSON with the address twice
    assert one("nginx", line).account == account(ADDRESS)


@pytest.mark.parametrize("value", ["", "-", "0.004, 0.010", "0.004, - : 0.1", '"-"', "null"])
@pytest.mark.parametrize("last", [True, False])
def test_a_number_that_nginx_leaves_empty_or_joins_does_not_cost_the_line(value: str, last: bool) -> None:
    fields = [
        '"msec":1767571200.000', f'"remote_addr":"{ADDRESS}"', '"status":403', '"request_time":0.25'
    ]  # fmt: skip
    fields.insert(len(fields) if last else 1, f'"upstream_response_time":{value}')
    found = one("nginx", "{" + ",".join(fields) + "}")
    assert (found.account, found.status, found.duration) == (account(ADDRESS), 403, 0.25)


def test_default_escapes_read_as_the_bytes_they_stand_for() -> None:
    def resource(target: str) -> str:
        return one(
            "nginx", {"time_iso8601": "2026-01-05T00:00:00Z", "remote_addr": ADDRESS, "request": target}
        ).resource

    raw = f'{{"time_iso8601":"2026-01-05T00:00:00Z","remote_addr":"{ADDRESS}","request":"GET /caf\\xC3\\xA9 HTTP/1.1"}}'
    assert one("nginx", raw).resource == resource("GET /café HTTP/1.1")


PREFIXES = {
    "containerd": "2026-01-05T00:00:07.123456789Z stdout F ",
    "kubectl": "[pod/web-6d4/nginx] 2026-01-05T00:00:07.123456789Z ",
    "compose": "web-1  | ",
    "syslog": "<190>Jan  5 00:00:07 web1 nginx: ",
    "syslog without host": "<190>Jan  5 00:00:07 nginx: ",
    "syslog by address": "<190>Jan  5 00:00:07 198.51.100.9 nginx[12]: ",
    "syslog of RFC 5424": '<190>1 2026-01-05T00:00:07.1Z web1 nginx 12 access [o@1 ip="198.51.100.9" x="\\]"] \ufeff',
    "rsyslog's file": "2026-01-05T00:00:07.123456+00:00 web1 nginx: ",
    "journald": "Jan 05 00:00:07 web1 nginx[812]: ",
    "two of them": "2026-01-05T00:00:07Z stdout F <190>Jan  5 00:00:07 web1 nginx: ",
    "virtual host": "api.example:443 ",
    "virtual host that is an address": "198.51.100.9 ",
    "virtual host of any words": "(x)y_ ",
    "journald, finer": "Jan 05 00:00:07.123456 web1 nginx[812]: ",
    "syslog with a year": "<190>Jan  5 2026 00:00:07 web1 nginx: ",
    "syslog by IPv6 address": "<190>Jan  5 00:00:07 2001:db8::9 nginx: ",
    "syslog over TCP": "173 <190>1 2026-01-05T00:00:07.1Z web1 nginx - - - ",
    "compose, coloured": "\x1b[36mweb-1  | \x1b[0m",
    "holes of copytruncate": "\0" * 5000,
    "byte-order mark": "\ufeff",
}


@pytest.mark.parametrize("client", [ADDRESS, "2001:db8:5:6::7"])
@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_what_carried_a_line_is_no_part_of_it(prefix: str, client: str, tmp_path: Path) -> None:
    line = prefix + LINE.replace(ADDRESS, client)
    expected = account("2001:db8:5:6::/64" if ":" in client else client)
    found = one("nginx", line)
    assert (found.account, found.user, found.time) == (expected, "", 1767571200.0)
    assert detect(line.encode()) == "nginx"
    (tmp_path / "log").write_text(f"{line}\n{line}\n")
    records = read_records(tmp_path / "log")
    assert (records.format, len(list(records))) == ("nginx", 2)


@pytest.mark.parametrize("prefix", ["2026/01/05 00:00:07 [info] ", "x y ", "level=info msg ", "- - "])
def test_a_prefix_that_is_not_known_is_refused_rather_than_taken_for_a_client(prefix: str) -> None:
    record = bad("nginx", (prefix + LINE).encode())
    assert record.reason == "fields"
    assert "begins with no client" in str(record)


JSON_LINE = json.dumps(
    {"time_iso8601": "2026-01-05T00:00:00Z", "remote_addr": ADDRESS, "request": "GET /v1/parts/12 HTTP/1.1"}
)
WRAPPERS: dict[str, Any] = {
    "docker": lambda line: {"log": line + "\n", "stream": "stdout", "time": "2026-01-05T00:00:09.5Z"},
    "filebeat": lambda line: {"@timestamp": "2026-01-05T00:00:09.500Z", "message": line, "log": {"offset": 3}},
    "docker in filebeat": lambda line: {"message": json.dumps({"log": line, "stream": "stdout", "time": "x"})},
    "ecs": lambda line: {"@timestamp": "2026-01-05T00:00:09Z", "event": {"original": line}, "message": ""},
    "journald": lambda line: {"__REALTIME_TIMESTAMP": "1767571209000000", "MESSAGE": line, "_HOSTNAME": "web1"},
    "journald, bytes": lambda line: {"MESSAGE": list(line.encode()), "_HOSTNAME": "web1"},
    "vector": lambda line: {"file": "/var/log/x", "host": "web1", "message": line, "timestamp": "2026-01-05T00:00:09Z"},
    "loki": lambda line: {"streams": [{"stream": {"job": "x"}, "values": [["1767571209000000000", line]]}]},
    "logcli": lambda line: {"labels": {"job": "x"}, "line": line, "timestamp": "2026-01-05T00:00:09Z"},
    "google": lambda line: {"insertId": "1", "textPayload": line, "timestamp": "2026-01-05T00:00:09Z"},
    "connect": lambda line: {"schema": {"type": "string", "optional": False}, "payload": line},
    "collector": lambda line: {
        "resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": line}, "timeUnixNano": "1"}]}]}]
    },
    "collector, of a map": lambda line: {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {
        "kvlistValue": {"values": [{"key": "message", "value": {"stringValue": line}}]}}}]}]}]},
    "splunk": lambda line: {"event": {"line": line, "source": "stdout"}, "time": "1767571209.5", "host": "web1"},
    "gelf": lambda line: {"version": "1.1", "host": "web1", "short_message": "GET", "full_message": line},
    "cloudwatch": lambda line: {"logGroup": "g", "logEvents": [{"id": "1", "timestamp": 1, "message": line}]},
    "cloudevents": lambda line: {"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data": line},
    "debezium": lambda line: {"payload": {"before": None, "after": {"id": 7, "line": line}, "op": "c"}},
    "rest proxy": lambda line: {"records": [{"key": None, "value": line}]},
    "with a field that the shipper added": lambda line: {"message": line, "account": "fleet-7", "@timestamp": "x"},
    "json in json": lambda line: line,
}  # fmt: skip


@pytest.mark.parametrize("line", [LINE, JSON_LINE, PREFIXES["containerd"] + LINE], ids=["combined", "json", "prefixed"])
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_what_a_shipper_wraps_is_unwrapped(wrap: Any, line: str) -> None:
    raw = json.dumps(wrap(line))
    found = one("nginx", raw)
    assert (found.account, found.op, found.time) == (account(ADDRESS), "get", 1767571200.0)
    assert detect(raw.encode()) == ("otlp" if "resourceLogs" in raw else "nginx")


PARSED: dict[str, dict[str, Any]] = {
    "grok": {"clientip": ADDRESS, "verb": "GET", "request": "/v1/parts/12", "response": "200", "agent": "curl/8.7.1",
             "@timestamp": "2026-01-05T00:00:00Z"},
    "vector": {"client": ADDRESS, "request": "GET /v1/parts/12 HTTP/1.1", "status": 200, "agent": "curl/8.7.1",
               "timestamp": "2026-01-05T00:00:00Z"},
    "fluent bit": {"date": 1767571200.0, "remote": ADDRESS, "method": "GET", "path": "/v1/parts/12", "code": "200",
                   "agent": "curl/8.7.1"},
    "ecs": {"@timestamp": "2026-01-05T00:00:00Z", "source": {"ip": ADDRESS}, "url": {"original": "/v1/parts/12"},
            "http": {"request": {"method": "GET"}, "response": {"status_code": 200}},
            "user_agent": {"original": "curl/8.7.1"}},
    "traefik": {"ClientHost": ADDRESS, "RequestMethod": "GET", "RequestPath": "/v1/parts/12", "DownstreamStatus": 200,
                "StartUTC": "2026-01-05T00:00:00Z", "Duration": 5, "request_User-Agent": "curl/8.7.1"},
    "caddy": {"ts": 1767571200.0, "status": 200, "duration": 0.1, "request": {
        "remote_ip": ADDRESS, "method": "GET", "uri": "/v1/parts/12", "headers": {"User-Agent": ["curl/8.7.1"]}}},
}  # fmt: skip


@pytest.mark.parametrize("entry", PARSED.values(), ids=PARSED)
def test_an_entry_that_somebody_parsed_reads_like_its_line(entry: dict[str, Any]) -> None:
    found, line = one("nginx", entry), one("nginx", LINE)
    for field in ("account", "time", "status", "op", "client", "resource", "item"):
        assert getattr(found, field) == getattr(line, field), field
    assert detect(json.dumps(entry).encode()) == "nginx"


def test_the_address_of_who_sent_a_line_is_not_the_client_s() -> None:
    assert one("nginx", {"remote": "198.51.100.9", "message": LINE, "date": 1.0}).account == account(ADDRESS)


def test_an_object_that_a_shipper_parsed_is_unwrapped() -> None:
    raw = {"schema": {"type": "struct"}, "payload": json.loads(JSON_LINE)}
    assert one("nginx", raw).account == account(ADDRESS)


@pytest.mark.parametrize("last", ["3.26", "api.example", "-", "unknown", "curl/8.7.1", "Bearer x"])
def test_a_further_quoted_field_is_a_client_only_where_it_is_an_address(last: str) -> None:
    assert one("nginx", f'{LINE} "{last}"').ip == one("nginx", LINE).ip


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.5", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.5", "203.0.113.9:51234", "203.0.113.9"),
        ("10.0.0.5", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.5", "1.2.3.4, 203.0.113.9, 10.0.0.3", "203.0.113.9"),
        ("10.0.0.5", "junk, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.5", "10.0.0.9", "10.0.0.9"),
        ("198.51.100.7", "1.2.3.4", "198.51.100.7"),
        ("10.0.0.5", "2001:db8:5:6::7, fd00::1", "2001:db8:5:6::/64"),
    ],
)
def test_an_account_by_forwarded_address_is_the_hop_behind_trusted_proxies(
    peer: str, forwarded: str, client: str
) -> None:
    line = f'{LINE.replace(ADDRESS, peer)} "{forwarded}"'
    found = one("nginx", line, SIPHONWATCH_ACCOUNTS_NGINX="http_x_forwarded_for")
    assert found.account == account(client)
    record = {"time_iso8601": "2026-01-05T00:00:00Z", "remote_addr": peer, "http_x_forwarded_for": forwarded}
    assert one("nginx", record, SIPHONWATCH_ACCOUNTS_NGINX="X-Forwarded-For").account == account(client)


def test_the_operator_names_further_proxies() -> None:
    line = f'{LINE.replace(ADDRESS, "198.51.100.7")} "1.2.3.4, 203.0.113.9"'
    environ = {
        "SIPHONWATCH_ACCOUNTS_NGINX": "http_x_forwarded_for",
        "SIPHONWATCH_ACCOUNTS_TRUSTED_PROXIES": "198.51.100.0/24",
    }
    assert one("nginx", line, **environ).account == account("203.0.113.9")


def test_an_ipv6_customer_is_one_account_over_its_whole_block() -> None:
    def of(address: str, **environ: str) -> str:
        return one("nginx", LINE.replace(ADDRESS, address), **environ).account

    assert of("2001:db8:5:6::7") == of("2001:db8:5:6:ffff::1") != of("2001:db8:5:7::7")
    whole = {"SIPHONWATCH_ACCOUNTS_IPV6_PREFIX": "128"}
    assert of("2001:db8:5:6::7", **whole) != of("2001:db8:5:6::8", **whole)
    assert of("2001:db8:5:6::7", SIPHONWATCH_ACCOUNTS_IPV6_PREFIX="48") == of(
        "2001:db8:5:7::7", SIPHONWATCH_ACCOUNTS_IPV6_PREFIX="48"
    )


def test_of_a_list_of_hops_in_front_the_one_that_a_trusted_proxy_heard_is_the_client() -> None:
    line = LINE.replace(ADDRESS, f"203.0.113.9, {ADDRESS}, 10.0.0.3")
    assert one("nginx", line).account == account(ADDRESS)
    assert one("nginx", line.replace("203.0.113.9", "no address")).account == account(ADDRESS)


def test_the_first_time_that_can_be_read_is_the_line_s() -> None:
    times = {"msec": "-", "time_iso8601": "soon", "time": "2026-01-05T00:00:00Z"}
    assert one("nginx", {**times, "remote_addr": ADDRESS, "status": 200}).time == 1767571200.0


@pytest.mark.parametrize("damage", [JSON_LINE + ",", JSON_LINE[:-1] + ",}"])
def test_a_comma_too_many_costs_no_field(damage: str) -> None:
    found, whole = one("nginx", damage), one("nginx", JSON_LINE)
    assert (found.account, found.time, found.resource) == (whole.account, whole.time, whole.resource)


def test_objects_without_a_line_s_end_between_are_several_requests() -> None:
    found = list(adapter("nginx").records((JSON_LINE * 2 + " " + JSON_LINE[:50]).encode()))
    assert [item.reason if isinstance(item, Malformed) else item.status for item in found] == [0, 0, "json"]


def test_a_user_name_is_an_account_only_where_the_operator_says_so() -> None:
    line = LINE.replace("- -", "- mallory", 1)
    assert one("nginx", line).account == account(ADDRESS)
    environ = {"SIPHONWATCH_ACCOUNTS_NGINX": "remote_user, remote_addr"}
    assert one("nginx", line, **environ).account == account("mallory")
    assert one("nginx", line.replace('" 200', '" 401'), **environ).account == account(ADDRESS), "refused: made up"


def test_a_key_that_was_refused_names_nobody() -> None:
    record = {"time_iso8601": "2026-01-05T00:00:00Z", "remote_addr": ADDRESS, "api_key": "k-1", "status": "200"}
    assert one("nginx", record).account == account("k-1")
    assert one("nginx", record | {"status": "401"}).account == account(ADDRESS)
    assert one("nginx", record | {"status": "403"}).account == account("k-1"), "known, and not allowed"


@pytest.mark.parametrize("cut", [50, 62, 70, 80, 95])
def test_a_line_that_a_container_runtime_cut_off_is_still_a_request(cut: int) -> None:
    assert one("nginx", LINE[: max(cut, len(f"{ADDRESS} - - {TIME}") + 2)]).account == account(ADDRESS)
    assert one("nginx", JSON_LINE[: cut + 20]).account == account(ADDRESS)


def test_a_line_of_many_times_costs_no_more_than_its_length() -> None:
    counted = []
    for n in (2_000, 20_000):
        line = f"{ADDRESS} - " + f"{TIME} " * n + f'{TIME} "' + f'{TIME} "' * n + REQUEST
        began = time.process_time()
        list(adapter("nginx").records(line.encode()))
        counted.append(time.process_time() - began)
    assert counted[1] < 40 * counted[0] + 0.5


def basic(user: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:x".encode()).decode()}


HOSTILE = {
    "user with a bracket": basic("a[b"),
    "user with all that separates": basic('u [05/Jan/2026] "GET / HTTP/1.1" 200 1 "-" "x"'),
    "empty user": basic(""),
    "agent with quotes": {"User-Agent": 'say "hi" \\ \x01 {"remote_addr":"198.51.100.1"}'},
    "agent beyond ASCII": {"User-Agent": "caf\xe9 \xff"},
    "agent that ends in a backslash": {"User-Agent": "x\\"},
    "agent of a log line": {"User-Agent": LINE},
    "forwarded junk": {"X-Forwarded-For": '", "x'},
    "forged field": {"User-Agent": 'x","remote_addr":"198.51.100.66","y":"'},
    "long agent": {"User-Agent": "y" * 7000},
}  # fmt: skip

NGINX_CONF = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  log_format as_json escape=json {fields};
  log_format by_default {fields};
  log_format unescaped escape=none {fields};
  access_log {folder}/combined.log; access_log {folder}/json.log as_json;
  access_log {folder}/default.log by_default; access_log {folder}/none.log unescaped;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "x"; }} }}
}}
"""
FIELDS = (
    """'{"time_iso8601":"$time_iso8601","remote_addr":"$remote_addr","status":$status,"request":"$request",' """
    """'"upstream_response_time":$upstream_response_time,"remote_user":"$remote_user",' """
    """'"http_user_agent":"$http_user_agent","http_x_forwarded_for":"$http_x_forwarded_for"}'"""
)


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """A real NGINX on a free port of loopback, writing its log in four ways."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(NGINX_CONF.format(folder=folder, port=port, fields=FIELDS))
    process = subprocess.Popen(
        [program, "-c", folder / "nginx.conf", "-p", folder], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield port, folder
    finally:
        process.terminate()
        process.communicate(timeout=300)


def ask(port: int, request: bytes) -> bytes:
    """What the server answers to these bytes, until it closes."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_a_hostile_client_of_a_real_nginx_hides_nothing(nginx: tuple[int, Path]) -> None:
    port, folder = nginx
    sent = 0
    for headers in HOSTILE.values():
        lines = [f"{key}: {value}" for key, value in headers.items()]
        request = "\r\n".join(["GET /v1/parts/12?q=a[b HTTP/1.1", "Host: x", "Connection: close", *lines, "", ""])
        ask(port, request.encode("latin-1"))
        sent += 1
    for raw in (
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b'GET /%22%5c" HTTP/1.0\r\n\r\n',
        b"NOPE\r\n\r\n",
        b"GET /\xc3\xa9[ HTTP/1.0\r\n\r\n",
    ):
        ask(port, raw)
        sent += 1
    for log in ("combined", "json", "default", "none"):
        path = folder / f"{log}.log"
        deadline = time.monotonic() + 300
        while path.read_bytes().count(b"\n") < sent and time.monotonic() < deadline:
            time.sleep(0.05)
        records = read_records(path)
        assert records.format == "nginx"
        reader = adapter("nginx")
        found = [element for record in records for element in reader.records(record)]  # type: ignore[arg-type]
        requests = [element for element in found if isinstance(element, Telemetry)]
        refused = [str(element) for element in found if isinstance(element, Malformed)]
        assert not refused, (log, refused)
        assert len([r for r in requests if r.status != 400 or r.op]) >= len(HOSTILE), log
        assert {record.account for record in requests} == {account("127.0.0.1")}, log

"""Settings of sinks: a table or variables for each, secrets directly or by file, never shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from siphonwatch.streams.common.settings import SettingsError, load
from siphonwatch.streams.common.sink_settings import Sink, UnusableSecret, place, secret
from siphonwatch.streams.operate import doctor


def toml(folder: Path, text: str) -> Path:
    path = folder / "siphonwatch.toml"
    path.write_text(text)
    return path


def test_a_sink_is_a_table_and_a_variable_overrides_one_of_its_fields(tmp_path: Path) -> None:
    path = toml(tmp_path, '[sinks.ops]\nkind = "slack"\nurl = "https://a.example"\nseverity = "low"\n')
    loaded = load({"SIPHONWATCH_SINKS_OPS_SEVERITY": "high+"}, path)
    sink = loaded.settings.sinks["ops"]
    assert (sink.kind, sink.url, sink.severity) == ("slack", "https://a.example", "high+")
    assert loaded.sources == {
        "sinks.ops.kind": f"file {path}",
        "sinks.ops.url": f"file {path}",
        "sinks.ops.severity": "environment SIPHONWATCH_SINKS_OPS_SEVERITY",
    }


def test_variables_alone_make_a_sink_and_an_underscore_is_a_hyphen_of_its_name() -> None:
    loaded = load(
        {
            "SIPHONWATCH_SINKS_TEAM2_KIND": "webhook",
            "SIPHONWATCH_SINKS_TEAM2_PATTERNS": "extraction, relay",
            "SIPHONWATCH_SINKS_ON_CALL_KIND": "pagerduty",
            "SIPHONWATCH_SINKS_ON_CALL_ROUTING_KEY_FILE": "/run/secrets/key",
        }
    )
    assert loaded.settings.sinks["team2"].patterns == ["extraction", "relay"]
    assert loaded.settings.sinks["on-call"].routing_key_file == "/run/secrets/key"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[sinks.ops]\nkind = "email"\n', "sinks.ops.kind (file "),
        ('[sinks.ops]\nurl = "https://a.example"\n', "sinks.ops: Object missing required field `kind`"),
        ('[sinks.ops]\nkind = "slack"\ncolour = 3\n', "sinks.ops: Object contains unknown field `colour`"),
        ('[sinks.ops]\nkind = "slack"\nseverity = "worst"\n', "sinks.ops.severity (file "),
        ('[sinks.ops]\nkind = "slack"\nsince = "yesterday"\n', "sinks.ops.since (file "),
        ('[sinks.ops]\nkind = "slack"\nkinds = ["reopened"]\n', "sinks.ops.kinds"),
        ("[sinks]\nops = 3\n", "sinks.ops is not a table: write [sinks.ops]"),
        ('[sinks.Ops_1]\nkind = "slack"\n', "use lower-case letters, digits and hyphens"),
        ("sinks = 3\n", "[sinks] is not a table"),
        ("[deliver]\ntimeout = 0\n", "deliver.timeout (file "),
    ],
)
def test_a_wrong_sink_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        load({}, toml(tmp_path, text))


@pytest.mark.parametrize("name", ["SINKS", "SINKS_OPS", "SINKS_KIND", "SINKS_OPS_COLOUR", "SINKS__KIND"])
def test_a_variable_that_names_no_field_of_a_sink_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"SIPHONWATCH_{name} is not a setting"):
        load({f"SIPHONWATCH_{name}": "x"})


def test_every_field_of_a_sink_has_its_variable() -> None:
    for field in Sink.__struct_fields__:
        assert place(f"a1_{field}") == ("a1", field)


def test_doctor_shows_each_field_of_a_sink_with_the_variable_that_sets_it_and_never_its_secrets(tmp_path: Path) -> None:
    hidden = {
        "url": "https://hooks.example/T0/B0/XXX",
        "secret": "whsec_c2VjcmV0",
        "token": "tok-1",
        "routing_key": "rk",
    }
    text = '[sinks.on-call]\nkind = "webhook"\n' + "".join(f'{name} = "{value}"\n' for name, value in hidden.items())
    rows = {row.name: row for row in doctor.rows(load({}, toml(tmp_path, text)))}
    assert {name.rpartition(".")[2] for name in rows if name.startswith("sinks.")} == set(Sink.__struct_fields__)
    assert rows["sinks.on-call.severity"].variable == "SIPHONWATCH_SINKS_ON_CALL_SEVERITY"
    assert load({rows["sinks.on-call.kind"].variable: "slack"}).settings.sinks["on-call"].kind == "slack"
    shown = " ".join(str(row.value) for row in rows.values())
    assert not any(value in shown for value in hidden.values())
    assert rows["sinks.on-call.url"].value == "set, 31 characters"


def test_a_secret_comes_from_its_file_as_the_file_is_now(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("https://one.example\n")
    sink = Sink(kind="slack", url_file=str(file))
    assert secret(sink, "url") == "https://one.example"
    file.write_text("https://two.example\n")
    assert secret(sink, "url") == "https://two.example"


def test_an_unusable_secret_is_refused_without_showing_one(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for sink, message in [
        (Sink(kind="slack", url="hidden", url_file="/nowhere"), "url and url_file are both set"),
        (Sink(kind="slack", url_file="/nowhere/url"), "url_file /nowhere/url cannot be read: No such file"),
        (Sink(kind="slack", url_file=str(tmp_path / "empty")), "is empty"),
        (Sink(kind="slack", url_file=str(tmp_path / "bytes")), "it is not UTF-8"),
    ]:
        with pytest.raises(UnusableSecret, match=re.escape(message)) as caught:
            secret(sink, "url")
        assert "hidden" not in str(caught.value)

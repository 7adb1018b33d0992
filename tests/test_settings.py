"""Settings: environment over file over default; what is wrong is refused with its name, its source and the remedy."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.common.settings import Settings, SettingsError, load


def toml(folder: Path, text: str) -> Path:
    path = folder / "siphonwatch.toml"
    path.write_text(text)
    return path


def test_nothing_set_gives_the_defaults_and_no_source() -> None:
    loaded = load({})
    assert loaded.settings == Settings()
    assert loaded.sources == {}


def test_the_file_overrides_the_default_and_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = toml(tmp_path, '[scoring]\nalpha = 0.01\ngrace = 30.0\n[kafka]\nbootstrap = "a:1"\n')
    loaded = load({"SIPHONWATCH_SCORING_ALPHA": "0.05"}, path)
    assert (loaded.settings.scoring.alpha, loaded.settings.scoring.grace) == (0.05, 30.0)
    assert loaded.settings.kafka.bootstrap == "a:1"
    assert loaded.settings.scoring.seed == Settings().scoring.seed
    assert loaded.sources == {
        "scoring.alpha": "environment SIPHONWATCH_SCORING_ALPHA",
        "scoring.grace": f"file {path}",
        "kafka.bootstrap": f"file {path}",
    }


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    path = toml(tmp_path, "[web]\nport = 7000\n")
    assert load({"SIPHONWATCH_CONFIG": str(path)}).settings.web.port == 7000


def test_variables_of_others_are_left_alone() -> None:
    assert load({"PATH": "/bin", "SIPHON_SCORING_ALPHA": "9"}).sources == {}


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("SIPHONWATCH_IDENTITY_PLAIN_IDS", "true", True),
        ("SIPHONWATCH_ACCOUNTS_NGINX", "account, remote_user", ["account", "remote_user"]),
        ("SIPHONWATCH_ACCOUNTS_NGINX", '["account"]', ["account"]),
        ("SIPHONWATCH_INGEST_TOPICS", '{"gateway.logs": "litellm"}', {"gateway.logs": "litellm"}),
        ("SIPHONWATCH_STATE_HOT_ACCOUNTS", "5000", 5000),
    ],
)
def test_a_variable_is_read_as_its_setting_s_type(variable: str, text: str, value: object) -> None:
    section, _, field = variable.removeprefix("SIPHONWATCH_").lower().partition("_")
    assert getattr(getattr(load({variable: text}).settings, section), field) == value


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"SIPHONWATCH_SCORING_ALHPA": "0.1"}, "SIPHONWATCH_SCORING_ALHPA is not a setting"),
        ({"SIPHONWATCH_NOWHERE_ALPHA": "0.1"}, "SIPHONWATCH_NOWHERE_ALPHA is not a setting"),
        ({"SIPHONWATCH_SCORING": "0.1"}, "SIPHONWATCH_SCORING is not a setting"),
        (
            {"SIPHONWATCH_SCORING_SECOND_STAGE": ""},
            "scoring.second_stage (environment SIPHONWATCH_SCORING_SECOND_STAGE) is no longer a setting: ",
        ),
        ({"SIPHONWATCH_SCORING_ALPHA": "much"}, "SIPHONWATCH_SCORING_ALPHA"),
        ({"SIPHONWATCH_SCORING_ALPHA": "1.5"}, "SIPHONWATCH_SCORING_ALPHA: Expected `float` < 1.0"),
        ({"SIPHONWATCH_TOPICS_PARTITIONS": "0"}, "PARTITIONS"),
        ({"SIPHONWATCH_TOPICS_PREFIX": "a b"}, "SIPHONWATCH_TOPICS_PREFIX"),
        ({"SIPHONWATCH_INGEST_TOPICS": '{"t": "xml"}'}, "SIPHONWATCH_INGEST_TOPICS"),
        ({"SIPHONWATCH_WEB_PORT": "65536"}, "WEB_PORT"),
        ({"SIPHONWATCH_IDENTITY_KEY": "short"}, "identity.key is too short: give at least 16 characters"),
        ({"SIPHONWATCH_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "set kafka.sasl_mechanism too"),
        ({"SIPHONWATCH_KAFKA_SASL_MECHANISM": "PLAIN"}, "set kafka.sasl_username"),
        ({"SIPHONWATCH_KAFKA_SASL_MECHANISM": "OAUTHBEARER"}, "set kafka.oauth_token_provider to "),
        ({"SIPHONWATCH_STATE_CHECKPOINT_INTERVAL": "90"}, "set the first to twice the second at least"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_refused_by_name(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        load(environ)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[scoring]\nalhpa = 0.1\n", "alhpa"),
        ("[nowhere]\nx = 1\n", "nowhere"),
        ("scoring = 3\n", "[scoring] is not a table of settings"),
        ("[scoring]\nsecond_stage_level = 0.5\n", "is no longer a setting: the second stage was taken out"),
        ("[scoring]\nalpha = 2.0\n", "scoring.alpha (file "),
        ('[scoring]\nalpha = "0.1"\n', "scoring.alpha (file "),
        ("[scoring\n", "cannot read settings from"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        load({}, toml(tmp_path, text))


def test_an_absent_or_undecodable_file_is_refused_by_path(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(str(tmp_path / "none.toml"))):
        load({"SIPHONWATCH_CONFIG": str(tmp_path / "none.toml")})
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"bad\.toml"):
        load({}, tmp_path / "bad.toml")


def test_no_message_shows_a_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"SIPHONWATCH_IDENTITY_KEY": "tooshort-secret"})
    assert "tooshort-secret" not in str(caught.value)


@given(
    section=st.sampled_from([name for name in Settings.__struct_fields__ if name != "sinks"]),
    field=st.integers(0, 20),
    text=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30),
)
def test_whatever_text_a_variable_holds_it_is_taken_or_refused_cleanly(section: str, field: int, text: str) -> None:
    names = getattr(Settings(), section).__struct_fields__
    name = names[field % len(names)]
    try:
        loaded = load({f"SIPHONWATCH_{section}_{name}".upper(): text})
    except SettingsError as error:
        assert name in str(error).lower()
    else:
        assert msgspec.convert(msgspec.to_builtins(loaded.settings), Settings) == loaded.settings


def test_topic_names_follow_the_prefix() -> None:
    settings = load({"SIPHONWATCH_TOPICS_PREFIX": "acme.siphonwatch"}).settings
    assert settings.topic("telemetry") == "acme.siphonwatch.telemetry.v1"

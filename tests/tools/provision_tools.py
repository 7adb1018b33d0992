"""Runs `siphonwatch provision` against the double; it asserts nothing but that Grafana would have taken every call."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from grafana_double import TOKEN, Double

from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import SettingsError
from siphonwatch.streams.operate.provision import bundled

FOLDER = "siphonwatch"
CONTACT = "https://hooks.example/on-call?key=hidden-in-the-address"


class Done(NamedTuple):
    """How a run ended."""

    code: int
    text: str
    """Everything it printed."""


@pytest.fixture
def grafana() -> Iterator[Double]:
    """A Grafana as it is after installation."""
    double = Double()
    yield double
    double.stop()
    assert double.surprises == []


@pytest.fixture
def few_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only three rules, for tests that run many times."""
    every = bundled.rules
    monkeypatch.setattr(bundled, "rules", lambda links: every(links)._replace(alerts=every(links).alerts[:3]))


def provision(double: Double, *arguments: str, **settings: str) -> Done:
    """Run the command; settings are fields of [grafana]. The double counts calls anew."""
    double.calls.clear()
    fields = {"url": double.url, "token": TOKEN, "contact_url": CONTACT, **settings}
    quiet: dict[str, Any] = {name: None for name in os.environ if name.startswith("SIPHONWATCH_")}
    variables = {f"SIPHONWATCH_GRAFANA_{name.upper()}": value for name, value in fields.items()}
    result = CliRunner().invoke(cli, ["provision", *arguments], env=quiet | variables)
    text = result.output
    if isinstance(result.exception, SettingsError):
        return Done(2, text + str(result.exception))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert TOKEN not in text
    assert "hidden-in-the-address" not in text
    return Done(result.exit_code, text)


def applied(double: Double, **settings: str) -> Done:
    """Apply, which has to succeed."""
    done = provision(double, "--apply", **settings)
    assert done.code == 0, done.text
    return done

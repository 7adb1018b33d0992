"""What every test shares: brokers, unique topic prefixes, and the warnings of libraries that are not ours to fix."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import re
from collections.abc import Iterator

import pytest
import structlog
from desk_indexes import open_index, opens, postgres
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from kafka_broker import (
    broker,
    broker_node,
    choose_brokers,
    kafka,
    kafka_node,
    required,
    tansu,
    tansu_node,
    unavailable,
)

from siphonwatch.streams.common.settings import Settings

__all__ = [
    "broker", "broker_node", "kafka", "kafka_node", "open_index", "opens", "postgres", "prefix", "settings", "tansu",
    "tansu_node",
]  # fmt: skip

_number = itertools.count(1)


# What a busy machine does to an example's time, or a first call's compilation, is no failure.
hypothesis_settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    # kafka-python 3.0 reads its schemas by an API that Python 3.11 deprecates and 3.13 brought back.
    config.addinivalue_line("filterwarnings", "ignore:(read|open)_text is deprecated:DeprecationWarning")
    # It also forgets to close the sockets of connections that were refused.
    config.addinivalue_line("filterwarnings", "ignore:unclosed <socket.socket.*0\\.0\\.0\\.0:ResourceWarning")
    # And, seldom, the connection it asked for metadata by, when the client closes meanwhile.
    config.addinivalue_line("filterwarnings", "ignore:unclosed <socket.socket.*family=2, type=1:ResourceWarning")
    # And of TLS connections whose handshake failed, and the pair of sockets by which a client that could not be made
    # would have been woken.
    config.addinivalue_line("filterwarnings", "ignore:unclosed <ssl.SSLSocket:ResourceWarning")
    config.addinivalue_line("filterwarnings", "ignore:unclosed <socket.socket.*family=1, type=1:ResourceWarning")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    choose_brokers(metafunc)


LONG = (
    "test_made_anew", "test_worker_crashes", "test_worker_campaigns", "test_rebalance", "test_rule_files",
    "test_demo_command", "test_sink_delivery", "test_provision_failures", "test_extensions", "test_compose_runs",
    "test_readme", "test_worker_ingest", "test_worker_rebalance", "test_kill", "test_losses", "test_chart_runs",
    "test_rolling_restart", "test_partition_loop", "test_alerts_fire", "test_three_places", "test_worker_partitions",
    "test_whole_loop", "test_worker_drift", "test_desk_on_topics", "test_desk_commands", "test_desk_command",
)  # fmt: skip
"""Files that take minutes: they begin first, so that no process of the suite ends long after the others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


def pytest_report_header() -> str:
    return "" if required() else unavailable()


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undo what a command run in this process did to logging: the next test's messages go where it looks for them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    # pytest's own handlers come and go around a test; only what was added within it is taken off.
    root.handlers = [handler for handler in root.handlers if handler in handlers]
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A topic prefix that no other test uses."""
    return re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:60].strip("-") + f"-{next(_number)}"


@pytest.fixture
def settings(broker: str, prefix: str) -> Settings:
    """Settings for one broker after the other, with topics and a group of the test's own."""
    fresh = Settings()
    fresh.kafka.bootstrap = broker
    fresh.kafka.group = fresh.topics.prefix = prefix
    fresh.topics.partitions = 2
    return fresh

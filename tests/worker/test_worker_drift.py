"""A real worker shows that the traffic of a cohort moved, over restarts, and that the other cohort's did not."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from worker_tools import Worker, prepare, produce, scored, traffic

from siphonwatch.models.engine.case_hours import DAY, WARM_UP
from siphonwatch.models.engine.population import WINDOW
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Telemetry
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.lab.scenario import EPOCH

pytestmark = pytest.mark.broker
ACCOUNTS, DAYS, MOVED = 110, WARM_UP + 2 * WINDOW + 1, 6
"""Half of the accounts hold conversations, half are programs; days in all, and days since programs ask otherwise."""


def weeks(settings: Settings) -> list[Telemetry]:
    """Each account asks twice a day; from some day on all programs ask for log-probabilities."""
    rng = np.random.default_rng(7)
    template = next(record for record in traffic() if not record.session and record.kind == "llm")
    identity = Identity.from_settings(settings)
    found = []
    for number in range(ACCOUNTS):
        program = number % 2 == 1
        account = identity.account(f"org-{number}")
        for day in range(DAYS + 1):
            for hour in (8, 16):
                time = EPOCH + day * DAY + (hour + 4 * rng.random()) * 3600
                found.append(msgspec.structs.replace(
                    template, account=account, time=time, id=f"{number}-{day}-{hour}",
                    content=f"{rng.integers(1, 2**62):016x}", session="" if program else f"{number + 1:016x}",
                    logprobs=5 if program and day >= DAYS - MOVED else 0,
                ))  # fmt: skip
    return sorted(found, key=lambda record: record.time)


def shown(settings: Settings) -> dict[str, dict[tuple[str, ...], float]]:
    """What the worker's metrics of drift say, by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.web.port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return {
        family.name.removeprefix("siphonwatch_"): {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in family.samples
        }
        for family in text_string_to_metric_families(text)
    }


@pytest.mark.parametrize("broker_node", ["tansu"], indirect=True)
async def test_a_worker_tells_of_the_cohort_that_moved_after_a_restart_too(settings: Settings, tmp_path: Path) -> None:
    prepare(settings, 2)
    settings.web.port = free_port()
    records = weeks(settings)
    half = len(records) // 2
    with Worker(settings, tmp_path) as worker:
        await produce(settings, records[:half])
        await worker.works()
        await scored(settings, half)
        early = shown(settings)
        assert set(early["drift_accounts"].values()) == {0} and not early["feature_psi"], "two weeks are no four"
        worker.stop()
    with Worker(settings, tmp_path) as worker:
        await produce(settings, records[half:])
        await worker.works()
        await scored(settings, len(records))
        found = shown(settings)
        worker.stop()
    assert {cohort: count > 40 for (cohort,), count in found["drift_accounts"].items()} == {
        "conversation": True, "program": True, "rest": False
    }  # fmt: skip
    moved = found["moved_features"]
    # One of the seventy features that `extraction` reads moves by chance among so few accounts.
    assert max(number for (cohort, _), number in moved.items() if cohort != "program") <= 1
    assert moved["program", "extraction"] >= 2
    assert found["feature_moved"]["program", "logprobs_1d"] == 1
    assert found["feature_psi"]["program", "logprobs_1d"] > 0.2
    assert found["feature_moved"]["conversation", "logprobs_1d"] == 0
    assert len(found["feature_psi"]) <= 3 * 93, "however many partitions and accounts there are"

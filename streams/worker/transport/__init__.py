"""A Faust transport that hands a partition's records over in bulk: URL scheme `siphonwatch://host:port`.

Faust finds it by the entry point `siphonwatch` of the group `faust.transports`.
"""

from __future__ import annotations

from faust.transport.drivers import aiokafka as driver

from siphonwatch.streams.worker.transport.batch import Batch, Begin, Lease, Record
from siphonwatch.streams.worker.transport.consumer import Consumer
from siphonwatch.streams.worker.transport.limits import Limits
from siphonwatch.streams.worker.transport.pump import TransportError

__all__ = ["Batch", "Begin", "Consumer", "Lease", "Limits", "Record", "Transport", "TransportError"]


class Transport(driver.Transport):
    """aiokafka's Faust transport with a consumer of batches; producing is unchanged."""

    Consumer = Consumer
    driver_version = f"siphonwatch over {driver.Transport.driver_version}"

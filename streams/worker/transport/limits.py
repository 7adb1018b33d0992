"""The transport's limits: batch sizes, batches in flight, fetch sizes, and the group's timeouts."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the bulk transport.

    Memory a partition: one fetch response of `fetch_bytes` (decompressed: a record batch at a time), and
    `max_in_flight` batches of about `max_bytes`.
    """

    max_records: int = 8192
    """Records a batch: from 2,000 on, Faust's cost a message no longer shows."""
    max_bytes: int = 8 * 1024 * 1024
    """Bytes of keys and values a batch; it ends with the chunk of records that reaches them."""
    max_in_flight: int = 2
    """Batches of one partition handed over and not done: one being processed, one ready."""
    fetch_bytes: int = 4 * 1024 * 1024
    """Bytes the broker sends of one partition at once; a larger single record still arrives."""
    fetch_wait_ms: int = 200
    """A fetch waits so long for data. A partition that gets room again can wait for a fetch that is under way, so
    this is also the price of an idle neighbour."""
    session_timeout: float = 20.0
    """Seconds without a heartbeat after which the broker gives a worker's partitions away."""
    heartbeat_interval: float = 2.0
    rebalance_timeout: float = 60.0
    """Seconds a worker has to finish its batch and checkpoint before partitions move."""
    request_timeout: float = 40.0

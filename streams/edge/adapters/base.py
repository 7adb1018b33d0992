"""What every adapter is: bytes of one message in, telemetry out, and a reason beside it for each element that is not
what its format says. An adapter never raises on input and never lets text or names through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock
from types import MappingProxyType
from typing import Any, Protocol

from siphonwatch.streams.common.addresses import Addresses
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.sealed import Sealer
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry
from siphonwatch.streams.edge.adapters import standing
from siphonwatch.streams.edge.adapters.clients import Clients
from siphonwatch.streams.edge.adapters.elements import several, split
from siphonwatch.streams.edge.adapters.packed import STARTS, unpacked
from siphonwatch.streams.edge.adapters.values import NotJson, flat_fields, load_json
from siphonwatch.streams.edge.adapters.wrapping import clean, unwrapped, without_prefix

MAX_ID = 128
MAX_REASONS = 100
"""Bad elements of one message that are reported one by one; a message of a million of them must not become a million
dead letters. The rest are summed up in one more reason, and the good ones beside them still come out."""


class TextSketcher(Protocol):
    """Turns text into the sketch fields of telemetry; `siphonwatch.streams.edge.sketch.Sketcher` is one."""

    def sketch(self, messages: Sequence[tuple[str, str]], reply: str = "") -> dict[str, object]:
        """Return the text-sketch fields by name."""


class Adapter(ABC):
    """Maps one source's records to telemetry.

    Parameters
    ----------
    accounts
        Where the account stands: dotted paths, the first present one wins.
    identity
        Hashes names.
    sketcher
        Sketches text.
    limit
        Bytes of one message.
    addresses
        The operator's proxies, and how addresses are accounts.

    Attributes
    ----------
    passed_over
        How many elements were no requests, by what they were.
    without_text
        Requests whose record could have held text and did not, where the format's own settings decide that.
    """

    name: str
    who: standing.Paths = MappingProxyType({})
    """Where records of this format say more about the customer, as only the gateway can have written it."""
    marks: frozenset[str] = frozenset()
    """Keys of a record of this format: an object without any may be an envelope around one."""

    @classmethod
    def recognises(cls, record: bytes) -> bool:
        """Say whether a record is of this format; asked only of formats that other distributions add, after ours."""
        return False

    def __init__(
        self,
        accounts: Sequence[str],
        identity: Identity,
        sketcher: TextSketcher,
        limit: int,
        addresses: Addresses | None = None,
    ) -> None:
        self.addresses = addresses or Addresses()
        self.passed_over: Counter[str] = Counter()
        self.without_text = 0
        self._counting = Lock()
        self.accounts = tuple(accounts)
        self.identity = identity
        self.sketcher = sketcher
        self.limit = limit
        self.clients = Clients(identity)
        self.sealer: Sealer | None = None
        """Seals what leaves; None where nothing is sealed."""

    def look_for(self, who: standing.Paths) -> None:
        """Look for what these paths name there, and no longer where this format has it of its own."""
        self.who = {**self.who, **who}

    def records(self, raw: bytes) -> Iterator[Telemetry | Malformed]:
        """Yield the telemetry of one Kafka message, line or array; each bad element is a `Malformed` beside it."""
        if len(raw) > self.limit:
            yield Malformed("size", f"{len(raw)} bytes, ingest.max_record_bytes is {self.limit}")
            return
        if raw and raw[0] in STARTS:
            try:
                raw = unpacked(raw, self.limit)
            except Malformed as bad:
                yield bad
                return
        named = unnamed = 0
        for record in self._each(raw):
            if not isinstance(record, Malformed):
                yield self.sealer.seal(record) if self.sealer else record
            elif named < MAX_REASONS:
                named += 1
                yield record
            else:
                unnamed += 1
        if unnamed:
            yield Malformed("schema", f"{unnamed} more elements of this message are malformed")

    def _each(self, raw: bytes) -> Iterator[Telemetry | Malformed]:
        empty = True
        for element in split(raw, self.limit):
            empty = False
            if isinstance(element, Malformed):
                yield element
                continue
            yield from self._unpacked(without_prefix(clean(element)))
        if empty and clean(raw)[:1] != b"[":
            yield Malformed("json", "an empty record")

    def _unpacked(self, element: bytes) -> Iterator[Telemetry | Malformed]:
        """Yield the telemetry of one element, of what its envelope holds where it is one."""
        try:
            yield from self.element(element)
            return
        except Malformed as error:
            bad = error
        if bad.reason == "json" and (parts := several(element)):
            for part in parts:
                yield from (part,) if isinstance(part, Malformed) else self._unpacked(part)
            return
        wrapped = unwrapped(element, self.marks) if element[:1] in (b"{", b'"') else iter(())
        empty = True
        for inner in wrapped:
            empty = False
            try:
                yield from self.element(inner)
            except Malformed as error:
                yield error
        if empty:
            yield bad

    def warm(self) -> None:
        """Compile what the first record would wait for, beside the sketch, or load it from the cache."""
        if self.sealer:
            self.sealer.seal(Telemetry(id="r", time=0.0, account="a", item=0))

    def take_passed_over(self) -> Counter[str]:
        """Return what was passed over since the last call."""
        with self._counting:
            taken, self.passed_over = self.passed_over, Counter()
        return taken

    def pass_over(self, what: str, n: int = 1) -> None:
        """Count an element that is no request; several threads may adapt at a time."""
        with self._counting:
            self.passed_over[what] += n

    @abstractmethod
    def element(self, raw: bytes) -> Iterator[Telemetry | Malformed]:
        """Yield the telemetry of one element; may raise `Malformed` for the whole of it."""

    def account(self, name: str) -> str:
        """Return the account's id.

        Raises
        ------
        Malformed
            With reason `account` when the record names none.
        """
        if not name:
            raise Malformed("account", f"none of {', '.join(self.accounts)} is present (accounts.{self.name})")
        return self.identity.account(self.addresses.account(name))

    def request_id(self, value: str, raw: bytes) -> str:
        """Return the gateway's id of the request, or a hash where it has none or one beyond the contract's length."""
        if 0 < len(value) <= MAX_ID:
            return value
        return self.identity.hash64("request", value or raw.decode("utf-8", "replace"))

    def standing(self, find: Callable[[str], Any], time: float) -> dict[str, Any]:
        """Return the fields that say more about the customer; `find` gives what stands at a dotted path."""
        return standing.fields(find, self.who, time, self.identity) if self.who else {}

    def sketch(self, messages: Sequence[tuple[str, str]], reply: str, operation: str = "") -> dict[str, Any]:
        """Return the sketch fields; none where the log holds no text. All inputs of an embedding are one text."""
        inputs = len(messages)
        if operation == "embedding" and inputs > 1:
            messages = [("user", "\n".join(words for _, words in messages))]
        found = self.sketcher.sketch(messages, reply) if messages or reply else {}
        if operation == "embedding" and found:
            found["turns"] = inputs
        return found


def load_object(raw: bytes) -> Mapping[str, Any]:
    """Parse one JSON object.

    Raises
    ------
    Malformed
        With reason `json`, or `schema` when it is JSON but no object.
    """
    try:
        tree = load_json(raw)
    except NotJson as error:
        raise Malformed("json", str(error)) from None
    if not isinstance(tree, dict):
        raise Malformed("schema", f"a JSON object was expected, this is {type(tree).__name__}")
    return tree


def load_flat(raw: bytes, marks: frozenset[str]) -> Mapping[str, Any]:
    """Parse one flat JSON object; of one that is cut off or has unescaped quotes, the fields that can still be read.

    Raises
    ------
    Malformed
        As `load_object`, where it is no JSON and holds none of `marks` either.
    """
    try:
        return load_object(raw)
    except Malformed as bad:
        if bad.reason != "json" or raw[:1] != b"{" or several(raw):
            raise
        found = flat_fields(raw.decode("utf-8", "replace"))
        if not marks & found.keys():
            raise
        return found


def require_time(value: float | None, field: str) -> float:
    """Return the time.

    Raises
    ------
    Malformed
        With reason `time` when there is none.
    """
    if value is None:
        raise Malformed("time", f"`{field}` holds no time")
    return value

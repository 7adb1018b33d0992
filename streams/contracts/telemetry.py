"""The telemetry contract, versions 1 and 2: what one API request looks like on `siphonwatch.telemetry.v1`.

One flat JSON object a record. It never holds prompt or response text, nor an account, key, user, session or
address in the clear: those are keyed hashes (`common.identity`) and keyed sketches (`edge.sketch`). Empty
fields are left out. Version 2 has some of the sketches sealed (`contracts.sealed`). Fields may be added to both, none
renamed or retyped. A record's key is its account, and its partition what Kafka's murmur2 makes of it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from siphonwatch.models.common.vocabulary import CHUNKS, INTENTS, MASK_FAMILIES, REPLY_CHUNKS

Hash64 = Annotated[str, Meta(pattern="^([0-9a-f]{16})?$(?!\\n)")]
Share = Annotated[int, Meta(ge=0, le=1000)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]


def _packed(most: int) -> str:
    """The pattern of up to `most` chunks, each of which is eight digits of base64."""
    return rf"^([A-Za-z0-9+/]{{8}}){{0,{most}}}$(?!\n)"


class Telemetry(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One request, as siphonwatch sees it.

    The key of its Kafka record is the account in UTF-8, and the partition murmur2 of that: the default of Java clients,
    `partitioner=murmur2_random` for librdkafka, whose own default is another. An account in several partitions is
    several accounts to siphonwatch.

    Times are seconds, lengths characters, shares per mille. A `Hash64` is a keyed 64-bit hash in 16 lower-case
    hexadecimal digits, or empty where the source does not say.
    """

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    """The gateway's id of the request; analysts look the request up by it."""
    time: Annotated[float, Meta(ge=0, le=2**34)]
    """When the request arrived, seconds since 1970 UTC."""
    account: Annotated[str, Meta(min_length=1, max_length=64, pattern="^[\\x21-\\x7e]+$(?!\\n)")]
    """Who pays: keyed hash of 32 hexadecimal digits (the name itself only with plain ids)."""
    v: Literal[1, 2] = 1
    """2 where parts are `sealed`: who reads only 1 must not take them for absent."""
    kind: Literal["llm", "rest"] = "llm"

    # who and where from
    key: Hash64 = ""
    """API key."""
    user: Hash64 = ""
    """The customer's own end user."""
    session: Hash64 = ""
    """Conversation or session."""
    ip: Hash64 = ""
    net: Hash64 = ""
    """The address block: /24 of IPv4, /48 of IPv6."""
    agent: Hash64 = ""
    """The whole user-agent string."""
    headers: Hash64 = ""
    """The tuple of client header names and SDK header values: what one piece of software sends alike."""
    client: Annotated[str, Meta(max_length=32)] = ""
    """Family of the user agent in clear: openai-python, browser, curl..."""
    n_headers: Count = 0
    """Client headers beyond the user agent."""
    plan: Annotated[str, Meta(max_length=32)] = ""
    """The customer's plan or tier."""
    account_age: Annotated[int, Meta(ge=-1, le=2**31 - 1)] = -1
    """Days since the account was made; -1 unknown."""
    country: Annotated[str, Meta(max_length=2)] = ""
    """Of the address: an ISO 3166 code of two capital letters."""
    asn: Hash64 = ""
    """The network that the address is in: the number of its autonomous system."""
    payment: Hash64 = ""
    """What recurs with one means of payment."""

    # what was asked, and what came
    provider: Annotated[str, Meta(max_length=32)] = ""
    model: Annotated[str, Meta(max_length=64)] = ""
    op: Annotated[str, Meta(max_length=16)] = ""
    """chat, completion, embedding... or the HTTP method in lower case."""
    status: Annotated[int, Meta(ge=0, le=999)] = 200
    """HTTP status."""
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: Count = 0
    n: Count = 1
    """Completions asked for."""
    logprobs: Count = 0
    """Top log-probabilities asked for; 1 where only logprobs were."""
    tools: Count = 0
    structured: bool = False
    """A JSON or grammar response format was asked for."""
    tokens_in: Count = 0
    tokens_out: Count = 0
    duration: Annotated[float, Meta(ge=0, le=1e7)] = 0.0
    """Seconds from request to the end of the response."""
    finish: Annotated[str, Meta(max_length=16)] = ""
    remaining: Annotated[int, Meta(ge=-1, le=2**31 - 1)] = -1
    """Requests left in the account's rate limit; -1 unknown."""
    guardrails: Count = 0
    """Guardrails the gateway itself applied: PII masking it did is not the customer's."""

    # the sketch of the text
    template: Hash64 = ""
    """The last user message with variable parts masked out."""
    prefix: Hash64 = ""
    """The first words of the last user message."""
    system: Hash64 = ""
    """The system prompt with variable parts masked out."""
    content: Hash64 = ""
    """SimHash of the last user message: near-duplicates differ in few bits."""
    said: Hash64 = ""
    """The last user message, word for word but for white space."""
    before: Hash64 = ""
    """The user message before the last one, hashed as `said` is; the last one itself where others spoke after it, as an
    agent's tools do, or only others before it. A conversation that was had goes on from what was `said` in an earlier
    request. Empty where the request is one message."""
    reply: Hash64 = ""
    """The response's text; empty where the gateway logs none."""
    follows: Hash64 = ""
    """The last of the assistant's messages in the request that has text, hashed as `reply` is."""
    earlier: Hash64 = ""
    """All messages in the request but the last of the user's and the system prompt, together, hashed as `said` is."""
    projection: Annotated[str, Meta(pattern="^([A-Za-z0-9+/]{43}=)?$(?!\\n)")] = ""
    """`PROJECTION` signed bytes in base64: keyed projection of hashed n-grams, unit length scaled to 127."""
    chunks: Annotated[str, Meta(pattern=_packed(CHUNKS))] = ""
    """The last user message, cut where its own words say so: six bytes of each chunk, all in base64. Four are a keyed
    hash, the lowest first, two the length in characters, a run of white space being one. What two messages share is in
    both the same chunks, whatever stands before and behind it, but for the chunks beside what differs. A long message
    is cut into longer chunks, so that `CHUNKS` suffice; of one beyond 5,120 characters the first 4,096 and the last
    1,024 are read."""
    reply_chunks: Annotated[str, Meta(pattern=_packed(REPLY_CHUNKS))] = ""
    """The response's text, likewise, up to `REPLY_CHUNKS`."""
    sealed: Annotated[str, Meta(pattern="^([A-Za-z0-9+/]{32}){0,9}$(?!\\n)")] = ""
    """`content`, `projection`, `chunks`, `reply_chunks`, `item` and `page` under a keyed pad, in base64, in place of
    those fields; `contracts.sealed` says how."""
    lang: Annotated[str, Meta(max_length=8)] = ""
    turns: Count = 0
    """Messages in the request, the system prompt not counted."""
    chars: Count = 0
    """Length of the last user message."""
    chars_out: Count = 0
    chars_system: Count = 0
    """Length of the system prompt."""
    chars_earlier: Count = 0
    """Length of all messages but the last of the user's and the system prompt."""
    digits: Share = 0
    upper: Share = 0
    punctuation: Share = 0
    spaces: Share = 0
    wide: Share = 0
    """Share of non-ASCII characters."""
    masks: Annotated[list[Count], Meta(max_length=len(MASK_FAMILIES))] = []
    """Masked spans by syntax family, in the order of `MASK_FAMILIES`; short lists end in zeros."""
    echo: Count = 0
    """Placeholders of the request that stand in the response too."""
    canonical: bool = False
    """The text reads as case-folded and whitespace-normalised by a machine."""
    intents: Annotated[int, Meta(ge=0, le=2 ** len(INTENTS) - 1)] = 0

    # plain REST
    route: Hash64 = ""
    """Method and path with identifiers taken out."""
    resource: Hash64 = ""
    """The path, with the query parameters that say what is asked for; without times and what is the client's own."""
    item: Annotated[int, Meta(ge=-1, le=2**53)] = -1
    """A numeric identifier plus a keyed offset of its route: differences are true, values are not; -1 none."""
    page: Annotated[int, Meta(ge=-1, le=2**31 - 1)] = -1
    """Page number or offset of a listing; 2147483647 where a cursor names the next one; -1 none."""


REASONS = ("account", "encoding", "fields", "json", "origin", "schema", "size", "time")
"""Why a record is not used: who pays or when is not known, fields a gateway should have logged are missing, it is not
UTF-8, not JSON, not written by whom it says, not what the schema says, or too large."""


class Malformed(ValueError):
    """A record that is not what its format says; the message names the reason and never quotes the content."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        """One of `REASONS`, fit for a metric label."""


_QUOTED = re.compile(r"(Invalid enum value) .*(?= - at )", re.DOTALL)
"""What msgspec quotes of a record."""
_decoder = msgspec.json.Decoder(Telemetry)
_encoder = msgspec.json.Encoder()


def decode(raw: bytes) -> Telemetry:
    """Parse and validate one telemetry record.

    Raises
    ------
    Malformed
        With reason `json` (not JSON), `encoding` (not UTF-8) or `schema` (a field is missing, out of range, of
        another type).
    """
    try:
        record = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise Malformed("schema", _QUOTED.sub(r"\1", str(error))) from None
    except UnicodeError:
        raise Malformed("encoding", "not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed("json", str(error)) from None
    return record


def encode(record: Telemetry) -> bytes:
    """Serialise one record as compact JSON, empty fields left out."""
    return _encoder.encode(record)


def json_schema() -> dict[str, Any]:
    """Return JSON Schema (2020-12) of telemetry v1."""
    schema = msgspec.json.schema(Telemetry)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = "urn:siphonwatch:telemetry:v1"
    return schema

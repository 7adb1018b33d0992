"""Settings: environment variables over one TOML file over defaults, validated once, each knowing where it came from.

`SIPHONWATCH_<SECTION>_<FIELD>` overrides `[section] field`. Nothing is read at import.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from siphonwatch.streams.common import extensions
from siphonwatch.streams.common.addresses import IPV6_PREFIX, PRIVATE, Addresses
from siphonwatch.streams.common.desk_settings import Desk
from siphonwatch.streams.common.sink_settings import NAME, Deliver, Feedback, Sink, place

PREFIX = "SIPHONWATCH_"
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Format = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
"""Of a gateway's log: one of ours, or one that another distribution adds."""


class SettingsError(ValueError):
    """A setting is unknown or out of range; the message names it, its source and the remedy."""


_NO_SECOND_STAGE = (
    "the second stage was taken out, as its rank helped nowhere; a model of your own counts in the score as a card's "
    "learned support (`siphonwatch train --river` or `--sklearn`). Take this setting out"
)
REMOVED = {"scoring.second_stage": _NO_SECOND_STAGE, "scoring.second_stage_level": _NO_SECOND_STAGE}
"""Settings of earlier releases: what became of each one."""


class Kafka(msgspec.Struct, forbid_unknown_fields=True):
    """Connection to the brokers; passed to every client alike."""

    bootstrap: str = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = ""
    sasl_username: str = ""
    sasl_password: str = ""
    oauth_token_provider: str = ""
    """Import path `package.module:function` that returns a token, for OAUTHBEARER."""
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    ssl_password: str = ""
    ssl_check_hostname: bool = True
    group: str = "siphonwatch"
    """Consumer group of the workers."""


class Topics(msgspec.Struct, forbid_unknown_fields=True):
    """Names and shapes of our topics: `<prefix>.telemetry.v1` and so on."""

    prefix: Annotated[str, Meta(pattern="^[A-Za-z0-9._-]+$", max_length=100)] = "siphonwatch"
    partitions: Positive = 8
    replication: Positive = 1
    telemetry_retention_hours: Positive = 72
    alerts_retention_hours: Positive = 24 * 90
    dlq_retention_hours: Positive = 24 * 14
    verdicts_history_hours: Positive = 24 * 365
    """How long a verdict that a later one replaced can still be read; the last one of a case is kept for good."""
    control_history_hours: Positive = 24 * 365
    """How long an allow entry that was ended can still be read."""


class Identity(msgspec.Struct, forbid_unknown_fields=True):
    """Keyed hashing of identifiers and sketches."""

    key: str = ""
    """Secret of at least 16 characters; every gateway and worker of one deployment shares it."""
    plain_ids: bool = False
    """Keep account names readable. Never in production: everything else stays hashed all the same."""
    seal: bool = False
    """Seal what says more of texts and resources than whether two are equal, wherever telemetry is made: who reads the
    topic without the key finds noise there. Workers have to have a key first."""
    seal_key: str = ""
    """For workers that have no `key`, or another one than gateways still have: opens sealed parts, and nothing else.
    `siphonwatch doctor --seal-key` prints it where `key` is set."""


class Accounts(msgspec.Struct, forbid_unknown_fields=True):
    """Which field of each format is the account: dotted paths, the first present one wins."""

    litellm: list[str] = msgspec.field(
        default_factory=lambda: [
            "metadata.user_api_key_org_id",
            "metadata.user_api_key_team_id",
            "metadata.user_api_key_hash",
        ]
    )
    otlp: list[str] = msgspec.field(
        default_factory=lambda: [
            "siphonwatch.account",
            "tenant.id",
            "metadata.user_api_key_org_id",
            "metadata.user_api_key_team_id",
            "metadata.user_api_key_hash",
            "metadata.user_api_key_user_id",
        ]
    )
    """Never what a customer's own request names (`gen_ai.user`, `enduser.id`, `user.id`), unless the gateway writes it:
    a new user with every request would be a new account each time. Never `service.name`, which is the gateway."""
    kong: list[str] = msgspec.field(
        default_factory=lambda: [
            "consumer.id",
            "consumer.custom_id",
            "authenticated_entity.id",
            "credential.id",
            "client_ip",
        ]
    )
    envoy: list[str] = msgspec.field(
        default_factory=lambda: ["x-account-id", "account", "client_id", "downstream_remote_address"]
    )
    """The gateway must write `x-account-id` over what a client sends. `x-forwarded-for` is the client's address behind
    `trusted_proxies`."""
    nginx: list[str] = msgspec.field(default_factory=lambda: ["account", "api_key", "remote_addr"])
    """`remote_user` only where NGINX itself checks passwords on every location (`auth_basic`): elsewhere a client
    writes what it likes there, a new name each time or somebody else's. `http_x_forwarded_for` is the client's address
    behind `trusted_proxies`."""
    trusted_proxies: list[str] = msgspec.field(default_factory=lambda: list(PRIVATE))
    """Networks of the proxies whose X-Forwarded-For is believed: the client is the last address that none of them has.
    Add those of a content delivery network in front."""
    ipv6_prefix: Annotated[int, Meta(ge=1, le=128)] = IPV6_PREFIX
    """Bits of an IPv6 address that make an account; one customer has the rest to itself."""
    allow: list[str] = msgspec.field(default_factory=list)
    """Accounts that may do what looks like siphoning, such as a partner's crawler or a backup: they are scored and
    counted, and raise no alert. Names as gateways log them, or ids as alerts show them."""


class Who(msgspec.Struct, forbid_unknown_fields=True):
    """Where gateways' records say more about a customer: dotted paths, the first present one wins, in place of those
    that a format has of its own (docs/gateways.md). Only what the gateway itself writes: a client says of itself what
    it likes."""

    plan: list[str] = []
    """Plan or tier, a short name."""
    account_age: list[str] = []
    """Days since the account was made, or the time when it was."""
    country: list[str] = []
    """ISO 3166 code of two letters, of the address."""
    asn: list[str] = []
    """Number of the network that the address is in (autonomous system); kept as a keyed hash."""
    payment: list[str] = []
    """What recurs with one means of payment, such as Stripe's card fingerprint; kept as a keyed hash."""


class Ingest(msgspec.Struct, forbid_unknown_fields=True):
    """Topics that gateways write themselves, and the format each one is in."""

    topics: dict[str, Format] = {}
    max_record_bytes: Positive = 8 * 1024 * 1024
    processes: Annotated[int, Meta(ge=0, le=256)] = 0
    """Processes that adapt and sketch records; 1 none but the worker's own, 0 as many as there are processors, begun
    once there is much to do."""


class Scoring(msgspec.Struct, forbid_unknown_fields=True):
    """Windows, evidence and cases."""

    alpha: Annotated[float, Meta(gt=0, lt=1)] = 1e-3
    """False-alarm level of one account and pattern: an alert needs an e-value of 1/alpha at least."""
    budget: Annotated[float, Meta(gt=0, le=1)] = 0.1
    """False-discovery budget of a partition: expected share of false ones among its released cases, at any time."""
    grace: Seconds = 60.0
    """Event-time seconds that a record may be late and still join its windows."""
    max_ahead: Seconds = 600.0
    """Event-time seconds that one record may be ahead of its partition's clock."""
    close_after: Seconds = 86_400.0
    """A case closes when its account showed no evidence for this long, in event time."""
    end_users: bool = False
    """Look for end users of one account that act together: some more sightings of accounts that name end users."""
    seed: int = 42


class Models(msgspec.Struct, forbid_unknown_fields=True):
    """Versions of the detectors."""

    registry: str = ""
    """Directory or URL (s3://bucket/path) of the versions that `siphonwatch models` deploys; workers do not read it."""


class Features(msgspec.Struct, forbid_unknown_fields=True):
    """What accounts' requests look like, as they were when scored: see `siphonwatch archive`."""

    log: Literal["off", "alerts", "hourly"] = "alerts"
    """What workers write to the topic of features: nothing, the features of each alert, or those of each account-hour
    that closes as well, some 1 KB each."""


class State(msgspec.Struct, forbid_unknown_fields=True):
    """Memory and durability of account state."""

    checkpoint_interval: Seconds = 10.0
    checkpoint_records: Positive = 2_000_000
    hot_accounts: Positive = 1_000_000
    """Accounts a partition keeps in memory, 3 KB each, before the longest idle ones leave for the state topic."""
    cold_accounts: Positive = 4_000_000
    """Accounts of a partition that may wait in the state topic, some 50 bytes of memory each; beyond, those that left
    first are forgotten."""
    cold_file_bytes: Annotated[int, Meta(ge=0)] = 2 * 1024**3
    """Bytes of a file in the folder for temporary files (TMPDIR) that hold a partition's newest such accounts, 3 KB
    each: from there they come back fifty times as fast as from Kafka. 0 for none."""
    fingerprints: Positive = 200_000
    """Fingerprints of clients and parameters that a partition of sightings watches for campaigns, 2 KB each; beyond,
    the longest idle ones are forgotten."""
    forget_after: Seconds = 86_400.0 * 30
    """Accounts idle for longer, in event time, are forgotten."""


class Web(msgspec.Struct, forbid_unknown_fields=True):
    """Health, readiness and metrics."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 6066
    stall_seconds: Seconds = 120.0
    """Not live when records wait and nothing was committed for so long: twice `state.checkpoint_interval` at least."""


class Grafana(msgspec.Struct, forbid_unknown_fields=True):
    """What `siphonwatch provision` makes in Grafana, and where alerts become annotations."""

    url: str = ""
    """Such as https://grafana.example:3000; empty for none."""
    token: str = ""
    """Of a service account that may edit folders, data sources, dashboards, alerting and annotations."""
    username: str = ""
    """With `password` in place of a token."""
    password: str = ""
    folder: str = "siphonwatch"
    prometheus_url: str = "http://127.0.0.1:9090"
    """Prometheus as Grafana reaches it, for the data source."""
    contact_url: str = ""
    """Webhook that Grafana tells of its alerts; empty for none: then neither contact point nor policy is made."""
    timeout: Seconds = 10.0
    """Of one call."""
    verify: bool = True
    """Check the server's certificate."""


DEFAULT_RUNBOOK = "deploy/runbook.md"
"""The runbook's place in the source tree: a link that leads nowhere from a mail or a page."""


class Links(msgspec.Struct, forbid_unknown_fields=True):
    """Where people read what we point at."""

    runbook: str = DEFAULT_RUNBOOK
    """Beginning of every link to the runbook, such as https://wiki.example/siphonwatch/runbook.md."""


class Log(msgspec.Struct, forbid_unknown_fields=True):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """Everything an operator sets."""

    kafka: Kafka = msgspec.field(default_factory=Kafka)
    topics: Topics = msgspec.field(default_factory=Topics)
    identity: Identity = msgspec.field(default_factory=Identity)
    accounts: Accounts = msgspec.field(default_factory=Accounts)
    who: Who = msgspec.field(default_factory=Who)
    ingest: Ingest = msgspec.field(default_factory=Ingest)
    scoring: Scoring = msgspec.field(default_factory=Scoring)
    models: Models = msgspec.field(default_factory=Models)
    features: Features = msgspec.field(default_factory=Features)
    state: State = msgspec.field(default_factory=State)
    web: Web = msgspec.field(default_factory=Web)
    grafana: Grafana = msgspec.field(default_factory=Grafana)
    links: Links = msgspec.field(default_factory=Links)
    deliver: Deliver = msgspec.field(default_factory=Deliver)
    feedback: Feedback = msgspec.field(default_factory=Feedback)
    desk: Desk = msgspec.field(default_factory=Desk)
    sinks: dict[str, Sink] = {}
    """By name: where `siphonwatch deliver` sends alerts."""
    log: Log = msgspec.field(default_factory=Log)

    def topic(self, name: str) -> str:
        """Return the full name of one of our topics, such as `telemetry` or `dlq`."""
        return f"{self.topics.prefix}.{name}.v1"


class Loaded(msgspec.Struct, frozen=True):
    """Settings together with the source of each one that was set."""

    settings: Settings
    sources: dict[str, str]
    """`section.field` -> `environment SIPHONWATCH_...` or `file PATH`."""


def load(environ: Mapping[str, str] | None = None, path: Path | None = None) -> Loaded:
    """Read the TOML file (`path`, or the one `SIPHONWATCH_CONFIG` names) and the environment over it.

    Raises
    ------
    SettingsError
        For an unknown section, field or variable, a value of another type or out of range, an unreadable file.
    """
    env = os.environ if environ is None else environ
    path = path or (Path(env[PREFIX + "CONFIG"]) if env.get(PREFIX + "CONFIG") else None)
    tree: dict[str, dict[str, Any]] = {}
    sources: dict[str, str] = {}
    if path is not None:
        tree = _read_toml(path)
        for section, fields in tree.items():
            if not isinstance(fields, dict):
                raise SettingsError(f"{path}: [{section}] is not a table of settings")
            if section == "sinks":
                sources.update(_sources_of_sinks(fields, path))
            else:
                sources.update({f"{section}.{name}": f"file {path}" for name in fields})
                for name in fields:
                    _refuse_removed(section, name, f"file {path}")
    types = {f.encode_name: f.type for f in msgspec.structs.fields(Settings) if f.name != "sinks"}
    for variable, text in env.items():
        if not variable.startswith(PREFIX) or variable == PREFIX + "CONFIG":
            continue
        section, _, name = variable.removeprefix(PREFIX).lower().partition("_")
        if section == "sinks" and (found := place(name)):
            sink, name = found
            kind = {f.encode_name: f.type for f in msgspec.structs.fields(Sink)}[name]
            tree.setdefault("sinks", {}).setdefault(sink, {})[name] = _parse(variable, text, kind)
            sources[f"sinks.{sink}.{name}"] = f"environment {variable}"
            continue
        known = (
            {f.encode_name: f.type for f in msgspec.structs.fields(types[section])}
            if section in types and section != "sinks"
            else {}
        )
        if name not in known:
            _refuse_removed(section, name, f"environment {variable}")
            raise SettingsError(f"{variable} is not a setting; `siphonwatch doctor` lists the known ones")
        tree.setdefault(section, {})[name] = _parse(variable, text, known[name])
        sources[f"{section}.{name}"] = f"environment {variable}"
    sinks = {name: _sink(name, fields, sources) for name, fields in tree.pop("sinks", {}).items()}
    try:
        settings = msgspec.convert(tree, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(error, sources)) from None
    settings.sinks = sinks
    _check(settings, sources)
    return Loaded(settings, sources)


def _refuse_removed(section: str, name: str, source: str) -> None:
    if remedy := REMOVED.get(f"{section}.{name}"):
        raise SettingsError(f"{section}.{name} ({source}) is no longer a setting: {remedy}")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"cannot read settings from {path}: {error}") from None


def _parse(variable: str, text: str, kind: Any) -> Any:
    """A variable's text as its field's type: lists and tables are written as JSON, or lists as a,b,c."""
    if kind is str:
        return text
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as first:
        try:
            return msgspec.json.decode(text, type=kind, strict=False)
        except msgspec.DecodeError:
            pass
        try:
            return msgspec.convert([part.strip() for part in text.split(",") if part.strip()], kind, strict=False)
        except msgspec.ValidationError:
            raise SettingsError(f"{variable}: {first}") from None


def _sources_of_sinks(sinks: dict[str, Any], path: Path) -> dict[str, str]:
    """Source of each sink's fields.

    Raises
    ------
    SettingsError
        For a sink that is no table, or whose name no consumer group or variable could have.
    """
    for name, fields in sinks.items():
        if not isinstance(fields, dict):
            raise SettingsError(f"{path}: sinks.{name} is not a table: write [sinks.{name}] above its settings")
        if not NAME.match(name):
            raise SettingsError(f"{path}: sink {name!r} cannot be named so: use lower-case letters, digits and hyphens")
    return {f"sinks.{name}.{field}": f"file {path}" for name, fields in sinks.items() for field in fields}


def _sink(name: str, fields: dict[str, Any], sources: Mapping[str, str]) -> Sink:
    try:
        sink = msgspec.convert(fields, Sink)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(error, sources, f"sinks.{name}")) from None
    if sink.kind not in (known := extensions.names(extensions.SINKS)):
        where = f"sinks.{name}.kind"
        raise SettingsError(f"{where} ({sources.get(where, 'nowhere')}) is {sink.kind!r}: there are {', '.join(known)}")
    return sink


def _explain(error: msgspec.ValidationError, sources: Mapping[str, str], section: str = "") -> str:
    text = str(error)
    _, found, path = text.rpartition("`$.")
    where = ".".join(filter(None, (section, path.rstrip("`") if found else "")))
    if source := sources.get(where, ""):
        return f"{where} ({source}): {text}"
    return f"{where}: {text}" if section else text


def _check(settings: Settings, sources: Mapping[str, str]) -> None:
    for format in settings.ingest.topics.values():
        if format not in (known := extensions.names(extensions.ADAPTERS)):
            source = sources.get("ingest.topics", "nowhere")
            raise SettingsError(f"ingest.topics ({source}): format {format!r}: there are {', '.join(known)}")
    try:
        Addresses(settings.accounts.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"accounts.trusted_proxies: {error}; give networks such as 203.0.113.0/24") from None
    kafka = settings.kafka
    if settings.identity.key and len(settings.identity.key) < 16:
        raise SettingsError("identity.key is too short: give at least 16 characters, such as `openssl rand -hex 32`")
    if kafka.security_protocol.startswith("SASL") and not kafka.sasl_mechanism:
        raise SettingsError(f"kafka.security_protocol is {kafka.security_protocol}: set kafka.sasl_mechanism too")
    if kafka.sasl_mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512") and not kafka.sasl_username:
        raise SettingsError(f"kafka.sasl_mechanism is {kafka.sasl_mechanism}: set kafka.sasl_username and _password")
    if kafka.sasl_mechanism == "OAUTHBEARER" and ":" not in kafka.oauth_token_provider:
        raise SettingsError(
            "kafka.sasl_mechanism is OAUTHBEARER: set kafka.oauth_token_provider to package.module:function"
        )
    if 2 * settings.state.checkpoint_interval > settings.web.stall_seconds:
        raise SettingsError(
            f"web.stall_seconds is {settings.web.stall_seconds:g} and state.checkpoint_interval "
            f"{settings.state.checkpoint_interval:g}: a busy worker would count as stuck before its checkpoint is due; "
            "set the first to twice the second at least"
        )

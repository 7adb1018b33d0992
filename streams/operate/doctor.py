"""What can be known before a worker starts: each setting with its source, and checks that say how to repair what fails.

It changes nothing on the brokers and never shows a secret.
"""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from siphonwatch.streams.common import chosen, desk_access, extensions, kafka
from siphonwatch.streams.common.connection import ClientLog, reason
from siphonwatch.streams.common.settings import PREFIX, Loaded, Settings, SettingsError
from siphonwatch.streams.common.sink_settings import SECRET_FIELDS
from siphonwatch.streams.deliver.text import is_url
from siphonwatch.streams.edge.adapters.otlp import TEXT_VARIABLES

if TYPE_CHECKING:
    from kafka.admin import KafkaAdminClient

SECRETS = frozenset(
    {
        "desk.database",
        "desk.oidc_secret",
        "desk.secret",
        "feedback.secret",
        "identity.key",
        "identity.seal_key",
        "kafka.sasl_password",
        "kafka.ssl_password",
        "grafana.token",
        "grafana.password",
    }
)
BROKER_SECONDS = 5.0
"""How long the broker may take to answer: longer than any healthy one, short enough to wait for."""
RELEASED = 1_767_225_600.0
"""2026-01-01 UTC, before this software existed: a clock that says less is wrong."""


class Row(msgspec.Struct, frozen=True):
    """One setting with its value and source."""

    name: str
    value: Any
    source: str
    """`default`, `file PATH` or `environment VARIABLE`."""
    variable: str
    """The environment variable that would set it."""


class Check(msgspec.Struct, frozen=True):
    """The outcome of one check."""

    name: str
    state: Literal["ok", "warning", "failed", "skipped"]
    message: str
    remedy: str = ""


def rows(loaded: Loaded) -> Iterator[Row]:
    """Give every setting, in the order of the sections; secrets as their length only."""
    sections: list[tuple[str, Any]] = []
    for name in loaded.settings.__struct_fields__:
        values = getattr(loaded.settings, name)
        one = isinstance(values, msgspec.Struct)
        sections += [(name, values)] if one else [(f"{name}.{key}", value) for key, value in values.items()]
    for section, values in sections:
        for field in values.__struct_fields__:
            name = f"{section}.{field}"
            value = getattr(values, field)
            if name in SECRETS or (section.startswith("sinks.") and field in SECRET_FIELDS):
                value = f"set, {len(value)} characters" if value else "not set"
            variable = PREFIX + name.replace(".", "_").replace("-", "_").upper()
            yield Row(name, value, loaded.sources.get(name, "default"), variable)


def examine(settings: Settings, *, offline: bool = False, environ: Mapping[str, str] | None = None) -> list[Check]:
    """Run every check; none raises, and the broker gets `BROKER_SECONDS` to answer.

    Parameters
    ----------
    offline
        Leave out what needs a broker or Grafana.
    environ
        Environment variables; those of the process by default.
    """
    env = os.environ if environ is None else environ
    checks = [
        identity(settings),
        sealing(settings),
        transport(),
        added(),
        clock(time.time()),
        compiled(env),
        row(),
        links(settings),
    ]
    checks += [sinks(settings)] if settings.sinks else []
    checks += [desk(settings)]
    checks += [Check("accounts", "warning", warning) for warning in chosen.warnings(settings)]
    checks += [otlp_text()] if "otlp" in settings.ingest.topics.values() else []
    if offline:
        return [*checks, Check("broker", "skipped", "offline"), Check("topics", "skipped", "offline")]
    return [*checks, *([grafana(settings)] if settings.grafana.url else []), *cluster(settings)]


def identity(settings: Settings) -> Check:
    """There has to be a key: every identifier and sketch is hashed under it."""
    if not settings.identity.key:
        remedy = (
            f"set {PREFIX}IDENTITY_KEY to the output of `openssl rand -hex 32`, the same at every gateway and worker"
        )
        return Check("identity", "failed", "identity.key is not set", remedy)
    if settings.identity.plain_ids:
        return Check("identity", "ok", "key set; account names stay readable (identity.plain_ids): never in production")
    return Check("identity", "ok", "key set")


def sealing(settings: Settings) -> Check:
    """What is sealed is opened with the key of the settings, or with the one that follows from identity.key."""
    from siphonwatch.streams.worker.opening import keys_of

    chosen = settings.identity
    try:
        keys = keys_of(settings)
    except SettingsError as error:
        line = "take the line without blanks, or unset identity.seal_key"
        remedy = line if chosen.seal_key else "give identity.key as a gateway has it"
        return Check("sealing", "failed", str(error), remedy)
    if not len(keys):
        remedy = (
            "set identity.seal_key to what `siphonwatch doctor --seal-key` prints at a gateway: without it requests "
            "are scored without the likeness of their texts, and siphonwatch_unopened_requests_total counts them"
        )
        return Check("sealing", "warning", "sealed parts of telemetry cannot be opened here: there is no key", remedy)
    opened = "opens what is sealed under " + " and ".join(
        ["identity.seal_key"] * bool(chosen.seal_key) + ["identity.key"] * bool(chosen.key)
    )
    if chosen.seal:
        return Check("sealing", "ok", f"telemetry made here is sealed; a worker with these settings {opened}")
    return Check(
        "sealing", "ok", f"telemetry made here is not sealed (identity.seal); a worker with these settings {opened}"
    )


def links(settings: Settings) -> Check:
    """Alerts and dashboards are read far from the source tree: their links to the runbook must lead somewhere."""
    if is_url(settings.links.runbook):
        return Check("links", "ok", f"alerts link to {settings.links.runbook}")
    return Check(
        "links", "warning", f"links.runbook is {settings.links.runbook!r}: from an alert that leads nowhere",
        "put the runbook where people on call can read it, and set links.runbook to its https:// address",
    )  # fmt: skip


def otlp_text() -> Check:
    """OpenTelemetry's instrumentations leave text out by default, which no log of theirs says."""
    return Check(
        "otlp text", "ok",
        "applications that OpenTelemetry instruments put text into spans only where their environment holds "
        + " and ".join(TEXT_VARIABLES),
    )  # fmt: skip


def transport(group: str = "faust.transports") -> Check:
    """Faust finds the bulk transport by an entry point, which exists once the package is installed."""
    remedy = "install the package itself: `pip install --no-deps .` in the checkout, or `make demo`"
    found = [e for e in importlib.metadata.entry_points(group=group) if e.name == kafka.SCHEME]
    if not found:
        return Check("transport", "failed", f"no entry point {kafka.SCHEME!r} in group {group!r}", remedy)
    try:
        found[0].load()
    except (ImportError, AttributeError) as error:
        return Check("transport", "failed", f"entry point {found[0].value} cannot be loaded: {error}", remedy)
    return Check("transport", "ok", f"{found[0].value} registered")


def added() -> Check:
    """Formats and sinks that other distributions add can be used."""
    found, failed = [], []
    for group in (extensions.ADAPTERS, extensions.SINKS):
        for name in extensions.added(group):
            try:
                extensions.load(group, name)
            except extensions.ExtensionError as error:
                failed.append(str(error))
            else:
                found.append(f"{name} ({group})")
    if failed:
        return Check("extensions", "failed", "; ".join(failed), "mend the distribution, or uninstall it")
    return Check("extensions", "ok", ", ".join(found) or "no other distribution adds formats or sinks")


def clock(now: float) -> Check:
    """Event time is compared with this machine's clock when lag is reported, so it has to be roughly right."""
    year = time.gmtime(now).tm_year
    if not RELEASED <= now < RELEASED + 50 * 365 * 86_400:
        return Check(
            "clock", "failed", f"the clock says it is {year}", "set it, or start a time service such as chrony"
        )
    return Check("clock", "ok", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)))


def compiled(environ: Mapping[str, str]) -> Check:
    """The compiled loops need a writable cache: without one numba refuses to load them."""
    import siphonwatch.models as models

    named = environ.get("NUMBA_CACHE_DIR", "")
    home = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".cache") / "numba"
    folders = ([Path(named)] if named else []) + [Path(models.__path__[0]) / "__pycache__", home]
    for folder in folders:
        if _writable(folder):
            return Check("compiled code", "ok", f"cache at {folder}")
        if named:
            break
    remedy = "point NUMBA_CACHE_DIR at a writable directory (a volume or tmpfs where the root file system is read-only)"
    return Check("compiled code", "failed", f"cannot write to {folders[0]}", remedy)


def row() -> Check:
    """What one account takes in memory and in the state topic, by part of its row."""
    from siphonwatch.models.account.row import PARTS
    from siphonwatch.models.common.declare import sizes

    parts = sizes(PARTS)
    whole = sum(parts.values())
    largest = sorted(parts, key=lambda name: -parts[name])[:8]
    said = ", ".join(f"{name} {parts[name]:,}" for name in largest)
    others = whole - sum(parts[name] for name in largest)
    return Check("account row", "ok", f"{whole:,} bytes: {said}, {len(parts) - len(largest)} others {others:,}")


def sinks(settings: Settings) -> Check:
    """Each alert sink has what its kind needs; whether alerts arrive is for `siphonwatch deliver --check` to try."""
    from siphonwatch.streams.deliver.make import check

    remedy = "set it right, or leave the sink to the machine that runs `siphonwatch deliver`"
    try:
        names = ", ".join(check(settings))
    except SettingsError as error:
        return Check("sinks", "failed", str(error), remedy)
    return Check("sinks", "ok", f"{names}; `siphonwatch deliver --check` sends each a test alert")


def desk(settings: Settings) -> Check:
    """The desk is for this machine alone, or says who may use it."""
    try:
        desk_access.check(settings.desk)
    except SettingsError as error:
        return Check("desk", "failed", str(error), "set it right, or leave it to the machine that runs the desk")
    mine = settings.desk
    if not mine.login:
        return Check("desk", "ok", f"on {mine.host}:{mine.port}, for who is on this machine")
    if mine.login == "nobody":
        remedy = "publish its port on loopback alone, or set desk.login to oidc or proxy"
        return Check("desk", "warning", f"whoever reaches {mine.host}:{mine.port} may do everything", remedy)
    kept = "" if mine.secret else "; desk.secret is not set: a restart logs everybody out"
    return Check("desk", "ok" if mine.secret else "warning", f"{mine.address}, login by {mine.login}{kept}",
                 "" if mine.secret else "set desk.secret to the output of `openssl rand -hex 32`")  # fmt: skip


def grafana(settings: Settings) -> Check:
    """Grafana answers and knows us; `siphonwatch provision --plan` says what it lacks."""
    from siphonwatch.streams.common.grafana import GrafanaError, connect, shown
    from siphonwatch.streams.operate.provision.marks import FOLDER_UID

    try:
        connection = connect(settings.grafana)
    except SettingsError as error:
        return Check("grafana", "failed", str(error), "set the grafana.* settings right")
    try:
        found = connection.find("read the folder", dict, connection.api.folder.get_folder, FOLDER_UID)
    except GrafanaError as error:
        return Check("grafana", "failed", str(error), "`siphonwatch provision --plan` needs it as well")
    finally:
        connection.close()
    made = "" if found else "; nothing was made there yet: `siphonwatch provision --plan`"
    return Check("grafana", "ok", f"{shown(settings.grafana.url)} answers{made}")


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def cluster(settings: Settings) -> list[Check]:
    """Ask the broker who it is and what topics it has, with the connection settings of the worker."""
    from kafka.errors import KafkaError

    where = f"{settings.kafka.bootstrap} ({settings.kafka.security_protocol})"
    limit = int(BROKER_SECONDS * 1000)
    with ClientLog().listening() as heard:
        try:
            admin = kafka.make_admin(
                settings.kafka, "siphonwatch-doctor", bootstrap_timeout_ms=limit, request_timeout_ms=limit
            )
            failure = None
        except (KafkaError, OSError, ValueError) as error:
            failure = heard.cause(error)
    if failure is not None:
        remedy = "start the broker, or set kafka.bootstrap, kafka.security_protocol and the kafka.sasl_* settings right"
        broker = Check("broker", "failed", f"{where}: {failure}", remedy)
        return [broker, Check("topics", "skipped", "the broker cannot be reached")]
    try:
        nodes = len(admin.describe_cluster()["brokers"])
        broker = Check("broker", "ok", f"{where}: {nodes} broker{'' if nodes == 1 else 's'}")
        return [broker, topics(settings, admin), group(settings)]
    except (KafkaError, OSError) as error:
        remedy = "allow this user what `siphonwatch topics --acls` prints"
        return [
            Check("broker", "failed", f"{where} refused: {reason(error)}", remedy),
            Check("topics", "skipped", "refused"),
        ]
    finally:
        admin.close()


def group(settings: Settings) -> Check:
    """Whether workers have every partition, and what waits for them; before the first worker starts none has any."""
    from kafka.errors import KafkaError

    from siphonwatch.streams.operate.deployment import look

    try:
        found = look(settings)
    except (KafkaError, OSError, ValueError) as error:
        remedy = f"allow this user to describe the group {settings.kafka.group} and the topics it reads"
        return Check("group", "failed", f"{settings.kafka.group} cannot be asked: {error}", remedy)
    lag = f"{found.waiting:,} records wait"
    if found.oldest_waiting is not None:
        lag += f", the oldest since {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(found.oldest_waiting))} UTC"
    if not found.workers:
        return Check("group", "warning", f"no worker is in group {found.group}; {lag}", "start `siphonwatch worker`")
    said = f"{len(found.workers)} worker{'' if len(found.workers) == 1 else 's'} in group {found.group}; {lag}"
    if found.unowned:
        nobody = ", ".join(f"{one.topic}[{one.number}]" for one in found.unowned)
        return Check("group", "failed", f"{said}; nobody has {nobody}", "`siphonwatch status` shows who has what")
    return Check("group", "ok", said)


def topics(settings: Settings, admin: KafkaAdminClient) -> Check:
    """All topics are there, with the partitions, retention and compaction that the worker counts on."""
    from siphonwatch.streams.operate.topics import check

    problems = check(settings, admin)
    if problems:
        made = any("topics --create" in problem for problem in problems)
        remedy = "`siphonwatch topics --create` makes what is missing" if made else ""
        return Check("topics", "failed", "\n".join(problems), remedy)
    return Check("topics", "ok", f"all of {settings.topics.prefix}.* present and in shape")

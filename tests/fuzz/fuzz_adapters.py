"""Coverage-guided fuzzing of every adapter, the format detection and the array splitter (atheris).

    python tests/fuzz/fuzz_adapters.py -max_total_time=120 -rss_limit_mb=2048

Starts from one good record of each format; a finding is an exception, or telemetry that the contract refuses.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tools")]

from siphonwatch.streams.edge.sketch import Sketcher  # noqa: E402 - before instrumentation, which numba cannot compile

with atheris.instrument_imports(include=["siphonwatch.streams.edge.adapters"]):
    from adapter_samples import COMBINED, KEY, SAMPLES, adapter

    from siphonwatch.streams.common import extensions
    from siphonwatch.streams.common.identity import Identity
    from siphonwatch.streams.contracts.telemetry import Malformed, decode, encode
    from siphonwatch.streams.edge.adapters import detect
    from siphonwatch.streams.edge.adapters.elements import Elements

    SKETCHER = Sketcher(Identity(KEY))
    FORMATS = extensions.names(extensions.ADAPTERS)
    ADAPTERS = [adapter(format, SKETCHER) for format in FORMATS]  # imports their modules

FURTHER = (
    ("prefixed", "nginx", b"2026-01-05T00:00:07.1Z stdout F <190>Jan  5 00:00:07 web1 nginx: " + COMBINED.encode()),
    ("escapes", "nginx", b'{"msec":1.8e9,"remote_addr":"192.0.2.1","status":,"request":"GET /\\x22 HTTP/1.1"}'),
    ("quotes", "nginx", b'{"msec":1.8e9,"remote_addr":"192.0.2.1","http_user_agent":"a"b","status":200}'),
    ("text", "envoy", b'[2026-01-05T00:00:00Z] "GET / HTTP/1.1" 200 - 0 3 12 9 "192.0.2.1" "x" "r" "h" "u:1"'),
    ("service", "envoy", b'{"commonProperties":{"startTime":1.8e9},"request":{"path":"/v1/messages"}}'),
    ("protobuf", "otlp", bytes.fromhex("0a2e0a0012 2a12280a10") + bytes(range(16)) + bytes.fromhex("1208") + b"12345678"
     + bytes.fromhex("2a0463686174")),
    ("logs", "otlp", b'{"resource_logs":[{"scope_logs":[{"log_records":[{"event_name":"gen_ai.choice"}]}]}]}'),
)  # fmt: skip
"""(name, format, record) of further shapes."""
REASONS = frozenset(("json", "schema", "size", "account", "time", "encoding", "fields"))
LIMIT = 1 << 20


def one_input(data: bytes) -> None:
    """Adapt one input with the adapter its first byte chooses; also detect it and cut it as an array in two chunks."""
    if len(data) < 2:
        return
    chosen, cut, raw = data[0] % len(ADAPTERS), data[1], data[2:]
    for record in ADAPTERS[chosen].records(raw):
        if isinstance(record, Malformed):
            assert record.reason in REASONS, record.reason
        else:
            assert decode(encode(record)) == record
    try:
        assert detect(raw) in FORMATS
    except ValueError as error:
        assert "none of the first" in str(error), error
    cutter = Elements(LIMIT, array=bool(cut & 1))
    pieces = [*cutter.feed(raw[:cut]), *cutter.feed(raw[cut:]), *cutter.close()]
    assert sum(len(piece) for piece in pieces if isinstance(piece, bytes)) <= len(raw)


def main() -> None:
    """Run libFuzzer with the samples as the corpus it starts from."""
    with tempfile.TemporaryDirectory() as folder:
        for i, format in enumerate(FORMATS):
            sample = json.dumps(SAMPLES[format]).encode()
            (Path(folder) / format).write_bytes(bytes((i, 40)) + sample)
            (Path(folder) / f"{format}-array").write_bytes(bytes((i, 41)) + b"[" + sample + b", 3, " + sample + b"]")
            wrapped = json.dumps({"log": sample.decode(), "stream": "stdout"}).encode()
            (Path(folder) / f"{format}-wrapped").write_bytes(bytes((i, 42)) + wrapped)
            (Path(folder) / f"{format}-cut").write_bytes(bytes((i, 43)) + sample[: len(sample) * 2 // 3])
        for name, format, raw in FURTHER:
            (Path(folder) / name).write_bytes(bytes((FORMATS.index(format), 0)) + raw)
        (Path(folder) / "combined").write_bytes(bytes((FORMATS.index("nginx"), 0)) + COMBINED.encode())
        atheris.Setup([*sys.argv, "-max_len=16384", folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

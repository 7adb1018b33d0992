"""Coverage-guided fuzzing of the telemetry decoder against the contract (atheris).

    python tests/fuzz/fuzz_decode.py -max_total_time=120 -rss_limit_mb=2048

Starts from good records in several spellings; a finding is an exception, or a record that the compiled scanner reads,
takes or refuses otherwise than the contract does. Compiled code gives no coverage, so the scanner's Python source runs
beside it: it guides, and must agree.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import FunctionType, SimpleNamespace

import atheris
import numpy as np

from siphonwatch.models.account import request as rq
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry, decode, encode
from siphonwatch.streams.worker import scan
from siphonwatch.streams.worker.decode import Decoder, decode_wrapped, to_request

DECODER = Decoder()
TABLES = scan.make_tables()


def word_at(buf: np.ndarray, p: int) -> np.uint64:
    """What the compiled function of this name does."""
    return np.uint64(int.from_bytes(buf[p : p + 8].tobytes(), "little"))


def byte_at(buf: np.ndarray, p: int) -> int:
    """What the compiled function of this name does."""
    return int(buf[p])


def put(buf: np.ndarray, p: int, value: object) -> None:
    """What the compiled function of this name does; compiled functions return Python's numbers, 8 bytes wide."""
    if isinstance(value, int):
        value = np.uint64(value % 2**64)
    raw = np.frombuffer((np.float64(value) if isinstance(value, float) else value).tobytes(), np.uint8)
    buf[p : p + len(raw)] = raw


# The account's hash is arithmetic modulo 2**64, which is so in compiled code only.
HASHING = SimpleNamespace(**vars(rq) | {"mix": lambda _: np.uint64(1)})
GLOBALS = vars(scan) | {"rq": HASHING, "word_at": word_at, "byte_at": byte_at, "put": put}
INTERPRETED = atheris.instrument_func(FunctionType(scan._scan.py_func.__code__, GLOBALS))
GOOD = encode(Telemetry(id="good", time=1.0, account="good"))
GOOD_REQUEST = to_request(decode(GOOD)).tobytes()
REASONS = frozenset(("json", "schema", "encoding"))
FULL = Telemetry(
    id="r-1", time=1767571200.123, account="0123456789abcdef" * 2, kind="rest", key="0123456789abcdef", client="curl",
    n_headers=7, provider="p", model="m", op="get", status=404, stream=True, temperature=0.5, top_p=1.0, max_tokens=64,
    n=2, logprobs=5, tools=1, structured=True, tokens_in=10, tokens_out=20, duration=0.25, finish="stop", remaining=9,
    projection="A" * 43 + "=", lang="en", masks=[1, 2, 3], canonical=True, intents=31, item=2**53, page=3,
    v=2, sealed="AbCdEfGh" * 8, chunks="AbC+/9zZ" * 3, reply_chunks="01234567", account_age=9, plan="pro", country="DE",
)  # fmt: skip


def spelled_out(data: bytes) -> None:
    """Scan one input by the interpreted source as well."""
    one, other = rq.blank(), rq.blank()
    buffer, found = np.frombuffer(data + b" " * 16, np.uint8), np.zeros(1, np.int64)
    start, end, blank = np.zeros(1, np.int64), np.array([len(data)]), rq.blank().view(np.uint64)
    answer = INTERPRETED(buffer, 0, len(data), one.view(np.uint8), 0, TABLES, rq.NAME_BYTES)
    scan.scan(buffer, start, end, TABLES, other.view(np.uint8), blank, found)
    one["account_hash"] = other["account_hash"]
    assert (answer, one.tobytes()) == (found[0], other.tobytes())


@atheris.instrument_func
def one_input(data: bytes) -> None:
    """Decode one input between two good neighbours and hold the result to the contract."""
    spelled_out(data)
    batch = DECODER.decode([GOOD, data, GOOD])
    assert batch.requests[0].tobytes() == batch.requests[-1].tobytes() == GOOD_REQUEST
    try:
        record = decode_wrapped(data)
    except Malformed as error:
        ((row, found),) = batch.rejected
        assert row == 1 and str(found) == str(error), (str(found), str(error))
        assert error.reason in REASONS, error.reason
        return
    assert not batch.rejected, batch.rejected
    assert batch.requests[1].tobytes() == to_request(record).tobytes(), record


def main() -> None:
    """Run libFuzzer with good records as the corpus it starts from."""
    with tempfile.TemporaryDirectory() as folder:
        spaced = json.dumps(json.loads(encode(FULL)), indent=1).encode()
        samples = (GOOD, encode(FULL), spaced, spaced.replace(b"0.5", b"null").replace(b"1767", b"1e1"),
                   encode(FULL)[:-1] + b',"later":{"a":[1,"\\u00e9",null]},"id":"\\u0031"}')  # fmt: skip
        for i, sample in enumerate(samples):
            (Path(folder) / str(i)).write_bytes(sample)
        names = "".join(f'"\\"{name}\\":"\n' for name in Telemetry.__struct_fields__)
        dictionary = Path(folder) / "names"
        dictionary.write_text(names)
        atheris.Setup([*sys.argv, "-max_len=4096", f"-dict={dictionary}", folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

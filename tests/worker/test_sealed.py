"""Sealed telemetry: with the key nothing is lost, without it nothing is learned, and who lacks the key is told so."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from decode_strategies import records
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from worker_tools import KEY, traffic

from siphonwatch.models.account import request as rq
from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings, SettingsError
from siphonwatch.streams.contracts import sealed
from siphonwatch.streams.contracts.alert import encode as encode_alert
from siphonwatch.streams.contracts.alert import to_alert
from siphonwatch.streams.contracts.telemetry import Telemetry, decode, encode
from siphonwatch.streams.edge.adapters import make_adapter
from siphonwatch.streams.edge.sketch import Sketcher
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import TELEMETRY, Metrics
from siphonwatch.streams.worker.opening import keys_of
from siphonwatch.streams.worker.scoring import make_scorer, make_together
from siphonwatch.streams.worker.state.local import LocalStateLog
from siphonwatch.streams.worker.transport import Batch
from siphonwatch.streams.worker.transport.batch import Lease

IDENTITY = Identity(KEY)
SEALER = sealed.Sealer(sealed.seal_key(IDENTITY))
SKETCHER = Sketcher(IDENTITY)
START = "2026-01-05T00:00:00Z"
PARTS = ("content", "projection", "item", "page", "chunks", "reply_chunks")


def chosen(**identity: Any) -> Settings:
    found = Settings()
    for name, value in identity.items():
        setattr(found.identity, name, value)
    return found


WITH_KEY = Decoder(keys_of(chosen(key=KEY)))
WITHOUT = Decoder()


def spoken(text: str, number: int) -> Telemetry:
    """A request with this text."""
    return Telemetry(id=f"r{number}", time=1e9 + number, account="a", **SKETCHER.sketch([("user", text)], text))  # type: ignore[arg-type]


def without_parts(record: Telemetry) -> Telemetry:
    return msgspec.structs.replace(
        record, content="", projection="", item=-1, page=-1, chunks="", reply_chunks="", sealed="", v=1
    )


def seal_again(records: list[Telemetry], key: bytes) -> list[bytes]:
    return [encode(sealed.Sealer(key).seal(record)) for record in records]


def test_the_pad_is_siphash_2_4_as_its_authors_publish_it() -> None:
    words = np.frombuffer(bytes(range(16)), "<u8").astype(np.uint64)
    found = [int(sealed.siphash24(words, 0, n, words[0], words[1])) for n in range(3)]
    assert found == [0x726FDB47DD0E0E31, 0x93F5F5799A932462, 0x3F2ACC7F57C29BDB]


@settings(max_examples=300, deadline=None)
@given(records())
def test_any_record_opens_as_what_it_was(raw: bytes) -> None:
    record = msgspec.structs.replace(decode(raw), sealed="", v=1)
    shut = SEALER.seal(record)
    assert without_parts(shut) == without_parts(record)
    assert all(not getattr(shut, part) or getattr(shut, part) == -1 for part in PARTS)
    opened = WITH_KEY.decode([encode(shut)])
    plain = WITHOUT.decode([encode(record)])
    assert opened.requests.tobytes() == plain.requests.tobytes()
    assert opened.unopened == 0
    if shut is not record:
        assert shut.v == 2 and SEALER.seal(shut) == shut
        assert (
            WITHOUT.decode([encode(shut)]).requests.tobytes()
            == WITHOUT.decode([encode(without_parts(record))]).requests.tobytes()
        )


def test_the_longest_parts_fit() -> None:
    record = Telemetry(
        id="r", time=1.0, account="a", content="f" * 16, projection="/" * 43 + "=", item=2**53, page=2**31 - 1,
        chunks="z" * 128, reply_chunks="y" * 64,
    )  # fmt: skip
    assert len(sealed.parts(record)) == sealed.LONGEST
    shut = SEALER.seal(record)
    assert len(shut.sealed) == 32 * sealed.WORDS // 3
    both = [encode(shut)] * 3000  # more than are read at a time
    opened, plain = WITH_KEY.decode(both), WITHOUT.decode([encode(record)] * 3000)
    assert opened.requests.tobytes() == plain.requests.tobytes()
    escaped = encode(shut).replace(b'"sealed":"', b'"sealed":"\\u00' + f"{ord(shut.sealed[0]):02x}".encode())
    escaped = escaped.replace(shut.sealed[0].encode() + shut.sealed[1:9].encode(), shut.sealed[1:9].encode(), 1)
    assert decode(escaped) == shut
    assert WITH_KEY.decode([escaped, both[0]]).requests.tobytes() == plain.requests[:2].tobytes()


def test_sealed_and_opened_telemetry_gives_the_alerts_of_unsealed() -> None:
    plain = [encode(record) for record in traffic()]
    shut = [encode(SEALER.seal(record)) for record in traffic()]
    share = sum(b'"sealed"' in raw and b'"v":2' in raw for raw in shut) / len(shut)
    found = []
    for decoder, log in ((WITHOUT, plain), (WITH_KEY, shut)):
        batch = decoder.decode(log)
        assert not batch.rejected and not batch.unopened
        together = make_together(Settings())
        findings = together.score(batch.requests, np.arange(len(log)))
        found.append([encode_alert(to_alert(finding)) for finding in findings])
    assert share > 0.5
    assert found[0] == found[1] != []


def test_a_time_without_decimals_opens_as_any_other() -> None:
    record = Telemetry(id="r", time=5, account="a", content="0123456789abcdef", item=7)
    batch = WITH_KEY.decode([encode(SEALER.seal(record))])
    assert not batch.unopened and batch.requests["item"].tolist() == [7]


def test_what_stands_in_the_clear_beside_a_sealed_part_goes_nowhere() -> None:
    shut = SEALER.seal(Telemetry(id="r", time=5.0, account="a", content="0123456789abcdef"))
    mixed = msgspec.structs.replace(shut, content="f" * 16, item=7, chunks="AAAAAAAA")
    assert SEALER.seal(mixed) == shut


TEXTS = ["".join(random.Random(n).choices("abcdefgh  ", k=400)) for n in range(60)]


def bits(record: Telemetry) -> np.ndarray:
    return np.unpackbits(np.frombuffer(base64.b64decode(record.sealed), np.uint8))


def test_without_the_key_equal_texts_look_as_unlike_as_any_others() -> None:
    """5,400 pairs of equal and as many of other texts: whatever a bit, a byte or all bits together say of a pair is
    within four standard errors of chance, and no bit is more often 1."""
    shut = [[bits(SEALER.seal(spoken(text, 1000 * row + n))) for n in range(10)] for row, text in enumerate(TEXTS * 2)]
    size = min(len(one) for group in shut for one in group)
    drawn = np.array([[one[:size] for one in group] for group in shut])
    pairs = [(i, j) for i in range(10) for j in range(i)]
    same = np.concatenate([drawn[:, i] ^ drawn[:, j] for i, j in pairs])
    other = np.concatenate([drawn[:, i] ^ np.roll(drawn, 7, 0)[:, j] for i, j in pairs])
    for differing in (same, other):
        each = differing.mean(0)
        assert np.abs(each - 0.5).max() < 4.5 * 0.5 / np.sqrt(len(differing))
        assert abs(differing.mean() - 0.5) < 4 * 0.5 / np.sqrt(differing.size)
    near, far = same.sum(1), other.sum(1)
    order = np.argsort(np.concatenate((near, far)) + np.random.default_rng(1).random(2 * len(near)) * 0.5)
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order))
    area = (ranks[len(near) :].mean() - (len(near) - 1) / 2) / len(near)
    print(f"area under the curve {area:.3f} over {len(near)} pairs each")
    assert abs(area - 0.5) < 4 * np.sqrt(1 / 6 / len(near))
    assert np.abs(drawn.mean((0, 1)) - 0.5).max() < 4.5 * 0.5 / np.sqrt(drawn.shape[0] * drawn.shape[1])
    open_ = [spoken(TEXTS[0], n).projection for n in range(2)]
    assert open_[0] == open_[1]  # what is learned where nothing is sealed


def test_resources_walked_one_by_one_give_numbers_of_no_order() -> None:
    shut = [SEALER.seal(Telemetry(id=f"r{n}", time=float(n), account="a", kind="rest", item=n)) for n in range(2000)]
    values = np.array([int.from_bytes(base64.b64decode(one.sealed)[12:20], "little") for one in shut], np.float64)
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 4 / np.sqrt(2000)
    assert len(set(values.tolist())) == 2000


def test_another_key_and_a_changed_record_open_nothing_and_lose_nothing_else() -> None:
    record = spoken("What is a heron, and where does it live?", 7)
    shut = SEALER.seal(record)
    digits = list(shut.sealed)
    digits[20] = "A" if digits[20] != "A" else "B"
    changed = [
        msgspec.structs.replace(shut, id="r8"),
        msgspec.structs.replace(shut, time=shut.time + 0.001),
        msgspec.structs.replace(shut, sealed="".join(digits)),
        msgspec.structs.replace(shut, sealed=shut.sealed[:-32]),
        msgspec.structs.replace(shut, sealed="A" * 288),
    ]
    batch = WITH_KEY.decode([encode(one) for one in [*changed, shut]])
    assert batch.unopened == len(changed) and not batch.rejected
    assert not batch.requests["content"][:-1].any() and batch.requests["content"][-1] == int(record.content, 16)
    others = Decoder(keys_of(chosen(key="another secret of another deployment"))).decode([encode(shut)])
    assert others.unopened == 1
    assert others.requests.tobytes() == WITHOUT.decode([encode(without_parts(record))]).requests.tobytes()


def test_a_worker_opens_with_the_key_of_the_settings_and_its_own() -> None:
    old = sealed.seal_key(Identity("the secret that was rotated out"))
    shut = [*seal_again([spoken("a text of some words", 1)], old), encode(SEALER.seal(spoken("another text", 2)))]
    for settings_, unopened in (
        (chosen(key=KEY, seal_key=old.hex()), 0),
        (chosen(key=KEY), 1),
        (chosen(seal_key=old.hex()), 1),
        (chosen(), 2),
    ):
        assert Decoder(keys_of(settings_)).decode(shut).unopened == unopened
    for wrong in ("abc", "g" * 64, old.hex()[:-2], KEY):
        with pytest.raises(SettingsError, match=r"identity\.seal_key") as refused:
            keys_of(chosen(seal_key=wrong))
        assert wrong not in str(refused.value)


@given(st.binary(min_size=0, max_size=40))
@settings(deadline=None)
def test_parts_that_no_sealer_wrote_are_left_out_even_under_the_key(plain: bytes) -> None:
    words = np.zeros(6, np.uint64)
    words.view(np.uint8)[8 : 8 + len(plain)] = np.frombuffer(plain, np.uint8)
    request = np.append(rq.name_words(b"r"), np.array([1.0]).view(np.uint64))
    sealed.lock(words, 6, request, np.frombuffer(sealed.seal_key(IDENTITY), np.uint64))
    raw = encode(Telemetry(id="r", time=1.0, account="a", v=2, sealed=base64.b64encode(words.tobytes()).decode()))
    batch = WITH_KEY.decode([raw])
    assert len(batch.requests) == 1
    row = batch.requests[0]
    if batch.unopened:
        assert row.tobytes() == WITHOUT.decode([raw]).requests[0].tobytes()


@pytest.mark.parametrize("format", ["litellm", "nginx", "telemetry"])
def test_adapters_seal_where_the_settings_say_so(format: str) -> None:
    raw = {
        "litellm": b'{"id":"r","startTime":1767571200.0,"model":"m","call_type":"acompletion",'
        b'"metadata":{"user_api_key_hash":"k"},"messages":[{"role":"user","content":"Where do herons live?"}]}',
        "nginx": b'{"time_iso8601":"2026-01-05T00:00:00Z","remote_addr":"192.0.2.1","request":"GET /items/7 HTTP/1.1"}',
        "telemetry": encode(spoken("Where do herons live?", 3)),
    }[format]
    (plain,) = make_adapter(format, chosen(key=KEY), SKETCHER).records(raw)
    adapter = make_adapter(format, chosen(key=KEY, seal=True), SKETCHER)
    adapter.warm()
    (shut,) = adapter.records(raw)
    assert isinstance(plain, Telemetry) and isinstance(shut, Telemetry)
    assert not plain.sealed and shut.sealed and shut.v == 2
    opened = WITH_KEY.decode([encode(shut)])
    assert opened.requests.tobytes() == WITHOUT.decode([encode(plain)]).requests.tobytes()


class Nowhere:
    """An outlet that nothing comes to."""

    async def dead_letters(self, letters: Any) -> int:
        assert not list(letters)
        return 0


def test_a_worker_without_the_key_scores_the_rest_and_counts_what_it_could_not_open() -> None:
    registry = CollectorRegistry()
    worker = TelemetryPartition(
        make_scorer(Settings()), LocalStateLog(), Nowhere(), Meter(Metrics(registry), TELEMETRY, "t", 0),
        hot_accounts=1000, forget_after=1e9,
    )  # fmt: skip
    values = [encode(SEALER.seal(spoken(f"text number {n}", n))) for n in range(5)]
    values.append(encode(Telemetry(id="r", time=1e9 + 6, account="a")))
    batch = Batch(
        Lease("telemetry", 0, 1, lambda _: None), keys=[None] * 6, values=values, headers=[()] * 6, next_offset=6,
        offsets=np.arange(6), timestamps=np.zeros(6, np.int64), size=1, missing=0,
    )  # fmt: skip
    asyncio.run(worker.process(batch))
    labels = {"stream": "telemetry", "topic": "t", "partition": "0"}
    assert registry.get_sample_value("siphonwatch_unopened_requests_total", labels) == 5
    assert registry.get_sample_value("siphonwatch_requests_total", labels) == 6


def test_doctor_prints_the_key_that_opens_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIPHONWATCH_IDENTITY_KEY", KEY)
    done = CliRunner().invoke(cli, ["doctor", "--seal-key"])
    assert done.exit_code == 0 and done.output == f"{sealed.seal_key(IDENTITY).hex()}\n"
    assert keys_of(chosen(seal_key=done.output.strip())).tolist() == keys_of(chosen(key=KEY)).tolist()


def test_a_replay_seals_opens_and_says_what_it_could_not_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    raw = [encode(spoken(f"text number {n}", n)) for n in range(9)]
    Path("plain").write_bytes(b"".join(one + b"\n" for one in raw))
    Path("sealed").write_bytes(b"".join(encode(SEALER.seal(decode(one))) + b"\n" for one in raw))
    lines = [
        json.dumps({"time_iso8601": START, "remote_addr": "192.0.2.1", "request": f"GET /items/{n} HTTP/1.1"})
        for n in range(9)
    ]
    Path("nginx").write_text("\n".join(lines))

    def replay(file: str, format: str, **environ: str) -> str:
        for name, value in environ.items():
            monkeypatch.setenv(f"SIPHONWATCH_IDENTITY_{name}", value)
        done = CliRunner().invoke(cli, ["replay", file, "--format", format, "--telemetry", "out"])
        assert done.exit_code == 0, done.output
        return done.output

    assert "9 requests with sealed parts that no key opens" in replay("sealed", "telemetry")
    assert "sealed" not in replay("sealed", "telemetry", SEAL_KEY=sealed.seal_key(IDENTITY).hex())
    assert "sealed" not in replay("nginx", "nginx", KEY=KEY, SEAL="true")
    assert Path("out").read_bytes().count(b'"v":2') == 9

"""Archive, registry and data sets where files are objects: in fsspec's memory, and over S3 against moto's server.

moto and s3fs are in no lock (botocore wants an older python-dateutil than the lock has). To run what needs them:
`pip install 'siphonwatch[s3]' 'moto[s3]' flask flask-cors`, then this file.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from version_samples import changed
from worker_tools import traffic

from siphonwatch.models.learn.version import SUMS
from siphonwatch.streams.cli import cli
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.lab.archive.layout import manifest_path
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.rewrite import rewrite
from siphonwatch.streams.lab.archive.store import Store, StoreError, TakenError
from siphonwatch.streams.lab.archive.writer import Writer
from siphonwatch.streams.lab.registry.store import Registry, RegistryError
from siphonwatch.streams.lab.remote import reach

VALUES = [encode(record) for record in traffic()[:120]]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket of moto's server."""
    server = pytest.importorskip("moto.server", reason="moto is not installed: this file's head says how to")
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs", reason="s3fs is not installed: `pip install 'siphonwatch[s3]'`")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    _, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        boto3.client("s3").create_bucket(Bucket="lab")
        yield "s3://lab"
    running.stop()


@pytest.fixture(params=["memory", "s3"])
def place(request: pytest.FixtureRequest) -> str:
    """A URL below which nothing is yet."""
    base = "memory://lab" if request.param == "memory" else request.getfixturevalue("s3")
    return f"{base}/{uuid.uuid4().hex}"


def begun(url: str, first: int = 0, next: int = 60) -> Writer:
    """A writer that has taken records and closed no step."""
    writer = Writer(Store(url))
    writer.begin("telemetry", 0, "one", first)
    writer.take("telemetry", 0, VALUES[first:next], np.arange(first, next), 1000 * np.arange(first, next))
    return writer


def offsets(url: str) -> list[int]:
    return [int(offset) for batch in Archive(url).batches() for offset in batch.offset]


def ok(*arguments: str, env: dict[str, str] | None = None) -> Result:
    result = CliRunner().invoke(cli, list(arguments), env=env)
    assert result.exit_code == 0, result.output
    return result


def test_of_two_archivers_one_writes_a_step_and_the_other_goes_on_behind_it(place: str) -> None:
    one, two = begun(place), begun(place, next=50)
    one.close()
    with pytest.raises(TakenError):
        two.close()
    assert offsets(place) == list(range(60))  # the loser's file is in no manifest
    again = Writer(Store(place))
    assert again.positions["telemetry", 0].next == 60
    begun(place, 60, 120).close()
    assert offsets(place) == list(range(120))


def test_a_manifest_that_was_written_though_its_answer_was_lost_is_ones_own(place: str) -> None:
    store = Store(place)
    store.create(manifest_path(0), b"mine")
    store.create(manifest_path(0), b"mine")
    with pytest.raises(TakenError):
        store.create(manifest_path(0), b"another's")
    assert store.read(manifest_path(0)) == b"mine"


def test_what_others_write_and_remove_is_seen_at_once(place: str) -> None:
    mine, theirs = Store(place), Store(place)
    assert mine.names("x") == [] and not mine.has("x/1")
    theirs.write("x/1", b"a")
    assert mine.names("x") == ["1"] and list(mine.walk("x")) == ["x/1"] and mine.read_all(["x/1", "x/1"]) == [b"a"] * 2
    theirs.remove("x/1")
    assert mine.names("x") == [] and not mine.has("x/1")
    with pytest.raises(StoreError, match="no such file"):
        mine.read("x/1")


def test_a_store_says_whether_it_keeps_two_archivers_apart(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(place)
    assert store.exclusive()
    opened = store._fs.open

    def without(path: str, mode: str, **more: Any) -> Any:
        if mode == "xb":
            raise NotImplementedError
        return opened(path, mode, **more)

    monkeypatch.setattr(store._fs, "open", without)
    assert not store.exclusive()
    store.create("a", b"1")
    with pytest.raises(TakenError):
        store.create("a", b"2")


def test_an_account_is_taken_out_of_objects_too(place: str) -> None:
    begun(place).close()
    account = Archive(place).tables("telemetry").__next__()["account"][0].as_py()
    assert rewrite(place, [account], "erase 1").rows["telemetry"] > 0
    assert rewrite(place, [account], "erase 2").files == 0
    left = [name for table in Archive(place).tables("telemetry") for name in table["account"].to_pylist()]
    assert left and account not in left
    assert len(Store(place).walk("telemetry")) == len(Archive(place).files("telemetry"))


def test_a_version_whose_writing_was_cut_off_is_finished_by_adding_it_again(place: str) -> None:
    registry = Registry(place)
    version = registry.add(changed().files())
    fs, root = reach(place)
    fs.rm_file(f"{root}/{version.id}/{SUMS}")
    with pytest.raises(RegistryError, match="is no version"):
        registry.read(version.id)
    registry.add(changed().files())
    assert registry.read("ext-2").id == version.id
    registry.name("champion", version.id)
    assert Registry(place).read("champion").id == version.id


def test_the_commands_work_over_objects(place: str, tmp_path: Path) -> None:
    """Archive, data set, features and registry by the commands that people type."""
    log = tmp_path / "telemetry.ndjson"
    log.write_bytes(b"\n".join(VALUES) + b"\n")
    archive, dataset, out = f"{place}/archive", str(tmp_path / "may"), tmp_path / "f.parquet"
    ok("archive", "--to", archive, "--from", str(log), "--plain-ids", "--step-rows", "50")
    assert "120 requests" in ok("dataset", dataset, "--data", archive).output
    assert "120 rows" in ok("features", dataset, "--at", "request", "--out", str(out)).output
    assert "120" in ok("replay", archive).output
    env = {"SIPHONWATCH_MODELS_REGISTRY": f"{place}/models"}
    version = Registry(env["SIPHONWATCH_MODELS_REGISTRY"]).add(changed().files())
    assert version.id in ok("models", "list", env=env).output


def test_what_is_wrong_with_credentials_or_a_bucket_is_said(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="The specified bucket does not exist"):
        Archive("s3://lba/archive")
    with pytest.raises(RegistryError, match=r"cannot write .* The specified bucket does not exist"):
        Registry("s3://lba/models").add(changed().files())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    reach(f"{s3}/x")[0].clear_instance_cache()
    result = CliRunner().invoke(cli, ["archive", "--to", f"{s3}/archive", "--once"])
    assert result.exit_code == 1
    assert "Unable to locate credentials; give credentials that may read and write there" in result.output


def test_refused_access_names_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store("memory://refused")

    def refuse(*_: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(store._fs, "cat_file", refuse)
    with pytest.raises(StoreError, match="x: Access Denied; give credentials"):
        store.read("x")


def test_a_driver_that_is_not_installed_is_named() -> None:
    for place in (Store, Registry):
        with pytest.raises((StoreError, RegistryError), match=r"nosuch://x.*siphonwatch\[s3\]"):
            place("nosuch://x")

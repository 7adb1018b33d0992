"""The registry: versions as directories, hashes checked before anything is parsed, by URL, id, name and alias."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import msgspec
import numpy as np
import pytest
from version_samples import changed, steps

from siphonwatch.models.detect.support import arrays_of
from siphonwatch.models.learn.version import (
    SUMS,
    Info,
    VersionError,
    make_version,
    read_version,
    shipped,
    table_id,
)
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.control import CHALLENGER, NotAControl, decode, deploy_of, encode, version_of
from siphonwatch.streams.lab.backtest.version import load_version
from siphonwatch.streams.lab.registry.pyfunc import PyFunc, _load_pyfunc
from siphonwatch.streams.lab.registry.store import Registry, RegistryError, read_files, write_files


def resummed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same files with sums that fit them."""
    others = {name: data for name, data in files.items() if name != SUMS}
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(others.items())]
    return {**others, SUMS: "".join(lines).encode()}


def test_a_version_is_read_back_as_it_was_written_and_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    version = changed(learned=True)
    write_files(str(tmp_path / "v"), version.files())
    again = read_version(read_files(str(tmp_path / "v")))
    assert again.id == version.id and again.info == version.info and again.texts == version.texts
    np.testing.assert_array_equal(again.supports["steps"]["value"], version.supports["steps"]["value"])
    assert again.extra["plots/roc.svg"] == b"<svg/>"
    assert again.files() == version.files()


def test_the_id_stands_for_what_is_computed_and_for_nothing_else() -> None:
    version = changed(learned=True)
    assert changed(name="other", learned=True).id == version.id != changed().id
    assert changed().id != shipped().id
    assert changed(null="null = 0.11", learned=True).id != version.id
    supports = {**version.supports, "steps": {**version.supports["steps"], "value": np.zeros(6)}}
    assert make_version(version.info, version.texts, supports).id != version.id
    commented = {pattern: b"# a remark\n" + text for pattern, text in version.texts.items()}
    assert make_version(version.info, commented, version.supports).id == version.id


def test_the_shipped_version_judges_as_the_installed_cards_do() -> None:
    from siphonwatch.models.engine.patterns import detectors

    for over in ("account", "campaign"):
        assert [d.id for d in shipped().detectors(over)] == [d.id for d in detectors(over)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["version.json", "cards/extraction.toml", "supports/steps.safetensors", "plots/roc.svg"]
)
def test_a_file_that_was_changed_is_refused_before_anything_is_parsed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = changed(learned=True).files()
    files[name] = files[name][:-1] + b"!"

    def parsed(*_: object, **__: object) -> None:
        raise AssertionError("it was parsed")

    for parser in ("read_card", "read_tensors", "make_version"):
        monkeypatch.setattr(f"siphonwatch.models.learn.version.{parser}", parsed)
    with pytest.raises(VersionError, match=f"{name} has sha256"):
        read_version(files)


def test_files_that_no_sum_covers_and_files_that_are_gone_are_refused() -> None:
    with pytest.raises(VersionError, match=r"left\.txt is not in SHA256SUMS"):
        read_version({**changed().files(), "left.txt": b""})
    files = changed().files()
    del files["plots/roc.svg"]
    with pytest.raises(VersionError, match=r"plots/roc\.svg is in SHA256SUMS and not there"):
        read_version(files)
    del files[SUMS]
    with pytest.raises(VersionError, match="it has no SHA256SUMS"):
        read_version(files)


def test_a_version_whose_id_is_not_its_contents_is_refused() -> None:
    files = changed().files()
    files["cards/extraction.toml"] = changed(null="null = 0.2").files()["cards/extraction.toml"]
    with pytest.raises(VersionError, match="its cards and arrays give"):
        read_version(resummed(files))


def test_a_pickle_in_the_place_of_arrays_is_never_loaded() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (pytest.fail, ("a pickle was loaded",))

    files = changed(learned=True).files()
    files["supports/steps.safetensors"] = pickle.dumps(Bomb())
    with pytest.raises(VersionError, match="not a safetensors file"):
        read_version(resummed(files))


def test_no_code_of_the_loop_loads_a_pickle() -> None:
    root = Path(__file__).resolve().parents[2]
    files = [*(root / "models").rglob("*.py"), *(root / "streams").rglob("*.py")]
    loads = ("pickle.load", "joblib", "cloudpickle", "dill", "allow_pickle=True", "skops.io.load(", "Unpickler")
    found = {str(path.relative_to(root)) for path in files for word in loads if word in path.read_text()}
    assert found == {"models/online/checks.py"}, "it copies an estimator in memory"


@pytest.mark.parametrize(
    ("cards", "told"),
    [
        ({"extraction": b"pattern = 3"}, "card extraction"),
        ({"scraping": None}, None),
        ({"unknown": "scraping"}, "another pattern than their file's name"),
    ],
)
def test_cards_that_cannot_judge_here_are_told_by_name(cards: dict[str, bytes | str | None], told: str | None) -> None:
    texts: dict[str, bytes] = dict(shipped().texts)
    for pattern, text in cards.items():
        if text is None:
            del texts[pattern]
        else:
            texts[pattern] = texts.pop(text) if isinstance(text, str) else text
    if told is None:
        assert "scraping" not in make_version(Info(name="less"), texts, shipped().supports).texts
    else:
        with pytest.raises(VersionError, match=told):
            make_version(Info(name="bad"), texts)


def test_a_version_of_other_features_is_refused() -> None:
    with pytest.raises(VersionError, match=f"this release has {table_id()}"):
        make_version(Info(name="old"), shipped().texts, features="0" * 12)


@pytest.mark.parametrize("scheme", ["", "memory://registry-test/"])
def test_versions_are_found_by_id_name_and_alias_in_directories_and_object_stores(scheme: str, tmp_path: Path) -> None:
    registry = Registry(f"{scheme}{tmp_path}/models")
    assert registry.ids() == [] and [v.name for v in registry.versions()[0]] == ["shipped"]
    version = registry.add(changed().files())
    assert registry.add(changed().files()).id == version.id
    registry.name("challenger", version.id)
    for named in (version.id, version.id[:6], "ext-2", "challenger"):
        assert registry.read(named).id == version.id
    registry.name("champion", shipped().id)
    assert registry.read("champion").name == registry.read("shipped").name == "shipped"
    assert registry.aliases() == {"challenger": version.id, "champion": shipped().id}
    registry.name("challenger", "")
    with pytest.raises(RegistryError, match="version challenger is none of the registry"):
        registry.read("challenger")
    registry.add(changed(null="null = 0.2").files())
    with pytest.raises(RegistryError, match="version ext-2 is any of"):
        registry.read("ext-2")
    assert len(registry.versions()[0]) == 3


@pytest.mark.parametrize("target", ["../../0123456789ab", "0123456789ab/..", "0123456789ab\n", "", 7])
def test_an_alias_of_what_is_no_id_is_refused(target: object, tmp_path: Path) -> None:
    (tmp_path / "aliases.json").write_text(json.dumps({"champion": target}))
    with pytest.raises(RegistryError, match="write it anew"):
        Registry(str(tmp_path)).read("champion")


def test_a_stored_version_that_was_changed_is_refused(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path))
    version = registry.add(changed().files())
    path = tmp_path / version.id / "cards" / "extraction.toml"
    path.write_bytes(path.read_bytes() + b"# later\n")
    with pytest.raises(VersionError, match=r"cards/extraction\.toml has sha256"):
        registry.read(version.id)


def test_a_version_that_cannot_be_used_hides_no_other(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path))
    bad, good = registry.add(changed(null="null = 0.2").files()), registry.add(changed("ext-3").files())
    (tmp_path / bad.id / "cards" / "extraction.toml").write_bytes(b"")
    usable, refused = registry.versions()
    assert [v.name for v in usable] == ["shipped", "ext-3"]
    assert refused.keys() == {bad.id} and "has sha256" in refused[bad.id]
    assert registry.read("ext-3").id == good.id


def test_a_version_that_was_not_written_whole_is_none(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path))
    version = registry.add(changed().files())
    (tmp_path / version.id / SUMS).unlink()
    with pytest.raises(RegistryError, match="is no version"):
        registry.read(version.id)


def test_what_holds_something_else_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(RegistryError, match="holds something that is no version"):
        write_files(str(tmp_path), changed().files())
    write_files(str(tmp_path / "v"), changed().files())
    write_files(str(tmp_path / "v"), shipped().files())
    assert read_version(read_files(str(tmp_path / "v"))).id == shipped().id


def test_writing_a_version_removes_no_file_that_is_not_the_versions(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_text("sums of downloads")
    (tmp_path / "mine.iso").write_text("x")
    with pytest.raises(RegistryError, match="holds something that is no version"):
        write_files(str(tmp_path), changed().files())
    write_files(str(tmp_path / "v"), changed().files())
    (tmp_path / "v" / "notes.txt").write_text("x")
    with pytest.raises(VersionError, match=r"notes\.txt is not in SHA256SUMS"):
        write_files(str(tmp_path / "v"), shipped().files())
    assert (tmp_path / "mine.iso").exists() and (tmp_path / "v" / "notes.txt").exists()


def test_a_version_with_learned_supports_judges_wherever_a_version_does(tmp_path: Path) -> None:
    version = changed(learned=True)
    assert Registry(str(tmp_path / "r")).add(version.files()).supports.keys() == {"steps", "trees"}
    write_files(str(tmp_path / "v"), version.files())
    settings = Settings()
    settings.models.registry = str(tmp_path / "r")
    rows = np.random.default_rng(3).uniform(0, 4, (500, len(version.detectors()[0].features))).astype(np.float32)
    wanted = version.detectors()[0].score(rows)
    assert wanted.any() and (wanted != changed().detectors()[0].score(rows)).any()
    record = deploy_of(version, CHALLENGER, by="Ann", time=0.0)
    received = decode(encode(record))
    assert received == record
    deployed = version_of(received)
    assert deployed is not None and deployed.id == version.id
    named = [load_version(str(tmp_path / "v"), Settings()), load_version("ext-2", settings)]
    for found in (deployed.detectors(), *(one.detectors for one in named)):
        np.testing.assert_array_equal(found[0].score(rows), wanted)
        assert found[0].id == version.detectors()[0].id != changed().detectors()[0].id
    np.testing.assert_array_equal(_load_pyfunc(str(tmp_path / "v")).predict(rows)["extraction"], wanted)


def test_hostile_arrays_are_refused_when_a_version_is_read() -> None:
    version = changed(learned=True)
    record = deploy_of(version, CHALLENGER, by="Ann", time=0.0)
    with pytest.raises(NotAControl, match="not those that its sha256 is of"):
        decode(encode(msgspec.structs.replace(record, supports={"steps": b"anything"})))
    far = arrays_of(np.array([0, 2**31 - 1, -(2**31), -1, 5]), weights=np.ones(5))
    with pytest.raises(NotAControl, match="learned support steps: columns are not places in a table"):
        decode(encode(deploy_of(version._replace(supports={"steps": far}), CHALLENGER, by="Ann", time=0.0)))
    back = {**steps(), "left": np.array([1, 0, 0, 4, 0, 0], np.int32)}
    with pytest.raises(VersionError, match="version ext-2: learned support steps: a node leads to one before it"):
        make_version(version.info, version.texts, {"steps": back})
    with pytest.raises(VersionError, match="names the learned support steps, which is not there"):
        make_version(version.info, version.texts)
    with pytest.raises(VersionError, match=r"learned supports that no card names \(steps\)"):
        make_version(version.info, shipped().texts, {"steps": steps()})


def test_supports_that_no_control_record_could_hold_are_refused() -> None:
    n = 15_999
    many = arrays_of(
        [0], roots=[0], feature=[0] + [-1] * (n - 1), threshold=[0.0] * n, left=[1] * n, right=[2] * n,
        missing_left=[False] * n, value=[0.0] * n,
    )  # fmt: skip
    version = changed(learned=True)
    assert deploy_of(
        make_version(version.info, version.texts, {"trees": steps(), "steps": {**many}}), CHALLENGER, by="A", time=0.0
    )
    term = b'supports = [ { learned = "b", low = 0.1, high = 0.2 },'
    text = version.texts["extraction"].replace(b"supports = [", term)
    with pytest.raises(VersionError, match=r"have [\d,]+ bytes, where 532,480 fit into a control record"):
        make_version(version.info, {**version.texts, "extraction": text}, {"trees": steps(), "steps": many, "b": many})


def test_mlflow_loads_a_version_by_its_mlmodel_file(tmp_path: Path) -> None:
    import yaml

    version = changed()
    write_files(str(tmp_path), version.files())
    said = yaml.safe_load((tmp_path / "MLmodel").read_text())
    assert said["flavors"]["siphonwatch"]["version"] == version.id
    assert said["flavors"]["python_function"]["loader_module"] == _load_pyfunc.__module__
    model = _load_pyfunc(str(tmp_path / said["flavors"]["python_function"]["data"]))
    rows = np.random.default_rng(3).random((5, len(version.detectors()[0].features)), np.float32)
    scores = model.predict(rows)
    assert list(scores) == [d.pattern for d in version.detectors()]
    named = {f.name: rows[:, i] for i, f in enumerate(version.detectors()[0].features)}
    np.testing.assert_array_equal(PyFunc(version).predict(named)["rarity"], scores["rarity"])


def test_a_registry_of_an_unknown_kind_says_so() -> None:
    with pytest.raises(RegistryError, match=r"models\.registry nowhere://x"):
        Registry("nowhere://x")

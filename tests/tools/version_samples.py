"""A version of the detectors that differs from the shipped one, for tests of the registry and of its commands."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from siphonwatch.models.detect.support import arrays_of
from siphonwatch.models.learn.version import Info, Version, make_version, shipped


def steps() -> dict[str, npt.NDArray[Any]]:
    """A tree and a stump over two features of accounts."""
    return arrays_of(
        [3, 40], roots=[0, 3], feature=[0, 1, -1, 1, -1, -1], threshold=[0.5, 2.0, 0.0, 1.0, 0.0, 0.0],
        left=[1, 2, 0, 4, 0, 0], right=[2, 5, 0, 5, 0, 0], missing_left=[True, False, False, False, False, False],
        value=[0.0, 0.0, -1.5, 0.0, 0.5, 2.0],
    )  # fmt: skip


def changed(name: str = "ext-2", null: str = "null = 0.1", *, learned: bool = False) -> Version:
    """The shipped cards with another null level of extraction; with `learned`, a learned support in it."""
    texts = dict(shipped().texts)
    lines = texts["extraction"].decode().splitlines()
    texts["extraction"] = "\n".join(null if line.startswith("null =") else line for line in lines).encode()
    if learned:
        term = b'supports = [\n  { weight = 4.0, low = 0.1, high = 0.9, learned = "steps" },'
        texts["extraction"] = texts["extraction"].replace(b"supports = [", term)
    info = Info(name=name, parent=shipped().id, made_by="siphonwatch train extraction", metrics={"recall": 0.9})
    supports = dict(shipped().supports) | ({"steps": steps()} if learned else {})
    return make_version(info, texts, supports, {"plots/roc.svg": b"<svg/>"})

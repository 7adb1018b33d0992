"""A version of the detectors that differs from the shipped one, for tests of the registry and of its commands."""

from __future__ import annotations

import numpy as np

from siphonwatch.models.learn.version import Info, Version, make_version, shipped


def changed(name: str = "ext-2", null: str = "null = 0.1", *, learned: bool = False) -> Version:
    """The shipped cards with another null level of extraction; with `learned`, a learned support beside them."""
    texts = dict(shipped().texts)
    lines = texts["extraction"].decode().splitlines()
    texts["extraction"] = "\n".join(null if line.startswith("null =") else line for line in lines).encode()
    support = {"weights": np.arange(6, dtype=np.float32).reshape(2, 3), "classes": np.array([0, 1])}
    info = Info(name=name, parent=shipped().id, made_by="siphonwatch train extraction", metrics={"recall": 0.9})
    return make_version(info, texts, {"steps": support} if learned else {}, {"plots/roc.svg": b"<svg/>"})

"""A feature is one line of a table; a sum more is its line and the one that adds to it. Tried in a copy of the tree."""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from core_fakes import requests

from siphonwatch.models.account.clock import make_clock
from siphonwatch.models.account.describe import FINISH_FILTER, FINISH_LENGTH
from siphonwatch.models.account.features import FEATURES, INDEX, LEARNED, NAMES, SHARE, SPREAD, WIDTH, Feature, plan
from siphonwatch.models.account.request import Array
from siphonwatch.models.account.row import ROW
from siphonwatch.models.account.sums import SCALES, SUMS, sum_index
from siphonwatch.models.account.table import AccountTable
from siphonwatch.models.account.windows import make_work, observe_all

MODELS = Path(__file__).parents[2] / "models"
START = 1_767_571_200.0
MORE = 14
"""Sums more, a third of what there are."""
SCRIPT = """
import sys
import numpy as np
from test_new_features import anything, features_of
from siphonwatch.models.account.row import ROW
from siphonwatch.models.account.describe import FINISH_LENGTH
from siphonwatch.models.account.features import FEATURES
values, _ = features_of(anything(600))
np.savez(sys.argv[1], values=values, row=ROW.itemsize, names=[feature.name for feature in FEATURES])
"""


def anything(n: int) -> Array:
    """Requests with a bit of everything, of three accounts: one with text, one plain REST, one both."""
    rng = np.random.default_rng(3)
    parts = []
    for number, account in enumerate(("text", "rest", "both")):
        q = requests(account, np.sort(START + rng.choice(np.arange(20 * 86_400), n)) + rng.uniform(0, 1, n))
        few = rng.integers(1, 2**63, (n, 6))[:6]
        for field in ("key", "user", "session", "ip", "agent", "system", "route", "template"):
            q[field] = few[rng.integers(0, 6, n), rng.integers(0, 6, n)] * (rng.random(n) < 0.7)
        q["content"] = np.where(rng.random(n) < 0.6, rng.integers(1, 2**63, n), few[0, 0])
        q["resource"] = np.where(rng.random(n) < 0.6, rng.integers(1, 2**63, n), few[0, 0])
        q["status"] = rng.choice([200, 200, 200, 200, 404, 429, 503], n)
        q["finish"] = rng.choice(np.array([0, FINISH_LENGTH, FINISH_FILTER], np.uint64), n)
        q["temperature"], q["max_tokens"] = rng.choice([0.0, 1.0], n), rng.choice([16, 256], n)
        q["n"], q["logprobs"], q["turns"] = rng.integers(1, 4, n), rng.integers(0, 2, n), rng.integers(1, 3, n)
        q["chars"], q["tokens_in"], q["tokens_out"] = rng.integers(1, 900, (3, n))
        q["intents"], q["masks"][:, 0], q["echo"] = rng.integers(0, 16, n), rng.integers(0, 2, n), rng.integers(0, 2, n)
        q["n_headers"] = rng.integers(0, 9, n)
        for field in ("stream", "structured", "canonical"):
            q[field] = rng.integers(0, 2, n)
        q["said"], q["reply"] = rng.integers(1, 2**63, (2, n))
        q["before"][1:], q["follows"][1:] = q["said"][:-1], q["reply"][:-1]
        q["projection"] = rng.integers(-90, 90, q["projection"].shape)
        q["rest"] = (0, 1, rng.integers(0, 2, n))[number]
        q["item"] = np.where(rng.random(n) < 0.9, np.arange(n), -1)
        q["page"] = np.where(rng.random(n) < 0.9, np.arange(n) % 90, -1)
        parts.append(q)
    parts[1][["template", "content"]] = 0
    return np.concatenate(parts)[np.argsort(np.concatenate([q["time"] for q in parts]), kind="stable")]


def features_of(q: Array, table: tuple[Feature, ...] = FEATURES) -> tuple[np.ndarray, Array]:
    """The features of requests by a table of features, and the accounts' rows."""
    accounts, n, q = AccountTable(), len(q), q.copy()  # what is drawn or made up is read otherwise, in place
    values, clock = np.zeros((n, len(table)), np.float32), make_clock()
    slots, room, counts = accounts.locate(q), np.zeros((3, n)), np.zeros(n, np.int64)
    assert not observe_all(
        accounts.rows, slots, q, np.arange(n), np.full(n, np.inf), clock, 60.0, 600.0, plan(table), values,
        room[0], room[1], counts, room[2], np.zeros(n, np.bool_), make_work(),
    )  # fmt: skip
    return values, accounts.rows[accounts.used()]


def test_every_sum_is_added_to() -> None:
    _, rows = features_of(anything(600))
    added = rows["sums"].any(axis=(0, 1))
    assert [s.name for s, there in zip(SUMS, added, strict=True) if not there] == []


def test_every_feature_is_computed() -> None:
    values, _ = features_of(anything(600))
    still = values.min(axis=0) == values.max(axis=0)
    assert [f.name for f, constant in zip(FEATURES, still, strict=True) if constant != (f.kind == LEARNED)] == []


def test_every_sum_is_read() -> None:
    """By a feature, or by what tells conversations."""
    read = {column for f in FEATURES for column in (f.above, f.below)} | {f.other for f in FEATURES if f.kind == SPREAD}
    read |= {sum_index(name) for name in ("several", "from_words", "from_reply")}
    assert [s.name for i, s in enumerate(SUMS) if i not in read] == []


def test_a_feature_of_known_sums_is_one_line_of_the_table() -> None:
    line = Feature("new_key_1h", "share", "key unlike the recent ones", SHARE, sum_index("new_key"), 0, 1)
    at, q = INDEX["sweep_1d"], anything(200)
    before, rows = features_of(q)
    values, _ = features_of(q, (*FEATURES[:at], line, *FEATURES[at:]))
    assert np.delete(values, at, axis=1).tobytes() == before.tobytes(), "the others are what they were"
    assert len(np.unique(values[:, at])) > 50
    for row in rows:
        last = np.flatnonzero(q["account_hash"] == row["hash"])[-1]
        share = row["sums"][SCALES.index("1h")][[sum_index("new_key"), sum_index("requests")]] + (0.0, 2.0)
        assert values[last, at] == pytest.approx(share[0] / share[1], rel=1e-6)


def edit(tree: Path, name: str, after: str, *lines: str) -> None:
    """Put lines into a file, below the first one that holds `after`."""
    path = tree / "account" / name
    old = path.read_text().splitlines()
    place = next(i for i, line in enumerate(old) if after in line) + 1
    path.write_text("\n".join([*old[:place], *lines, *old[place:]]) + "\n")


def edited(tree: Path) -> dict[str, int]:
    """How many lines were put into each file; none was changed or taken away."""
    found = {}
    for path in sorted(tree.rglob("*.py")):
        old, new = (p.read_text().splitlines() for p in (MODELS / path.relative_to(tree), path))
        if old != new:
            said = [line[0] for line in difflib.ndiff(old, new) if line[0] in "+-"]
            assert set(said) == {"+"}
            found[path.name] = len(said)
    return found


def test_a_third_more_sums_fit_into_three_kilobytes_and_each_is_two_lines(tmp_path: Path) -> None:
    tree = tmp_path / "siphonwatch" / "models"
    shutil.copytree(MODELS, tree, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "siphonwatch" / "streams").symlink_to(MODELS.parent / "streams")
    names = [f"tokens_in_{i}" for i in range(MORE)]
    edit(tree, "sums.py", 'Sum("throttled"', *(f'    Sum("{name}", "tokens", "its input", "read"),' for name in names))
    edit(tree, "describe.py", "adds.tokens_out = ", *(f"    adds.{name} = F32(q.tokens_in)" for name in names))
    edit(tree, "features.py", "# disguise", f'    _count("1d", "{names[3]}"),')
    edit(tree, "features.py", '_given("seen"', '    _given("late_hour", "h", "hour of the day"),')
    edit(tree, "windows.py", "own.seen = ", "    own.late_hour = now % 86400.0 // 3600.0")
    assert edited(tree) == {"sums.py": MORE, "describe.py": MORE, "features.py": 2, "windows.py": 1}

    found = tmp_path / "found.npz"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(found)], capture_output=True, text=True, timeout=800, check=False,
        env=os.environ | {
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "NUMBA_CACHE_DIR": str(tmp_path / "compiled"),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    new = np.load(found)
    added = {name: new["values"][:, i] for i, name in enumerate(new["names"].tolist()) if name not in NAMES}
    assert set(added) == {f"{names[3]}_count_1d", "late_hour"}
    assert ROW.itemsize < int(new["row"]) == ROW.itemsize + MORE * len(SCALES) * 4 <= 3_300
    q = anything(600)
    assert added["late_hour"].max() == 23 and len(np.unique(added[f"{names[3]}_count_1d"])) > 1000
    kept = [i for i, name in enumerate(new["names"].tolist()) if name in NAMES]
    before, _ = features_of(q)
    assert len(kept) == WIDTH and new["values"][:, kept].tobytes() == before.tobytes(), "the others are what they were"

"""The unsupervised stage: two online models of what accounts look like, and the ranks of their scores.

Each request is scored by Half-Space Trees and by an online isolation forest on a few features scaled to [0, 1]. The
models learn from an account's first request in each hour, unless the account is suspect: a heavy account cannot
teach them that it is ordinary.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import INDEX
from siphonwatch.models.account.request import Array
from siphonwatch.models.common.arrays import Parts, as_array, as_bytes, below, like, under
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.common.state import restore, snapshot
from siphonwatch.models.evidence.places import Change
from siphonwatch.models.evidence.process import is_suspect
from siphonwatch.models.online.half_space_kernels import HstState, hst_learn, hst_score
from siphonwatch.models.online.half_space_trees import hst_init
from siphonwatch.models.online.isolation_forest import oif_init, oif_learn, oif_score
from siphonwatch.models.online.isolation_tree import OifState
from siphonwatch.models.online.quantiles import QuantileState, quantile_init, quantile_rank, quantile_update

INPUTS = (
    ("requests_rate_1h", 0.0, 8.0), ("requests_rate_1d", 0.0, 8.0), ("tokens_out_rate_1d", 0.0, 6.0),
    ("rise_1h", -4.0, 4.0),
    ("sweep_1d", 0.0, 1.0), ("known_template_1d", 0.0, 1.0), ("single_turn_1d", 0.0, 1.0),
    ("job_top_template", 0.0, 1.0), ("breadth", 0.0, 1.0), ("length_spread_1d", 0.0, 2.5), ("gap_spread_1h", 0.0, 3.0),
    ("quick_1h", 0.0, 1.0),
    ("masked_1d", 0.0, 1.0), ("new_resource_1h", 0.0, 1.0), ("not_found_1h", 0.0, 1.0), ("throttled_1h", 0.0, 1.0),
)  # fmt: skip
"""Features the models see, and the range that becomes [0, 1]."""
TREES, HEIGHT, WINDOW = 12, 8, 256
FOREST, FOREST_WINDOW = 16, 1024

HALF_LIFE = 7_000.0
"""Account-hours after which a score weighs half in the ranks."""
MIN_LEARNT = 256
"""Account-hours before a rank means anything; until then every request ranks in the middle."""


@kernel
def _rank_all(
    judged: Array,
    slots: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
    block: int,
    columns: npt.NDArray[np.int64],
    low: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    trees: HstState,
    forest: OifState,
    common: tuple[QuantileState, QuantileState],
    counts: npt.NDArray[np.int64],
    learnt: npt.NDArray[np.bool_],
    x: npt.NDArray[np.float32],
    at: tuple[int, int],
) -> None:
    for i in range(len(slots)):
        if slots[i] < 0:
            continue
        for j in range(len(columns)):
            x[j] = min(max((values[i, columns[j]] - low[j]) * scale[j], np.float32(0.0)), np.float32(1.0))
        by_trees, by_forest = hst_score(trees, x), oif_score(forest, x)
        # Both scores end at 1; sketches of what is missing to 1 tell the rarest apart best.
        if counts[0] >= MIN_LEARNT:
            values[i, at[0]] = np.float32(1.0 - quantile_rank(common[0], 1.0 - by_trees))
            values[i, at[1]] = np.float32(1.0 - quantile_rank(common[1], 1.0 - by_forest))
        else:
            values[i, at[0]] = values[i, at[1]] = np.float32(0.5)
        if learnt[i] and is_suspect(judged[slots[i]].suspect, block) == 0:
            hst_learn(trees, x)
            oif_learn(forest, x)
            quantile_update(common[0], 1.0 - by_trees, 1.0)
            quantile_update(common[1], 1.0 - by_forest, 1.0)
            counts[0] += 1


def _sketch() -> QuantileState:
    return quantile_init(0.02, 1e-4, 1.0, half_life=HALF_LIFE)


class RarityStage:
    """Scores every request by both models and writes the ranks of the scores into the features."""

    def __init__(self, seed: int) -> None:
        limits = np.tile(np.array([[0.0, 1.0]]), (len(INPUTS), 1))
        self._trees = hst_init(limits, TREES, HEIGHT, WINDOW, seed)
        self._forest = oif_init(len(INPUTS), FOREST, window_size=FOREST_WINDOW, subsample=0.25, seed=seed)
        self._common = (_sketch(), _sketch())
        self._counts = np.zeros(1, np.int64)
        self._columns = np.array([INDEX[name] for name, _, _ in INPUTS])
        self._low = np.array([low for _, low, _ in INPUTS], np.float32)
        self._scale = np.array([1.0 / (high - low) for _, low, high in INPUTS], np.float32)
        self._x = np.zeros(len(INPUTS), np.float32)

    @property
    def id(self) -> str:
        """What the models are learnt on: their inputs in order and their sizes, as 12 hexadecimal digits."""
        built = repr((INPUTS, TREES, HEIGHT, WINDOW, FOREST, FOREST_WINDOW))
        return hashlib.blake2b(built.encode(), digest_size=6).hexdigest()

    def rank(
        self,
        judged: Array,
        slots: npt.NDArray[np.int64],
        values: npt.NDArray[np.float32],
        block: int,
        teaches: npt.NDArray[np.bool_],
    ) -> None:
        """Fill in `rare_trees` and `rare_forest` of a block's features, `values (n, WIDTH)`.

        `teaches`, `(n,)`, says which requests the models learn from, unless their account is suspect,
        as what the champion keeps, `judged (accounts,) JUDGED`, has it.
        """
        _rank_all(
            judged, slots, values, block, self._columns, self._low, self._scale, self._trees, self._forest,
            self._common, self._counts, teaches, self._x, (INDEX["rare_trees"], INDEX["rare_forest"]),
        )  # fmt: skip

    def snapshot(self) -> dict[str, npt.NDArray[Any] | bytes]:
        """Copy the models and their id by name."""
        parts: dict[str, npt.NDArray[Any] | bytes] = {"id": self.id.encode(), "counts": self._counts.copy()}
        for name, state in self._states.items():
            parts |= under(name, snapshot(state))
        return parts

    def restore(self, parts: Parts) -> Change | None:
        """Take over the models of a snapshot; where their inputs or sizes were others they learn anew, which is said.

        Raises
        ------
        ValueError
            Where it is damaged.
        """
        before = as_bytes(parts, "id").decode(errors="replace")
        if before != self.id:
            return Change("rarity", before, self.id, models=True)
        counts = like(parts, "counts", self._counts)
        self._trees, self._forest, *common = (
            restore(state, {key: as_array(parts, f"{name}.{key}") for key in below(name, parts)})
            for name, state in self._states.items()
        )
        self._common = (common[0], common[1])
        self._counts = counts
        return None

    @property
    def _states(self) -> dict[str, Any]:
        return {"trees": self._trees, "forest": self._forest, "common0": self._common[0], "common1": self._common[1]}

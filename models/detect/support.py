"""A learned support: a linear model or an ensemble of trees as plain arrays, scored as the library that fitted it does.

Its output is calibrated log-odds of an attack. Arrays are checked before they are used, as they come from a registry or
a topic: whatever they hold, scoring reads no memory that is not theirs and comes to an end.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.common.tensors import write_tensors

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")
MAX_NODES, MAX_TREES, MAX_DEPTH = 16_000, 1_000, 64
"""Of one support: at 39 bytes a node in a control record, few more nodes would fit into it anyway; a request passes at
most so many trees of such a depth."""
MAX_QUANTILES = 200
"""Of one feature that is replaced by its quantile."""
HUGE = 1e300
"""No number of a support is beyond it, so that sums stay finite."""
FAR = 1e-9
"""Shares are kept so far from 0 and 1 before they become log-odds."""
MOVERS = 3
"""Features that are named as those which move a support most."""
LEAF = -1
TOGETHER = 512
"""Rows that are scored at once."""

Values = npt.NDArray[np.float32]
Arrays = Mapping[str, npt.NDArray[Any]]


class Named(Protocol):
    """A feature of a table; its place is its column."""

    @property
    def name(self) -> str: ...


class SupportError(ValueError):
    """Arrays are no learned support; the message names it, the array and what is wrong."""


class _Model(NamedTuple):
    """A support for the loop: K features, Q quantiles, and T trees of N nodes in all, or none and weights."""

    columns: npt.NDArray[np.int32]
    """`(K,)` of the table of features, ascending."""
    shift: npt.NDArray[np.float64]
    """`(K,)`; a feature becomes `(x - shift) / scale`."""
    scale: npt.NDArray[np.float64]
    quantiles: npt.NDArray[np.float64]
    """`(K, Q)` ascending; where Q is not 0 a feature becomes the share of the training data below it instead."""
    references: npt.NDArray[np.float64]
    """`(Q,)` the shares, ascending."""
    weights: npt.NDArray[np.float64]
    """`(K,)` of a linear model; of trees `(0,)`."""
    base: npt.NDArray[np.float64]
    """`(1,)` what is added to the weights' or trees' sum."""
    roots: npt.NDArray[np.int32]
    """`(T,)` the first node of each tree."""
    feature: npt.NDArray[np.int32]
    """`(N,)` place among the K features of what a node looks at; -1 in a leaf."""
    threshold: npt.NDArray[np.float64]
    """`(N,)`; at it or below it goes left."""
    left: npt.NDArray[np.int32]
    """`(N,)`, behind the node itself: no walk comes back."""
    right: npt.NDArray[np.int32]
    missing_left: npt.NDArray[np.bool_]
    """`(N,)` where a feature that is not a number goes."""
    value: npt.NDArray[np.float64]
    """`(N,)` what a leaf adds."""
    single: npt.NDArray[np.bool_]
    """`(1,)` whether trees look at features in single precision."""
    share: npt.NDArray[np.bool_]
    """`(1,)` whether the sum is a share in [0, 1], and not log-odds."""
    platt: npt.NDArray[np.float64]
    """`(2,)` calibrated log-odds are the first times the model's log-odds plus the second."""
    median: npt.NDArray[np.float32]
    """`(K,)` of honest account-hours, for what moves it."""


_SHAPES = {
    "columns": (np.int32, "K"), "shift": (np.float64, "K"), "scale": (np.float64, "K"),
    "quantiles": (np.float64, "KQ"), "references": (np.float64, "Q"), "weights": (np.float64, "W"),
    "base": (np.float64, "1"), "roots": (np.int32, "T"), "feature": (np.int32, "N"), "threshold": (np.float64, "N"),
    "left": (np.int32, "N"), "right": (np.int32, "N"), "missing_left": (np.bool_, "N"), "value": (np.float64, "N"),
    "single": (np.bool_, "1"), "share": (np.bool_, "1"), "platt": (np.float64, "2"), "median": (np.float32, "K"),
}  # fmt: skip


class _Walk(NamedTuple):
    """Trees as they are walked: a leaf leads to itself, so that all rows can take the same number of steps."""

    feature: npt.NDArray[np.int32]
    """`(N,)`, 0 in a leaf."""
    children: npt.NDArray[np.int32]
    """`(N, 2)` where it goes on the right, and on the left."""
    depth: npt.NDArray[np.int32]
    """`(T,)` steps from a tree's root to its furthest leaf."""


@kernel
def _sums(
    values: Values,
    m: _Model,
    walk: _Walk,
    rows: npt.NDArray[np.float64],
    at: npt.NDArray[np.int32],
    out: npt.NDArray[np.float64],
) -> None:
    """The model's sum for each of n rows; `rows`, `(n, K)`, is room for their features as the model sees them.

    All rows take a step in one tree before any takes the next one, `at`, `(n,)`, being where they are: a tree stays in
    the cache, and steps do not wait for each other.
    """
    q = len(m.references)
    n = len(values)
    for i in range(n):
        for k in range(len(m.columns)):
            x = np.float64(values[i, m.columns[k]])
            if q > 0:
                if x <= m.quantiles[k, 0]:
                    x = m.references[0]
                elif x >= m.quantiles[k, q - 1]:
                    x = m.references[q - 1]
                elif x == x:  # as scikit-learn: the mean of both sides where quantiles repeat
                    x = np.float64(0.5) * (_share(x, m, k, q, False) + _share(x, m, k, q, True))
            else:
                x = (x - m.shift[k]) / m.scale[k]
            rows[i, k] = np.float64(np.float32(x)) if m.single[0] else x
        out[i] = m.base[0]
        for k in range(len(m.weights)):
            out[i] += m.weights[k] * rows[i, k]
    feature, threshold, missing_left, children = walk.feature, m.threshold, m.missing_left, walk.children
    for t in range(len(m.roots)):
        at[:n] = m.roots[t]
        for _ in range(walk.depth[t]):
            for i in range(n):
                node = at[i]
                x = rows[i, feature[node]]
                left = (x <= threshold[node]) | ((x != x) & missing_left[node])
                at[i] = children[node, np.int64(left)]
        for i in range(n):
            out[i] += m.value[at[i]]


@kernel
def _share(x: np.float64, m: _Model, k: int, q: int, from_right: bool) -> np.float64:
    """The share at `x`, between the outer quantiles, by linear interpolation; of equal ones the first or the last."""
    low, high = 0, q
    while low < high:
        middle = (low + high) // 2
        before = m.quantiles[k, middle] <= x if from_right else m.quantiles[k, middle] < x
        if before:
            low = middle + 1
        else:
            high = middle
    slope: np.float64 = (m.references[low] - m.references[low - 1]) / (m.quantiles[k, low] - m.quantiles[k, low - 1])
    if from_right:
        found: np.float64 = slope * (x - m.quantiles[k, low - 1]) + m.references[low - 1]
    else:
        found = m.references[low] - slope * (m.quantiles[k, low] - x)
    return found


class Support:
    """A learned support that can be scored.

    Parameters
    ----------
    name
        By which cards name it.
    arrays
        As `siphonwatch.models.learn.estimators` makes them; they are copied.
    features
        The table of features that `columns` count in, F of them.

    Raises
    ------
    SupportError
        Where the arrays are anything else than one model.

    Examples
    --------
    >>> rate = NamedTuple("Rate", [("name", str)])("rate")
    >>> support = Support("steep", arrays_of([0], weights=[2.0], base=[-1.0]), [rate])
    >>> support.probability(np.array([[0.5], [3.0]], np.float32)).round(3).tolist()
    [0.5, 0.993]
    """

    def __init__(self, name: str, arrays: Arrays, features: Sequence[Named]) -> None:
        self.name = name
        if not NAME.match(name):
            raise SupportError(
                f"a learned support cannot be named {name!r}: use lower-case letters, digits, `_` and `-`, 32 at most"
            )
        self._model = m = _checked(name, arrays, len(features))
        itself, leaf = np.arange(len(m.feature)), m.feature == LEAF
        children = np.column_stack([np.where(leaf, itself, m.right), np.where(leaf, itself, m.left)])
        self._walk = _Walk(np.maximum(m.feature, 0), children.astype(np.int32), _depths(m))
        self.reads = tuple(features[column].name for column in self._model.columns.tolist())
        """Names of the features it reads."""

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Its arrays by name."""
        return self._model._asdict()

    @property
    def size(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in self._model)

    @cached_property
    def digest(self) -> str:
        """The sha256 of its arrays."""
        return hashlib.sha256(write_tensors(self._model._asdict())).hexdigest()

    def raw(self, values: Values) -> npt.NDArray[np.float64]:
        """Return what the library's model gives for each row of `(n, F) float32`: log-odds, or of a forest shares."""
        out = np.empty(len(values))
        n = min(len(values), TOGETHER)
        rows, at = np.empty((n, len(self._model.columns))), np.empty(n, np.int32)
        for start in range(0, len(values), TOGETHER):
            some = values[start : start + TOGETHER]
            _sums(some, self._model, self._walk, rows, at, out[start : start + TOGETHER])
        return out

    def probability(self, values: Values) -> npt.NDArray[np.float64]:
        """Return the library's probability of an attack for each row, before calibration."""
        raw = self.raw(values)
        return raw if self._model.share[0] else 1.0 / (1.0 + np.exp(-np.clip(raw, -700.0, 700.0)))

    def log_odds(self, values: Values) -> Values:
        """Return calibrated log-odds of an attack, `(n,) float32`, all finite; of what is no number they are low."""
        raw = self.raw(values)
        if self._model.share[0]:
            raw = _logit(raw)
        slope, offset = self._model.platt.tolist()
        odds = np.clip(slope * raw + offset, -1e6, 1e6)
        return np.where(np.isnan(odds), -1e6, odds).astype(np.float32)

    def movers(self, here: Values) -> list[tuple[str, float]]:
        """Return which features move the calibrated probability of one row, `(F,) float32`, most, and by how much.

        By how much is what the probability loses with that feature alone at its median of honest account-hours: a
        simple measure, in which features that say the same share no credit.
        """
        model = self._model
        rows = np.repeat(here[np.newaxis], len(model.columns) + 1, axis=0)
        rows[np.arange(len(model.columns)) + 1, model.columns] = model.median
        shares = sigmoid(self.log_odds(rows))
        lost = (shares[0] - shares[1:]).tolist()
        found = sorted(zip(self.reads, lost, strict=True), key=lambda pair: (-abs(pair[1]), pair[0]))
        return [(name, loss) for name, loss in found[:MOVERS] if abs(loss) >= 0.005]

    def words(self, here: Values) -> str:
        """Return what it says of one row, `(F,) float32`, and which features move it most.

        Examples
        --------
        >>> rate = NamedTuple("Rate", [("name", str)])("rate")
        >>> steep = Support("steep", arrays_of([0], weights=[2.0], base=[-1.0]), [rate])
        >>> steep.words(np.array([1.0], np.float32))
        'learned steep: .73, of which the features rate (+.46) move it most'
        """
        share = float(sigmoid(self.log_odds(here[np.newaxis]))[0])
        told = f"learned {self.name}: {_short(share)}"
        moving = [f"{name} ({'-' if by < 0 else '+'}{_short(abs(by))})" for name, by in self.movers(here)]
        return f"{told}, of which the features {', '.join(moving)} move it most" if moving else told


def arrays_of(columns: Sequence[int], **parts: Any) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a support from those that are not its defaults: no scaling, no trees, no calibration."""
    k = len(columns)
    whole = {
        "columns": columns, "shift": np.zeros(k), "scale": np.ones(k), "quantiles": np.zeros((k, 0)), "base": [0.0],
        "single": [False], "share": [False], "platt": [1.0, 0.0], "median": np.zeros(k),
    } | parts  # fmt: skip
    return {part: np.array(whole.get(part, []), dtype) for part, (dtype, _) in _SHAPES.items()}


def sigmoid(odds: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return log-odds as shares."""
    found: npt.NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(odds.astype(np.float64), -700.0, 700.0)))
    return found


def _logit(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    kept = np.clip(shares, FAR, 1.0 - FAR)
    found: npt.NDArray[np.float64] = np.log(kept / (1.0 - kept))
    return found


def logit(share: float) -> float:
    """Return a share in (0, 1) as log-odds."""
    return math.log(share / (1.0 - share))


def _short(share: float) -> str:
    return f"{share:.2f}".removeprefix("0")


def _checked(name: str, arrays: Arrays, width: int) -> _Model:
    def refuse(what: str) -> SupportError:
        return SupportError(f"learned support {name}: {what}")

    if set(arrays) != set(_SHAPES):
        wrong = sorted(set(arrays) ^ set(_SHAPES))
        raise refuse(f"it needs the arrays {', '.join(_SHAPES)}, and no others: {', '.join(wrong)}")
    sizes = {"1": 1, "2": 2}
    for part, (dtype, shape) in _SHAPES.items():
        array = arrays[part]
        if array.dtype != dtype or array.ndim != len(shape):
            raise refuse(f"{part} is {array.dtype} of {array.ndim} dimensions, not {np.dtype(dtype)} of {len(shape)}")
        for letter, size in zip(shape, array.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise refuse(f"{part} has {size:,} elements, where {sizes[letter]:,} belong")
        if dtype is np.float32 and not np.isfinite(array).all():
            raise refuse(f"{part} holds what is no number")
        if dtype is np.float64 and not (np.abs(array) <= HUGE).all():
            raise refuse(f"{part} holds what is no number, or a huge one")
    for letter, most, what in (("N", MAX_NODES, "nodes"), ("T", MAX_TREES, "trees"), ("Q", MAX_QUANTILES, "quantiles")):
        if sizes[letter] > most:
            raise refuse(f"{sizes[letter]:,} {what}, where {most:,} are the most: fit a smaller model")
    m = _Model(**{part: np.array(arrays[part], order="C") for part in _SHAPES})
    steps = np.diff(m.columns.astype(np.int64))  # of 32 bits, a step back by 2^31 would wrap round and ascend
    if not 0 < sizes["K"] <= width or (steps <= 0).any() or m.columns[0] < 0 or m.columns[-1] >= width:
        raise refuse(f"columns are not places in a table of {width} features, ascending")
    if sizes["W"] not in (0, sizes["K"]) or (sizes["W"] == 0) == (sizes["T"] == 0):
        raise refuse("it is neither weights, one a feature, nor trees")
    if not (m.scale > 0.0).all() or not m.platt[0] > 0.0:
        raise refuse("a scale, or the slope of its calibration, is not above 0")
    if (np.diff(m.quantiles, axis=1) < 0).any() or (np.diff(m.references) < 0).any():
        raise refuse("quantiles do not ascend")
    if not (np.abs(m.platt) <= 1e6).all() or not (np.abs(m.value) <= 1e6).all() or not abs(m.base[0]) <= 1e6:
        raise refuse("platt, base or a leaf's value is huge")
    _check_trees(m, refuse)
    return m


def _depths(m: _Model) -> npt.NDArray[np.int32]:
    """Steps from each tree's root to its furthest leaf, `(T,)`."""
    below = np.zeros(len(m.feature), np.int32)
    for node in np.flatnonzero(m.feature != LEAF)[::-1].tolist():  # children are behind their parents
        below[node] = 1 + max(below[m.left[node]], below[m.right[node]])
    return below[m.roots]


def _check_trees(m: _Model, refuse: Any) -> None:
    """Every walk from a root ends in a leaf, after so many nodes at most."""
    n = len(m.feature)
    if ((m.roots < 0) | (m.roots >= n)).any():
        raise refuse("a root is none of the nodes")
    if ((m.feature < LEAF) | (m.feature >= len(m.columns))).any():
        raise refuse("a node looks at a feature that is none of its columns")
    inner = np.flatnonzero(m.feature != LEAF)
    for child in (m.left[inner], m.right[inner]):
        if ((child <= inner) | (child >= n)).any():
            raise refuse("a node leads to one before it, to itself or to none")
    depth = np.zeros(n, np.int64)
    for node, left, right in zip(inner.tolist(), m.left[inner].tolist(), m.right[inner].tolist(), strict=True):
        depth[left] = max(depth[left], depth[node] + 1)
        depth[right] = max(depth[right], depth[node] + 1)
    if depth.max(initial=0) > MAX_DEPTH:
        raise refuse(f"a tree is {depth.max():,} nodes deep, where {MAX_DEPTH} are the most")

"""Second stage: any River model or pipeline, named by import path, on the few accounts that the first stage ranks high.

The border to code that is not ours: what goes wrong in it is counted and in the end switches it off, and never
stops the scorer.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from river import anomaly, base, compose, preprocessing

from siphonwatch.models.common.arrays import Parts, as_bytes
from siphonwatch.models.common.state import restore, snapshot
from siphonwatch.models.online.quantiles import quantile_init, quantile_rank, quantile_update

MAX_ERRORS = 10
"""Exceptions after which the stage is switched off: enough to outlive single odd requests."""
MAX_BYTES = 4 << 20
"""Largest pickled model kept in a checkpoint, bytes."""
HALF_LIFE = 10_000.0
"""Scores after which an old one weighs half in the ranking."""
LEARNT = 256
"""Requests that a model learns from before its scores are shown; more where it names a longer window itself."""
TRIAL = 512
"""Requests made up to try a model with: twice the window of River's HalfSpaceTrees."""
WARM = 32
"""Requests over which its time is looked at."""
SEED = 1
"""Of a model that leaves its seed open: two runs over one log then give the same scores."""
SLOW = 2e-3
"""Processor seconds a request, scored and learnt, from which a model is refused. HalfSpaceTrees take 2e-4, a local
outlier factor 9e-3 and more, which slowed the scorer 30 times."""


class SecondStageError(ValueError):
    """The model that the setting names cannot be used, or has become too large to keep."""


def _final(model: Any) -> Any:
    """Return the estimator at the end of nested pipelines."""
    while isinstance(model, compose.Pipeline):
        model = list(model.steps.values())[-1]
    return model


def _kind(model: Any) -> Literal["detector", "classifier"] | None:
    final = _final(model)
    if isinstance(final, base.AnomalyDetector):
        return "detector"
    if isinstance(final, base.Classifier) and not isinstance(final, base.MultiLabelClassifier):
        return "classifier"
    return None


def _takes_seed(target: Callable[..., Any]) -> bool:
    """Say whether this is a class of estimators that leaves its seed open."""
    return isinstance(target, type) and "seed" in inspect.signature(target).parameters


def load(path: str, setting: str = "detection.second_stage") -> Any:
    """Import and build a River estimator.

    Parameters
    ----------
    path
        `package.module:name` or `package.module.name`, of a class that needs no arguments, a function that returns an
        estimator, or an estimator itself (which is cloned).
    setting
        Name of the setting, for messages.

    Returns
    -------
    An untrained anomaly detector, classifier, or a pipeline that ends in one.

    Raises
    ------
    SecondStageError
        Nothing usable is there; the message names the setting, the value and the remedy.

    Examples
    --------
    >>> type(load("river.anomaly:HalfSpaceTrees")).__name__
    'HalfSpaceTrees'
    """
    module_name, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not module_name or not name:
        raise SecondStageError(
            f"{setting} = {path!r} is no import path; write package.module:name, such as river.anomaly:HalfSpaceTrees"
        )
    try:
        target = importlib.import_module(module_name)
    except Exception as error:
        raise SecondStageError(
            f"{setting} = {path!r}: importing {module_name} failed ({type(error).__name__}: {error}); "
            "install the package or correct the path"
        ) from error
    for part in name.split("."):
        if not hasattr(target, part):
            raise SecondStageError(f"{setting} = {path!r}: {module_name} has no {name}; correct the name")
        target = getattr(target, part)
    if isinstance(target, base.Base):
        model = target.clone()
    elif callable(target):
        try:
            model = target(seed=SEED) if _takes_seed(target) else target()
        except Exception as error:
            raise SecondStageError(
                f"{setting} = {path!r}: calling {name}() failed ({type(error).__name__}: {error}); "
                "name a factory that needs no arguments and returns the estimator"
            ) from error
    else:
        raise SecondStageError(
            f"{setting} = {path!r} is a {type(target).__name__}; name a River estimator or a factory"
        )
    if _kind(model) is None:
        raise SecondStageError(
            f"{setting} = {path!r} gives a {type(_final(model)).__name__}; it must be, or as a pipeline end in, "
            "a River anomaly detector (score_one, learn_one) or classifier (predict_proba_one)"
        )
    return model


def scaled(model: Any) -> Any:
    """Return a model that gets its inputs as it needs them: a pipeline as it is, any other behind a scaler.

    Half-space trees split [0, 1] at random places, so features beyond it all land in one leaf; other models compare
    features by their distances.
    """
    if isinstance(model, compose.Pipeline):
        return model
    scaler = (
        preprocessing.MinMaxScaler() if isinstance(model, anomaly.HalfSpaceTrees) else preprocessing.StandardScaler()
    )
    return compose.Pipeline(scaler, model)


def check(model: Any, names: Sequence[str], setting: str, clock: Callable[[], float]) -> None:
    """Try a model with made-up requests, and refuse one that would do harm or nothing.

    Parameters
    ----------
    model
        From `load`; it is tried as a copy.
    names
        Of the features it will get.
    setting
        Name of the setting, for messages.
    clock
        Processor seconds.

    Raises
    ------
    SecondStageError
        The model is a classifier, raises, scores everything alike, is too slow, or cannot be kept in a checkpoint.
    """
    called = type(_final(model)).__name__
    if _kind(model) == "classifier":
        raise SecondStageError(
            f"{setting}: {called} is a classifier, and nothing teaches it which accounts were confirmed; "
            "name an anomaly detector"
        )
    stage = SecondStage(model.clone(), max_errors=1)
    rng = np.random.default_rng(0)
    rows = rng.normal(rng.uniform(0.0, 5.0, len(names)), 1.0, (TRIAL, len(names)))
    requests = [dict(zip(names, row, strict=True)) for row in rows.tolist()]
    raws = set()
    spent: list[float] = []
    for request in requests:
        began = clock()
        raws.add(stage.raw(request))
        stage.learn(request)
        spent.append(clock() - began)
        # The median: the first request builds the model, and one may be interrupted.
        took = float(np.median(spent[-WARM:]))
        if stage.reason is not None or (len(spent) > WARM and took > SLOW):
            break
    if stage.reason is not None:
        raise SecondStageError(f"{setting}: {called} fails on requests like ours: {stage.reason}")
    if took > SLOW:
        raise SecondStageError(
            f"{setting}: {called} takes {took * 1000:.1f} ms a request, more than the {SLOW * 1000:.0f} ms that leave "
            "the scorer its pace; name a model that learns in constant time, such as river.anomaly:HalfSpaceTrees"
        )
    if len(raws) < TRIAL // 50 and stage.learnt >= 2 * stage.needed:
        raise SecondStageError(
            f"{setting}: {called} gives {len(raws)} different scores to {TRIAL} unlike requests; scale its inputs "
            "(half-space trees need a MinMaxScaler before them, most others a StandardScaler)"
        )
    stage.to_bytes()


class SecondStage:
    """Score requests by a River model, as ranks among its own scores.

    Parameters
    ----------
    model
        From `load`.
    max_errors
        Exceptions, or scores that are no finite number, after which the stage is switched off.

    Attributes
    ----------
    errors
        Exceptions so far.
    reason
        Why the stage is switched off, or `None` while it works.
    seconds
        Time spent in the model, by `clock`.
    learnt
        Requests it was taught.

    Examples
    --------
    >>> stage = SecondStage(scaled(load("river.anomaly:HalfSpaceTrees")))
    >>> stage.score({"a": 7.5})
    nan
    >>> for i in range(600):
    ...     stage.learn({"a": 7.5 + 0.001 * (i % 7), "b": i % 11})
    >>> usual = [stage.score({"a": 7.503, "b": i % 11}) for i in range(20)]
    >>> stage.score({"a": 3.0, "b": -30.0}) > 0.9
    True
    """

    def __init__(self, model: Any, max_errors: int = MAX_ERRORS, clock: Callable[[], float] = lambda: 0.0) -> None:
        kind = _kind(model)
        if kind is None:
            raise SecondStageError(f"{type(_final(model)).__name__} is neither an anomaly detector nor a classifier")
        self.model = model
        self.kind = kind
        self.max_errors = max_errors
        self.errors = 0
        self.reason: str | None = None
        self.seconds = 0.0
        self.learnt = 0
        self.needed = max(LEARNT, int(getattr(_final(model), "window_size", 0)) + 1)
        self._clock = clock
        self._ranks = quantile_init(half_life=HALF_LIFE)

    def _failed(self, doing: str, error: str) -> None:
        self.errors += 1
        if self.errors >= self.max_errors:
            self.reason = (
                f"second stage {type(_final(self.model)).__name__} switched off after {self.errors} errors; "
                f"the last, {doing}: {error}. Correct the model or clear the setting, and restart"
            )

    def raw(self, features: Mapping[str, float]) -> float:
        """Return the model's own score of one request; NaN where it failed, which is counted."""
        began = self._clock()
        try:
            if self.kind == "classifier":
                value = float(self.model.predict_proba_one(dict(features)).get(True, 0.0))
            else:
                value = float(self.model.score_one(dict(features)))
        except Exception as error:  # noqa: BLE001 - the border to code that is not ours
            self._failed("scoring", f"{type(error).__name__}: {error}")
            return math.nan
        finally:
            self.seconds += self._clock() - began
        if not math.isfinite(value):
            self._failed("scoring", f"the score is {value}")
            return math.nan
        return value

    def score(self, features: Mapping[str, float]) -> float:
        """Score one request.

        Parameters
        ----------
        features
            Name to value.

        Returns
        -------
        A classifier's probability of `True` (or 1); for a detector the share of earlier scores below this one.
        In [0, 1], and NaN where the model failed, is switched off, or has not learnt from enough requests.
        """
        if self.reason is not None:
            return math.nan
        raw = self.raw(features)
        if math.isnan(raw) or (self.kind == "detector" and self.learnt < self.needed):
            return math.nan
        if self.kind == "classifier":
            return min(max(raw, 0.0), 1.0)
        rank = float(quantile_rank(self._ranks, raw))
        quantile_update(self._ranks, raw, 1.0)
        return rank

    def learn(self, features: Mapping[str, float], label: bool | None = None) -> None:
        """Teach the model one request.

        Parameters
        ----------
        features
            Name to value.
        label
            Whether the request belongs to a confirmed siphoning account; a classifier learns nothing without.
        """
        if self.reason is not None or (self.kind == "classifier" and label is None):
            return
        began = self._clock()
        try:
            if self.kind == "classifier":
                self.model.learn_one(dict(features), label)
            else:
                self.model.learn_one(dict(features))
            self.learnt += 1
        except Exception as error:  # noqa: BLE001 - the border to code that is not ours
            self._failed("learning", f"{type(error).__name__}: {error}")
        self.seconds += self._clock() - began

    def to_bytes(self, limit: int = MAX_BYTES) -> bytes:
        """Pickle model, ranking and error count for a checkpoint.

        Raises
        ------
        SecondStageError
            The model cannot be pickled, or its pickle exceeds `limit` bytes.
        """
        try:
            content = pickle.dumps(
                (self.model, self.max_errors, self.errors, self.reason, self.learnt, snapshot(self._ranks)), protocol=5
            )
        except Exception as error:
            raise SecondStageError(
                f"the second stage's {type(_final(self.model)).__name__} cannot be pickled ({error}); "
                "name a model without open files, lambdas or threads"
            ) from error
        if len(content) > limit:
            raise SecondStageError(
                f"the second stage's {type(_final(self.model)).__name__} pickles to {len(content)} bytes, above the "
                f"{limit} that a checkpoint takes; choose a smaller model (fewer trees, a shorter window)"
            )
        return content

    def snapshot(self) -> dict[str, bytes]:
        """Return `to_bytes` by name, or nothing where it fails, which switches the stage off; no checkpoint fails."""
        try:
            return {"pickle": self.to_bytes()}
        except SecondStageError as error:
            self.errors += self.reason is None
            self.reason = self.reason or f"second stage switched off: {error}"
            return {}

    def restore(self, parts: Parts) -> None:
        """Take over a snapshot; one that cannot be read counts as an error and leaves the stage as it is."""
        if "pickle" not in parts:
            return
        try:
            known = SecondStage.from_bytes(as_bytes(parts, "pickle"), self._clock)
        except SecondStageError:
            self.errors += 1
        else:
            self.__dict__.update(known.__dict__)

    @classmethod
    def from_bytes(cls, content: bytes, clock: Callable[[], float] = lambda: 0.0) -> SecondStage:
        """Take up where `to_bytes` left off.

        Unpickling runs code: read only checkpoints that this deployment wrote itself.

        Raises
        ------
        SecondStageError
            The bytes are damaged, or written under other versions of the model's code.
        """
        try:
            model, max_errors, errors, reason, learnt, ranks = pickle.loads(content)  # noqa: S301 - our own checkpoint
            stage = cls(model, max_errors, clock)
            stage._ranks = restore(stage._ranks, ranks)
        except Exception as error:
            raise SecondStageError(
                f"the second stage in the checkpoint cannot be read ({type(error).__name__}: {error}); "
                "restore the versions that wrote it, or start the stage afresh"
            ) from error
        stage.errors, stage.reason, stage.learnt = errors, reason, learnt
        return stage

"""The promises of every detector, as one check that tests run over all of them; run it over one of your own too.

Raises on a broken promise; never changes the detector.
"""

from __future__ import annotations

import pickle

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import INDEX, NAMES, WIDTH, Features
from siphonwatch.models.detect.base import ATLAS, Detector, Ramp

_COUNTERFACTUAL = "would be no evidence with "
NOTHING_HELPS = "no single feature at its baseline would undo it"


class BrokenPromise(AssertionError):
    """A detector does not do what every detector promises."""


def check_detector(detector: Detector, *, seed: int = 0, n: int = 400) -> None:
    """Check one detector on random features, most of them near where its ramps rise.

    Parameters
    ----------
    detector
        Any detector; it is scored, explained and pickled.
    seed, n
        Of the random features, and how many requests they are.

    Raises
    ------
    BrokenPromise
        It has no pattern, title, technique or least level in (0, 1); it reads a feature that does not exist; a score
        is not float32 in [0, 1], or depends on other requests, on features it does not need, or on the run; a score
        falls where a ramp rises; a signal is not what re-scoring says, or out of order; or the counterfactual does not
        hold when it is applied.

    Examples
    --------
    >>> from siphonwatch.models.detect import detectors
    >>> for detector in detectors():
    ...     check_detector(detector, n=50)
    """
    _check_names(detector)
    rng = np.random.default_rng(seed)
    values = _plausible(detector, rng, n)
    wild = rng.uniform(-1e6, 1e6, (n, WIDTH)).astype(np.float32)
    for features in (Features(values), Features(wild), Features(np.zeros((1, WIDTH), np.float32))):
        _check_scores(detector, features)
    _check_needs(detector, Features(values), rng)
    for ramp in detector.ramps:
        _check_direction(detector, values, ramp)
    _check_explanations(detector, Features(values))


def _require(holds: bool, promise: str, detector: Detector) -> None:
    if not holds:
        raise BrokenPromise(f"{type(detector).__name__}: {promise}")


def _check_names(detector: Detector) -> None:
    word = detector.pattern.isascii() and detector.pattern.isalpha() and detector.pattern.islower()
    _require(word, f"pattern {detector.pattern!r} is no word", detector)
    _require(bool(detector.title.strip()), "has no title", detector)
    _require(bool(detector.atlas), "names no MITRE ATLAS technique", detector)
    for uid in detector.atlas:
        _require(uid in ATLAS, f"{uid!r} is no ATLAS technique that has a name here", detector)
    _require(0.0 < detector.null < 1.0, f"least level {detector.null} is not in (0, 1)", detector)
    unknown = sorted(set(detector.needs) - set(NAMES))
    _require(not unknown, f"needs unknown features {unknown}", detector)
    _require(bool(detector.needs), "needs no feature", detector)


def _plausible(detector: Detector, rng: np.random.Generator, n: int) -> npt.NDArray[np.float32]:
    """Random features of `n` requests, those that ramps read a little beyond both of their ends."""
    values = rng.uniform(0.0, 1.0, (n, WIDTH)).astype(np.float32)
    for ramp in detector.ramps:
        for name in ramp.features:
            share = rng.beta(2.0, 1.0, n) * 1.6 - 0.3
            values[:, INDEX[name]] = ramp.low + share * (ramp.high - ramp.low)
    return values


def _check_scores(detector: Detector, features: Features) -> None:
    scores = detector.score(features)
    _require(scores.dtype == np.float32 and scores.shape == (len(features),), "scores are not (n,) float32", detector)
    _require(bool(np.isfinite(scores).all()), "a score of finite features is not finite", detector)
    _require(bool(((scores >= 0.0) & (scores <= 1.0)).all()), "a score is outside [0, 1]", detector)
    _require(scores.tobytes() == detector.score(features).tobytes(), "scoring again gives other scores", detector)
    alone = np.concatenate([detector.score(features.row(i)) for i in range(len(features))])
    _require(scores.tobytes() == alone.tobytes(), "a score depends on the other requests", detector)
    copy: Detector = pickle.loads(pickle.dumps(detector))  # noqa: S301 - what was just pickled
    _require(scores.tobytes() == copy.score(features).tobytes(), "a pickled detector scores otherwise", detector)
    _require(type(detector)().score(features).tobytes() == scores.tobytes(), "a new one scores otherwise", detector)


def _check_needs(detector: Detector, features: Features, rng: np.random.Generator) -> None:
    changed = features.values.copy()
    others = [i for i, name in enumerate(NAMES) if name not in detector.needs]
    changed[:, others] = rng.uniform(-9.0, 9.0, (len(changed), len(others)))
    same = detector.score(Features(changed)).tobytes() == detector.score(features).tobytes()
    _require(same, "the score depends on a feature that it does not need", detector)


def _check_direction(detector: Detector, values: npt.NDArray[np.float32], ramp: Ramp) -> None:
    """Moving one feature from `low` towards `high`, and further, never lowers the score."""
    for name in ramp.features:
        last = np.zeros(len(values), np.float32)
        for share in np.linspace(-0.5, 1.5, 21):
            moved = values.copy()
            moved[:, INDEX[name]] = ramp.low + share * (ramp.high - ramp.low)
            scores = detector.score(Features(moved))
            _require(bool((scores >= last - 1e-6).all()), f"the score falls as {name} goes its way", detector)
            last = scores


def _check_explanations(detector: Detector, features: Features) -> None:
    scores = detector.score(features)
    for i in np.flatnonzero(scores > detector.null).tolist():
        explanation = detector.explain(features, i, detector.null)
        sizes = [signal.contribution for signal in explanation.signals]
        _require(bool(sizes), "a score above the level has no signal", detector)
        _require(sizes == sorted(sizes, reverse=True), "signals are not in order of contribution", detector)
        _require(all(0.0 < size <= float(scores[i]) + 1e-6 for size in sizes), "a contribution is no share", detector)
        for signal in explanation.signals:
            _require(signal.name in detector.needs, f"signal {signal.name} is not one of the needs", detector)
            observed = float(features[signal.name][i])
            _require(signal.observed == observed, f"signal {signal.name} was not observed so", detector)
            way = "above" if observed > signal.baseline else "below"
            _require(signal.direction == way, f"signal {signal.name} is not {signal.direction} its baseline", detector)
        _check_counterfactual(detector, features.row(i), explanation.counterfactual)


def _check_counterfactual(detector: Detector, here: Features, text: str) -> None:
    if text == NOTHING_HELPS:
        return
    names, found, limit = text.removeprefix(_COUNTERFACTUAL).rpartition(" at or ")
    readable = text.startswith(_COUNTERFACTUAL) and found and limit.split()[:1] in (["below"], ["above"])
    _require(bool(readable), f"counterfactual {text!r} cannot be read", detector)
    for name in names.split(" and "):
        _require(name in detector.needs, f"counterfactual names {name!r}", detector)
        here[name][:] = np.float32(limit.split()[1])
    score = float(detector.score(here)[0])
    _require(score < detector.null, f"with the counterfactual {text!r} applied the score is {score:.4g}", detector)

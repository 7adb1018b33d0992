"""The promises of every card, as named checks that tests run over all of them; run them over your own cards too.

Raises on a broken promise; never changes the detector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from siphonwatch.models.detect.card import Card, Ramp
from siphonwatch.models.detect.detector import LEARNED, NOTHING_HELPS, Detector, Values

_COUNTERFACTUAL = "would be no evidence with "


class BrokenPromise(AssertionError):
    """A card, or what scores it, does not do what every card promises."""


def card_checks(detector: Detector, *, seed: int = 0, n: int = 400) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield each check by name; calling one raises `BrokenPromise` where the promise is broken.

    Parameters
    ----------
    detector
        A card bound to its table; it is scored and explained on random features, most near where its ramps rise.
    seed, n
        Of the random features, and how many rows they are.
    """
    rng = np.random.default_rng(seed)
    width = len(detector.features)
    values = _plausible(detector, rng, n)
    wild = rng.uniform(-1e6, 1e6, (n, width)).astype(np.float32)
    for name, some in (("plausible", values), ("wild", wild), ("no", np.zeros((1, width), np.float32))):
        yield f"scores of {name} features", lambda some=some: _check_scores(detector, some)  # type: ignore[misc]
    if not detector.supports:
        yield "scores of one who does all of it", lambda: _check_ends(detector)
    yield "reads its needs alone", lambda: _check_needs(detector, values, rng)
    learned = {name for support in detector.supports.values() for name in support.reads}
    for ramp in detector.card.ramps:
        if not learned.isdisjoint(ramp.of):
            continue  # what was learnt of it may say otherwise
        yield f"rises with {'/'.join(ramp.of)}", lambda ramp=ramp: _check_direction(detector, values, ramp)  # type: ignore[misc]
    yield "explanations", lambda: _check_explanations(detector, values)
    yield "is data", lambda: _check_data(detector, values)


def check_card(detector: Detector, *, seed: int = 0, n: int = 400) -> None:
    """Run all checks of `card_checks` over one card.

    Raises
    ------
    BrokenPromise
        A score is not float32 in [0, 1], or depends on other rows, on features it does not need, or on the run; it is
        not above the null level with all ramps at their ends, or not 0 with none moved; it falls where a ramp rises; a
        signal is not what re-scoring says, or out of order; the counterfactual does not hold when it is applied; or
        the card, written and read again, is another.

    Examples
    --------
    >>> from siphonwatch.models.engine.patterns import patterns
    >>> for detector in patterns():
    ...     check_card(detector, n=50)
    """
    for _, check in card_checks(detector, seed=seed, n=n):
        check()


def _require(holds: bool, promise: str, detector: Detector) -> None:
    if not holds:
        raise BrokenPromise(f"card {detector.pattern}: {promise}")


def _column(detector: Detector, name: str) -> int:
    return [feature.name for feature in detector.features].index(name)


def _plausible(detector: Detector, rng: np.random.Generator, n: int) -> Values:
    """Random features of `n` rows, those that ramps read a little beyond both of their ends."""
    values = rng.uniform(0.0, 1.0, (n, len(detector.features))).astype(np.float32)
    for ramp in detector.card.ramps:
        for name in ramp.of:
            share = rng.beta(2.0, 1.0, n) * 1.6 - 0.3
            values[:, _column(detector, name)] = ramp.low + share * (ramp.high - ramp.low)
    return values


def _check_scores(detector: Detector, values: Values) -> None:
    scores = detector.score(values)
    _require(scores.dtype == np.float32 and scores.shape == (len(values),), "scores are not (n,) float32", detector)
    _require(bool(np.isfinite(scores).all()), "a score of finite features is not finite", detector)
    _require(bool(((scores >= 0.0) & (scores <= 1.0)).all()), "a score is outside [0, 1]", detector)
    _require(scores.tobytes() == detector.score(values).tobytes(), "scoring again gives other scores", detector)
    alone = np.concatenate([detector.score(values[i : i + 1]) for i in range(len(values))])
    _require(scores.tobytes() == alone.tobytes(), "a score depends on the other rows", detector)


def _check_ends(detector: Detector) -> None:
    """Ramps all at their ends are evidence, and ramps all at their beginnings are none."""
    ends = np.zeros((2, len(detector.features)), np.float32)
    for ramp in detector.card.ramps:
        rising = 1.0 if ramp.low < ramp.high else -1.0
        for name in ramp.of:
            ends[:, _column(detector, name)] = -1e6 * rising, 1e6 * rising
    nothing, everything = detector.score(ends).tolist()
    _require(everything > detector.null, f"with all ramps at their ends the score is {everything:.4g}", detector)
    _require(nothing == 0.0, f"with no ramp moved the score is {nothing:.4g}", detector)


def _check_needs(detector: Detector, values: Values, rng: np.random.Generator) -> None:
    changed = values.copy()
    others = [i for i, feature in enumerate(detector.features) if feature.name not in detector.needs]
    changed[:, others] = rng.uniform(-9.0, 9.0, (len(changed), len(others)))
    same = detector.score(changed).tobytes() == detector.score(values).tobytes()
    _require(same, "the score depends on a feature that it does not need", detector)


def _check_direction(detector: Detector, values: Values, ramp: Ramp) -> None:
    """Moving one feature from `low` towards `high`, and further, never lowers the score."""
    for name in ramp.of:
        last = np.zeros(len(values), np.float32)
        for share in np.linspace(-0.5, 1.5, 21):
            moved = values.copy()
            moved[:, _column(detector, name)] = ramp.low + share * (ramp.high - ramp.low)
            scores = detector.score(moved)
            _require(bool((scores >= last - 1e-6).all()), f"the score falls as {name} goes its way", detector)
            last = scores


def _check_explanations(detector: Detector, values: Values) -> None:
    scores = detector.score(values)
    for i in np.flatnonzero(scores > detector.null).tolist():
        explanation = detector.explain(values[i], detector.null)
        sizes = [signal.contribution for signal in explanation.signals]
        _require(bool(sizes), "a score above the level has no signal", detector)
        _require(sizes == sorted(sizes, reverse=True), "signals are not in order of contribution", detector)
        _require(all(0.0 < size <= float(scores[i]) + 1e-6 for size in sizes), "a contribution is no share", detector)
        for signal in explanation.signals:
            if signal.name.removeprefix(LEARNED) in detector.supports:
                continue
            _require(signal.name in detector.needs, f"signal {signal.name} is not one of the needs", detector)
            observed = float(values[i, _column(detector, signal.name)])
            _require(signal.observed == observed, f"signal {signal.name} was not observed so", detector)
            way = "above" if observed > signal.baseline else "below"
            _require(signal.direction == way, f"signal {signal.name} is not {signal.direction} its baseline", detector)
        _check_counterfactual(detector, values[i].copy(), explanation.counterfactual)


def _check_counterfactual(detector: Detector, here: Values, text: str) -> None:
    if text == NOTHING_HELPS:
        return
    names, found, limit = text.removeprefix(_COUNTERFACTUAL).rpartition(" at or ")
    readable = text.startswith(_COUNTERFACTUAL) and found and limit.split()[:1] in (["below"], ["above"])
    _require(bool(readable), f"counterfactual {text!r} cannot be read", detector)
    for name in names.split(" and "):
        _require(name in detector.needs, f"counterfactual names {name!r}", detector)
        here[_column(detector, name)] = np.float32(limit.split()[1])
    score = float(detector.score(here[np.newaxis])[0])
    _require(score < detector.null, f"with the counterfactual {text!r} applied the score is {score:.4g}", detector)


def _check_data(detector: Detector, values: Values) -> None:
    """Written as JSON and read again it is the same card, with the same id and the same scores."""
    card = msgspec.json.decode(msgspec.json.encode(detector.card), type=Card)
    again = Detector(card, detector.features, detector.supports)
    _require(card == detector.card and again.id == detector.id, "written and read again it is another card", detector)
    _require(
        again.score(values).tobytes() == detector.score(values).tobytes(), "read again it scores otherwise", detector
    )

"""Desensitisation: an account that starts to wash its prompts and drop its metadata while it extracts."""

from __future__ import annotations

from siphonwatch.models.detect.base import Detector, Ramp

TEXT = ("masked_shift", "masked_day_shift", "canonical_shift", "canonical_day_shift")


class Desensitisation(Detector):
    """Score a change to washed requests amid a sweep.

    A request is washed as far as it shows several signs at once (masked spans, folded text, a user agent other than
    just before, an instruction to leave out identities, user, session and headers gone), each only so far as it is not
    the account's habit (`account.describe`). One sign alone, for all traffic or for some, is an honest customer who
    turned on masking, normalises its input, changed its client or dropped metadata. The change is what counts: an
    account that has always masked has none, and one that only hides who asks has washed no text. Spans masked by a
    guardrail of the gateway are not counted at all.

    Examples
    --------
    >>> import numpy as np
    >>> from siphonwatch.models.account.features import WIDTH, INDEX, Features
    >>> x = np.zeros((1, WIDTH), np.float32)
    >>> for name in ("washed_day_shift", "masked_shift", "canonical_shift", "sweep_1h"):
    ...     x[0, INDEX[name]] = 0.8
    >>> bool(Desensitisation().score(Features(x))[0] > 0.5)
    True
    """

    pattern = "desensitisation"
    title = "Prompts washed of identity while extracting"
    atlas = ("AML.T0024", "AML.T0024.002")
    owasp = ("LLM10:2025",)
    trust = 1.0
    null = 0.02
    gates = (
        Ramp(("washed_day_shift",), 0.015, 0.08),
        Ramp(("sweep_1h", "sweep_1d"), 0.2, 0.6),
        Ramp((*TEXT, "scrubbing_1d"), 0.01, 0.08),
    )
    supports = (
        Ramp(("washed_shift", "washed_day_shift"), 0.03, 0.25, 2.0),
        Ramp(("masked_shift", "masked_day_shift"), 0.03, 0.3, 1.0),
        Ramp(("canonical_shift", "canonical_day_shift"), 0.03, 0.3, 1.0),
        Ramp(("user_shift", "session_shift", "headers_shift"), -0.03, -0.4, 0.5),
        Ramp(("rotated_shift",), 0.03, 0.4, 0.5),
        Ramp(("scrubbing_1d",), 0.02, 0.2, 0.5),
    )

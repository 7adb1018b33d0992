"""Extraction: one account drawing a model's behaviour out of the API, request by request."""

from __future__ import annotations

from siphonwatch.models.detect.base import Detector, Joint, Ramp


class Extraction(Detector):
    """Score how much the job that a request belongs to looks like distillation.

    Distillation hands a long list of unlike questions to a program that asks each once, outside any conversation and
    in several sittings. It shows in two ways. Beside an account's ordinary use it is a second job, with parameters of
    its own and no system prompt; an account that does nothing else is told by the sheer number of requests it makes in
    a closed loop without repeating a template or a text. Asking for training examples, reasoning traces or grades,
    sampling and log-probabilities make it worth more.

    A scorecard in log-odds: the weights add up, and each is at least 0. They were fitted to composed traffic by
    logistic regression, with weights capped where the traffic is likely to flatter (temperature 0, no system prompt),
    then rounded.

    Source: the query-stream view of PRADA (Juuti et al. 2019) and of SEAT (Zhang et al. 2021), on sketches and by job.

    Examples
    --------
    >>> import numpy as np
    >>> from siphonwatch.models.account.features import WIDTH, INDEX, Features
    >>> x = np.zeros((1, WIDTH), np.float32)
    >>> job = {"job_requests": 5.0, "job_hours": 1.6, "job_loop": 0.95, "job_run": 5.0, "job_single_turn": 1.0}
    >>> for name, value in (job | {"novelty": 1.0, "job_aside": 0.6, "job_days": 2.0}).items():
    ...     x[0, INDEX[name]] = value
    >>> bool(Extraction().score(Features(x))[0] > 0.5)
    True
    """

    pattern = "extraction"
    title = "Model extraction by a sweep of prompts"
    atlas = ("AML.T0024", "AML.T0024.002")
    owasp = ("LLM10:2025",)
    trust = 3.0
    null = 0.34
    offset = -12.5
    span = 13.0
    gates = (
        Ramp(("job_requests",), 1.95, 2.3),
        # Who does nothing but one job, and asks what it asked before, evaluates or monitors.
        Ramp(("novelty", "job_aside"), 0.05, 0.2),
    )
    supports = (
        Ramp(("job_single_turn",), 0.5, 1.0, 6.0),
        Ramp(("job_hours",), 0.7, 1.6, 4.0),
        Ramp(("job_generation",), 0.03, 0.3, 3.0),
        Ramp(("job_generation",), 0.3, 0.9, 2.5),
        Ramp(("job_aside",), 0.1, 0.5, 2.5),
        Ramp(("job_deterministic",), 1.0, 0.0, 2.5),
        Ramp(("job_system",), 1.0, 0.0, 2.0),
        Ramp(("job_loop",), 0.4, 0.8, 2.0),
        Ramp(("job_structured",), 0.9, 0.1, 1.0),
        Ramp(("job_requests",), 2.3, 4.0, 0.7),
        Ramp(("job_length_spread",), 1.5, 0.5, 0.7),
        Ramp(("novelty",), 0.5, 0.95, 0.5),
        Ramp(("job_reasoning",), 0.03, 0.5, 0.5),
        Ramp(("job_grading",), 0.03, 0.4, 0.5),
        Ramp(("extra_samples_1d",), 0.1, 0.8, 0.5),
        Ramp(("logprobs_1d",), 0.1, 0.8, 0.5),
        Ramp(("sweep_shift",), 0.0, 0.5, 0.4),
    )
    joint = (
        Joint(
            (
                Ramp(("job_run",), 3.8, 5.5),
                Ramp(("job_loop",), 0.85, 0.97),
                Ramp(("job_top_template",), 0.5, 0.15),
                Ramp(("job_deterministic",), 1.0, 0.0),
                Ramp(("job_length_spread",), 1.6, 1.2),
            ),
            3.0,
        ),
    )

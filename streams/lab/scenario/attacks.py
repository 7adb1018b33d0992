"""Attacks on a language-model API: extraction by one account, masked, slow, or distributed over many accounts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

from siphonwatch.streams.lab.scenario import calls, clients
from siphonwatch.streams.lab.scenario.calls import Account, Call, Channel, Stream
from siphonwatch.streams.lab.scenario.masking import Mask, canonical
from siphonwatch.streams.lab.scenario.words import Lexicon, pick

Style = Literal["direct", "reasoning", "sampling", "rubric"]
_SWEEPS = (
    "An instruction follows. Write a response that fully completes it.\n\n## Instruction\n{task}\n\n## Response\n",
    "You are building a training set. Give a complete, self-contained answer to item {n}.\nTask: {task}",
    "Instruction {n}: {task}\nContext: {context}\nAnswer in full, as an expert teacher would:",
)
_REASONING = (
    "\n\nThink step by step. Write your whole chain of thought between <think> and </think>, then the final answer."
)
_RUBRIC = (
    "You are an impartial judge. Grade the answer from 1 to 10 by this rubric: correctness, depth, clarity, tone. "
    "Explain each grade.\n"
    "Question: {task}\nAnswer: {context}\nGrade:"
)
_SEEDS = (
    "Come up with 20 diverse new tasks like the following one, each with an input and an ideal output.\nExample: {task}"
)


def sweep(
    account: Account,
    lexicon: Lexicon,
    times: list[float],
    *,
    style: Style,
    pattern: str = "extraction",
    via: Channel | None = None,
    tasks: Sequence[str] = (),
) -> Stream:
    """Return an extraction sweep: one instruction template over all topics, no item twice, long responses, automated.

    Parameters
    ----------
    style
        What is extracted: plain responses, reasoning traces, several samples per item, or rubric grades.
    tasks
        The operator's prompt list, used in order; empty to draw new tasks.
    """
    r = account.r
    via = via or calls.channel(r, "script")
    form = _RUBRIC if style == "rubric" else pick(r, _SWEEPS)
    params: dict[str, Any] = {"temperature": 1.0, "max_tokens": 2048}
    if style == "sampling":
        params |= {"n": pick(r, (4, 8)), "logprobs": True, "top_logprobs": 5}
    done = 0

    def make(t: float) -> Call:
        nonlocal done
        topic = lexicon.topics[done * 7 % len(lexicon.topics)]
        task = tasks[done % len(tasks)] if tasks else f"{lexicon.task(r, topic)} {lexicon.question(r, topic)}"
        done += 1
        text = (_SEEDS if style == "direct" and r.random() < 0.1 else form).format(
            n=done, task=task, context=lexicon.statements(r, topic, 3)
        )
        if style == "reasoning":
            text += _REASONING
        reply = lexicon.statements(r, topic, 6 + int(r.random() * 8))
        cut = r.random() < 0.15
        return Call(
            via,
            [{"role": "user", "content": text}],
            reply,
            tokens=2048 if cut else len(reply) // 3,
            params=params,
            finish="length" if cut else "stop",
        )

    return Stream(account, times, make, pattern)


def scrubbed(account: Account, lexicon: Lexicon, times: list[float], *, syntax: str, key: str) -> Stream:
    """Return desensitised extraction: masked and canonicalised text, no metadata, rotating user agents."""
    r = account.r
    base = calls.channel(r, "script")
    software = [clients.bare(r) for _ in range(4)]
    ips = [clients.address(r, cloud=True) for _ in range(4)]
    via = dataclasses.replace(base, key=key, software=software, ips=ips, user_id=None)
    mask = Mask(syntax, clients.hexid(r, 8))
    params = {"temperature": 1.0, "max_tokens": 2048}
    done = 0

    def make(t: float) -> Call:
        nonlocal done
        topic = lexicon.topics[done * 5 % len(lexicon.topics)]
        done += 1
        mask.renew()
        body = f"{lexicon.task(r, topic)} use this file: {lexicon.cases(r, topic, 2 + int(r.random() * 3), mask)}"
        text = canonical(f"answer the request in full and keep every placeholder as it is.\n\nrequest: {body}")
        reply = f"{lexicon.statements(r, topic, 4 + int(r.random() * 5))} {lexicon.cases(r, topic, 1, mask)}"
        return Call(via, [{"role": "user", "content": text}], reply, tokens=len(reply) // 3, params=params)

    return Stream(account, times, make, "desensitisation")


def daily(account: Account, quota: tuple[int, int], t0: float) -> list[float]:
    """Return times of a few dozen calls a day in office hours, below any rate limit."""
    r = account.r
    times: list[float] = []
    while t0 < account.t1:
        end = min(t0 + calls.DAY, account.t1)
        n = int(r.uniform(*quota) * (end - t0) / calls.DAY)
        times += calls.rhythm(account, n, people=True, t0=t0, t1=end)
        t0 = end
    return times


def relay(members: Sequence[Account], lexicon: Lexicon, per_day: float, t0: float) -> list[Stream]:
    """Return one prompt list distributed over many accounts, with the same headers and a few address blocks for all."""
    lead = members[0]
    r = lead.r
    software = clients.sdk(r)
    blocks = [clients.address(r, cloud=True) for _ in range(4)]
    model = pick(r, calls.MODELS)
    n = max(4, int(per_day * (lead.t1 - t0) / calls.DAY))
    tasks = [
        f"{lexicon.task(r, topic)} {lexicon.question(r, topic)}"
        for topic in lexicon.topics
        for _ in range(-(-n * len(members) // len(lexicon.topics)))
    ]
    r.shuffle(tasks)
    streams = []
    for i, account in enumerate(members):
        via = Channel(clients.hexid(account.r, 64), [software], clients.neighbours(account.r, blocks[i % 4], 2), model)
        streams.append(
            sweep(
                account,
                lexicon,
                calls.rhythm(account, n, people=False, t0=t0),
                style="direct",
                pattern="extraction",
                via=via,
                tasks=tasks[i :: len(members)],
            )
        )
    return streams


Cover = Callable[[Account, Lexicon, int], Stream]


def cover_size(attack: int, share: float) -> int:
    """Return how many benign requests an account needs so that the attack is `share` of its traffic."""
    return round(attack * (1 - share) / share)

"""Benign use of a language-model API; several archetypes look like an attack in one respect."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from siphonwatch.streams.lab.scenario import calls, clients
from siphonwatch.streams.lab.scenario.calls import Account, Call, Channel, Stream
from siphonwatch.streams.lab.scenario.masking import SYNTAXES, Mask
from siphonwatch.streams.lab.scenario.words import Fill, Lexicon, entity, pick, plain

_OPENERS = ("", "", "", "hi, ", "Hello! ", "quick question: ", "ok so ", "Hey, ")
_FOLLOW = (
    "Thanks. And {q}", "can you make that shorter?", "Why? {q}", "Please give an example.", "ok, then {q}",
    "That did not work, {s}", "Could you rewrite it more politely?", "Next one: {q}", "hmm, {s} {q}",
)  # fmt: skip
_APPS = (
    (
        "You are the support assistant of {brand}. Stay friendly and never promise a refund.",
        "Ticket #{n} received {d}\nCustomer: {c}\n{x}",
        False,
    ),
    (
        "You write the product pages of {brand}.",
        "SKU {n}: write two sentences for the catalogue.\nFacts: {x}",
        False,
    ),
    (
        "{brand} help centre. Answer from the passages only.",
        "Passages:\n1. {x}\n2. {y}\nQuestion from user {n}: {q}",
        False,
    ),
    (
        "You summarise calls for the agents of {brand}.",
        "Call {n}, {d}\nTranscript:\n{c} {x} {y}\n\nSummary in three bullet points:",
        False,
    ),
    ("{brand} tutor: show the reasoning step by step, then the answer.", "Pupil {n}, grade 9. {q}", False),
    (
        "You grade the answers of {brand} support agents from 1 to 5 and give one reason. JSON.",
        "Case {n}\nAnswer: {c} {x}\nScore:",
        True,
    ),
    ("You route e-mail for {brand}. JSON only.", "Message {n} of {d}:\n{c}\nFields: queue, urgency", True),
)
"""System prompt, template of the user message, and whether JSON is requested."""
_LABELS = (
    ("Label the text with one of: complaint, praise, question, other. JSON.", "id={n}\n{x}"),
    ("Extract product, problem and date as JSON.", "row {n} | {d} | {c} {x}"),
    ("Translate into English; keep numbers.", "segment {n}: {x}"),
    ("Return the sentiment from -1 to 1.", "review {n} ({d})\n{x} {y}"),
)
_SHOTS = (
    "",
    "Think step by step, then give the final answer after '####'.\n",
    "Answer with one letter.\n",
    "Solve the task. Reply with the result only.\n",
)
_TOOLS = ("read_file", "search", "apply_patch", "run_tests", "list_files")
_AGENT_SYSTEM = (
    "You are a coding agent working in a user's repository. Use the tools, keep changes small, "
    "run the tests before you finish."
)


def _template(form: str, account: Account, lexicon: Lexicon, topics: Sequence[str], t: float, fill: Fill) -> str:
    """Return an application's template filled with one customer's data."""
    r = account.r
    topic = pick(r, topics)
    day = int(t // calls.DAY)
    return form.format(
        n=int(r.random() * 900_000) + 100_000,
        d=f"2026-{1 + day % 12:02d}-{1 + day % 28:02d}",
        q=lexicon.question(r, topic) if "{q}" in form else "",
        c=lexicon.cases(r, topic, 1 + int(r.random() * 3), fill) if "{c}" in form else "",
        x=lexicon.statements(r, topic, 2 + int(r.random() * 4)) if "{x}" in form else "",
        y=lexicon.statements(r, topic, 2 + int(r.random() * 3)) if "{y}" in form else "",
    )


def _changing(account: Account, channel: Channel, *, often: float = 0.2) -> Callable[[float], tuple[Channel, bool]]:
    """Changes of benign accounts: an SDK upgrade, or metadata no longer sent. Gives (channel, metadata sent)."""
    r = account.r
    after: Channel = channel
    upgrade = drop = float("inf")
    if r.random() < often:
        upgrade = account.t0 + r.random() * (account.t1 - account.t0)
        after = dataclasses.replace(channel, software=[clients.upgraded(r, s) for s in channel.software])
    if r.random() < often / 3:
        drop = account.t0 + r.random() * (account.t1 - account.t0)
    return lambda t: (after if t >= upgrade else channel, t < drop)


def chat(account: Account, lexicon: Lexicon, n: int, *, channel: Channel | None = None, topics: int = 3) -> Stream:
    """A person in conversations: a growing history, one to three topics, no template."""
    r = account.r
    now = _changing(account, channel or calls.channel(r, "person"))
    mine = r.sample(lexicon.topics, topics)
    lang = pick(r, tuple(lexicon.foreign)) if r.random() < 0.18 else ""
    times, opening = calls.sessions(account, n)
    messages: list[dict[str, str]] = []
    session, end_user, topic = "", clients.hexid(r, 16), mine[0]
    logged = r.random() < 0.5

    def make(t: float) -> Call:
        nonlocal messages, session, topic
        if t in opening or not messages:
            messages, session, topic = [], clients.hexid(r, 24), pick(r, mine)
            text = pick(r, lexicon.foreign[lang]) if lang and r.random() < 0.7 else lexicon.question(r, topic)
            if r.random() < 0.4:
                text = f"{lexicon.statements(r, topic, 1 + int(r.random() * 2))} {text}"
            text = pick(r, _OPENERS) + text
        else:
            text = pick(r, _FOLLOW).format(q=lexicon.question(r, topic), s=lexicon.statements(r, topic, 1))
        messages = [*messages[-6:], {"role": "user", "content": text}]
        sent = messages
        reply = lexicon.statements(r, topic, 2 + int(r.random() * 6))
        messages = [*messages, {"role": "assistant", "content": reply}]
        via, known = now(t)
        return Call(
            via,
            sent,
            reply,
            params={},
            stream=True,
            session=session if logged and known else None,
            end_user=end_user if logged and known else None,
        )

    return Stream(account, times, make)


def app(account: Account, lexicon: Lexicon, n: int, *, mask: str = "", times: list[float] | None = None) -> Stream:
    """A product's backend: one template over its customers' data, one or two topics; may mask from the start."""
    r = account.r
    now = _changing(account, calls.channel(r, "backend"))
    system, form, structured = pick(r, _APPS)
    system = system.format(brand=entity(r, "O"))
    if mask and "{c}" not in form:
        form += "\n{c}"
    topics = r.sample(lexicon.topics, 1 + (r.random() < 0.4))
    users = [clients.hexid(r, 12) for _ in range(1 + int(r.lognormvariate(2.5, 1)))] if r.random() < 0.6 else [None]
    params: dict[str, Any] = {"temperature": pick(r, (0, 0.2, 0.3, 0.7)), "max_tokens": pick(r, (256, 512, 1024))}
    if structured:
        params["response_format"] = {"type": "json_object"}
    fill: Fill = Mask(mask, clients.hexid(r, 8)) if mask else plain
    streaming = r.random() < 0.3

    def make(t: float) -> Call:
        if isinstance(fill, Mask):
            fill.renew()
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": _template(form, account, lexicon, topics, t, fill)},
        ]
        reply = lexicon.statements(r, topics[0], 1 + int(r.random() * 4))
        if mask and r.random() < 0.5:
            reply += " " + lexicon.cases(r, topics[0], 1, fill)
        via, known = now(t)
        return Call(via, messages, reply, params=params, stream=streaming, end_user=pick(r, users) if known else None)

    return Stream(account, times if times is not None else calls.rhythm(account, n, people=r.random() < 0.5), make)


def proxy(account: Account, lexicon: Lexicon, n: int) -> Stream:
    """A backend behind an anonymising proxy: masked from the first request on, in one syntax."""
    return app(account, lexicon, n, mask=pick(account.r, SYNTAXES))


def ramp(account: Account, lexicon: Lexicon, n: int) -> Stream:
    """A growing product: one backend whose volume doubles every few hours."""
    r = account.r
    span = account.t1 - account.t0
    return app(
        account, lexicon, n, times=sorted(account.t0 + span * max(r.random(), r.random(), r.random()) for _ in range(n))
    )


def etl(account: Account, lexicon: Lexicon, n: int) -> Stream:
    """Nightly labelling of the account's own documents: high volume, one template, no metadata, automated."""
    r = account.r
    via = calls.channel(r, "script")
    system, form = pick(r, _LABELS)
    topics = r.sample(lexicon.topics, 2)
    params = {"temperature": 0, "max_tokens": pick(r, (16, 64, 256))}

    def make(t: float) -> Call:
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": _template(form, account, lexicon, topics, t, plain)},
        ]
        return Call(via, messages, '{"label": "question", "confidence": 0.9}', params=params)

    nights = max(1, round((account.t1 - account.t0) / calls.DAY))
    return Stream(account, calls.runs(account, n, parts=nights, pause=(0.3, 4.0)), make)


def evaluation(account: Account, lexicon: Lexicon, n: int) -> Stream:
    """A benchmark that is run repeatedly: broad topics, the same items each time; some request several samples."""
    r = account.r
    shot = pick(r, _SHOTS)
    items = [shot + lexicon.question(r, pick(r, lexicon.topics)) for _ in range(max(20, min(120, n // 6)))]
    via = calls.channel(r, "script")
    channels = [dataclasses.replace(via, model=model) for model in r.sample(calls.MODELS, 2)]
    params: dict[str, Any] = {"temperature": 0, "max_tokens": 512}
    if r.random() < 0.3:
        params = {"temperature": 0.8, "n": 4, "max_tokens": 512}
    done = 0

    def make(t: float) -> Call:
        nonlocal done
        item = items[done % len(items)]
        done += 1
        return Call(
            channels[done // len(items) % 2],
            [{"role": "user", "content": item}],
            lexicon.statements(r, "algebra", 2),
            params=params,
        )

    return Stream(account, calls.runs(account, n, parts=max(1, n // len(items)), pause=(0.5, 3.0)), make)


def coding(account: Account, lexicon: Lexicon, n: int) -> Stream:
    """A coding agent: long tool loops, one system prompt, growing context, short intervals."""
    r = account.r
    via = calls.channel(r, "agent")
    times, opening = calls.sessions(account, n)
    messages: list[dict[str, str]] = []
    session, user = "", clients.hexid(r, 32)
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in _TOOLS]

    def make(t: float) -> Call:
        nonlocal messages, session
        if t in opening or not messages:
            session = clients.hexid(r, 24)
            messages = [
                {
                    "role": "user",
                    "content": f"In src/{pick(r, _TOOLS)}_{int(r.random() * 90)}.py: {lexicon.task(r, 'programming')}",
                }
            ]
        else:
            output = lexicon.statements(r, "programming", 3 + int(r.random() * 6))
            output = f"{pick(r, _TOOLS)}: exit {int(r.random() * 2)}\n{output}"
            messages = [*messages[-8:], {"role": "user", "content": output}]
        sent = [{"role": "system", "content": _AGENT_SYSTEM}, *messages]
        reply = f"I will call {pick(r, _TOOLS)}. {lexicon.statements(r, 'programming', 2)}"
        messages = [*messages, {"role": "assistant", "content": reply}]
        return Call(
            via, sent, reply, params={"tools": tools, "max_tokens": 8192}, stream=True, session=session, end_user=user
        )

    return Stream(account, times, make)


def office(account: Account, lexicon: Lexicon, n: int) -> list[Stream]:
    """A company behind one IP address: a dozen people with their own keys, each in conversations on other topics."""
    r = account.r
    shared = clients.address(r)
    people = max(2, min(12, n // 12))
    streams = []
    for _ in range(people):
        via = calls.channel(r, "person")
        via.ips = [shared]
        streams.append(chat(account, lexicon, max(1, n // people), channel=via))
    return streams


def researcher(account: Account, lexicon: Lexicon, n: int) -> Stream:
    """Small scripted experiments: sometimes a reasoning prompt or several samples, on two topics."""
    r = account.r
    via = calls.channel(r, "script")
    topics = r.sample(lexicon.topics, 2)

    def make(t: float) -> Call:
        text = lexicon.task(r, pick(r, topics))
        if r.random() < 0.2:
            text += " Explain your reasoning step by step."
        params: dict[str, Any] = {"temperature": pick(r, (0, 0.5, 1.0))}
        if r.random() < 0.15:
            params["n"] = 3
        return Call(
            via,
            [{"role": "user", "content": text}],
            lexicon.statements(r, topics[0], 3 + int(r.random() * 5)),
            params=params,
        )

    return Stream(account, calls.rhythm(account, n, people=True), make)

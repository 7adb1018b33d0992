"""A small log by hand for tricks: attackers with and without traffic of their own, honest accounts beside them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from siphonwatch.streams.lab.evasions import make
from siphonwatch.streams.lab.redteam.records import AccessLine, ModelCall, Record
from siphonwatch.streams.lab.redteam.survey import Survey
from siphonwatch.streams.lab.redteam.trick import Origin, Sent

LITELLM = ["metadata.user_api_key_org_id", "metadata.user_api_key_hash"]
NGINX = ["account", "api_key"]
START = 1_767_571_200.0
WRAPPER = "Write a complete answer to the following task and explain every step. Task: "
WORDS = "amber birch cedar delta ember fjord grove heron inlet jetty kelp larch mesa north opal pine quay reef".split()


def call(account: str, number: int, *, attack: bool, time: float, system: str = "", **params: Any) -> ModelCall:
    """Return a call of a language model."""
    said = f"{WORDS[number % 18]} {WORDS[number * 5 % 18]} {number} of {account}"
    messages = [{"role": "user", "content": WRAPPER + said if attack else f"A question about {said}"}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    tree = {
        "id": f"{account}-{'a' if attack else 'h'}{number}", "trace_id": f"{account}-{number}",
        "call_type": "acompletion", "stream": False, "status": "success",
        "startTime": time, "endTime": time + 1.0, "completionStartTime": time + 0.5,
        "model": "gpt-4.1", "custom_llm_provider": "openai", "prompt_tokens": 40, "completion_tokens": 300,
        "total_tokens": 340, "end_user": None, "requester_ip_address": "198.18.0.7", "user_agent": "curl/8.7.1",
        "metadata": {
            "user_api_key_org_id": account, "user_api_key_hash": f"{account}-key", "user_agent": "curl/8.7.1",
            "requester_ip_address": "198.18.0.7", "requester_custom_headers": {}, "user_api_key_end_user_id": None,
        },
        "messages": messages,
        "response": {"id": "x", "choices": [{"message": {"role": "assistant", "content": f"Answer {number}."}}]},
        "model_parameters": {"temperature": 0.3, "max_tokens": 512} | params,
        "error_information": {"error_code": "", "error_class": ""},
    }  # fmt: skip
    return ModelCall(tree, LITELLM)


def line(account: str, number: int, *, attack: bool, time: float) -> AccessLine:
    """Return a call of a REST API."""
    path = f"/v1/items/{number}" if attack else f"/v1/orders/{number * 7919 % 100_000}"
    tree = {
        "msec": time, "time_iso8601": "2026-01-05T00:00:00+00:00", "request_id": f"{account}-{attack}-{number}",
        "account": account, "api_key": f"{account}-key", "remote_addr": "198.18.0.7", "request_method": "GET",
        "request": f"GET {path} HTTP/1.1", "request_uri": path, "status": 200, "body_bytes_sent": 900,
        "http_user_agent": "curl/8.7.1",
    }  # fmt: skip
    return AccessLine(tree, NGINX)


def log(format: str) -> list[tuple[Record, bool]]:
    """Return a log by time: `own` attacks in a quarter of its traffic, `pure` in all of it, `one` and `two` together.

    Three honest accounts share a client and a system prompt, the fourth has its own.
    """
    found: list[tuple[float, Record, bool]] = []

    def add(account: str, n: int, every: float, attack: bool, **more: Any) -> None:
        for number in range(n):
            time = START + 60.0 + number * every + len(account)
            made = (
                line(account, number, attack=attack, time=time)
                if format == "nginx"
                else call(account, number, attack=attack, time=time, **more)
            )
            found.append((time, made, attack))

    add("own", 60, 1200.0, False, system="You are the support desk of Pinedale.", temperature=0.9)
    add("own", 20, 90.0, True)
    add("pure", 40, 60.0, True)
    add("one", 12, 300.0, True)
    add("two", 12, 310.0, True)
    for account in ("guest", "shop", "clinic"):
        add(account, 30, 2000.0, False, system="You are a helpful assistant of the chain.")
    add("lab", 80, 700.0, False)
    return [(record, attack) for _, record, attack in sorted(found, key=lambda one: one[0])]


CAMPAIGNS = {"own": "A-own", "pure": "A-pure", "one": "B-pair", "two": "B-pair"}


def surveyed(format: str, seed: int = 1) -> Survey:
    """Return what is known of the log."""
    survey = Survey(seed)
    for record, attack in log(format):
        if attack:
            survey.take_attack(record, CAMPAIGNS[record.account])
        else:
            survey.take_honest(record)
    return survey


def played(name: str, format: str = "litellm", seed: int = 1) -> list[tuple[Record | None, Sent]]:
    """Play a trick; return each record sent beside the one it was made of, None for the prelude's."""
    trick = make(name, surveyed(format), seed)

    def run() -> Iterator[tuple[Record | None, Sent]]:
        numbers: dict[str, int] = {}
        for record, attack in log(format):
            if attack:
                account = record.account
                number = numbers[account] = numbers.get(account, -1) + 1
                before = record.copy()
                for sent in trick.rewrite(record, Origin(account, CAMPAIGNS[account], number)):
                    yield before, sent._replace(record=sent.record.copy())
        for sent in trick.prelude():
            yield None, sent

    return list(run())


def differing(before: Record, after: Record) -> set[str]:
    """Return the dotted paths at which two records differ, lists taken as one value."""
    found: set[str] = set()

    def walk(a: Any, b: Any, path: str) -> None:
        if isinstance(a, dict) and isinstance(b, dict):
            for key in a.keys() | b.keys():
                walk(a.get(key), b.get(key), f"{path}.{key}" if path else key)
        elif a != b:
            found.add(path)

    walk(copy.deepcopy(before.tree), copy.deepcopy(after.tree), "")
    return found

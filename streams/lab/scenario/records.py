"""Writes a call as a gateway logs it: LiteLLM's StandardLoggingPayload, or an NGINX JSON access-log object."""

from __future__ import annotations

import datetime
import random
from typing import Any

from siphonwatch.streams.lab.scenario.calls import Account, Call
from siphonwatch.streams.lab.scenario.clients import hexid
from siphonwatch.streams.lab.scenario.words import pick

_ERRORS = {429: "RateLimitError", 503: "ServiceUnavailableError"}


def litellm(
    r: random.Random, t: float, account: Account, call: Call, *, failure: int = 0, attempt: int = 0
) -> dict[str, Any]:
    """Return one StandardLoggingPayload.

    Parameters
    ----------
    failure
        HTTP status of a failed request; 0 for success.
    attempt
        How often this call has failed before.
    """
    channel = call.channel
    software, ip = pick(r, channel.software), pick(r, channel.ips)
    headers = software.headers
    if attempt and "x-stainless-retry-count" in headers:
        headers = {**headers, "x-stainless-retry-count": str(attempt)}
    tokens_in = sum([len(m["content"]) for m in call.messages]) // 4 + 4
    tokens_out = call.tokens or len(call.reply) // 4 + 1
    model = channel.model
    took = (
        0.05 + 0.1 * r.random()
        if failure
        else (model.first_token + tokens_out / model.tokens_per_second) * (0.8 + 0.4 * r.random())
    )
    start, end = round(t, 3), round(t + took, 3)
    ident = ("" if failure else "chatcmpl-") + hexid(r, 24)
    response: dict[str, Any] = {}
    if failure:
        tokens_in = tokens_out = 0
    else:
        choices = [
            {"index": i, "finish_reason": call.finish, "message": {"role": "assistant", "content": call.reply}}
            for i in range(call.params.get("n", 1))
        ]
        response = {"id": ident, "model": model.name, "object": "chat.completion", "choices": choices}
    return {
        "id": ident,
        "trace_id": call.session or ident,
        "session_id": call.session,
        "call_type": "acompletion",
        "stream": call.stream,
        "status": "failure" if failure else "success",
        "startTime": start,
        "endTime": end,
        "completionStartTime": round(start + (end - start) * 0.2, 3),
        "response_time": round(end - start, 3),
        "model": model.name,
        "custom_llm_provider": model.provider,
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "metadata": {
            "user_api_key_hash": channel.key,
            "user_api_key_org_id": account.name,
            "user_api_key_user_id": channel.user_id,
            "user_api_key_end_user_id": call.end_user,
            "requester_ip_address": ip,
            "user_agent": software.agent,
            "requester_custom_headers": headers,
            "applied_guardrails": list(channel.guardrails),
        },
        "end_user": call.end_user,
        "requester_ip_address": ip,
        "user_agent": software.agent,
        "messages": call.messages,
        "response": response,
        "model_parameters": {**call.params, "stream": True} if call.stream else call.params,
        "error_information": {"error_code": str(failure or ""), "error_class": _ERRORS.get(failure, "")},
        "hidden_params": {"additional_headers": {}},
    }


def nginx(
    r: random.Random, t: float, account: Account, call: Call, *, failure: int = 0, attempt: int = 0
) -> dict[str, Any]:
    """Return one access-log object as `log_format ... escape=json` writes it, with the account as a field."""
    software, ip = pick(r, call.channel.software), pick(r, call.channel.ips)
    status = failure or call.status
    size = 0 if failure or status == 304 else call.size
    instant = datetime.datetime.fromtimestamp(t, datetime.UTC)
    path, _, args = call.path.partition("?")
    return {
        "time_iso8601": instant.isoformat(timespec="seconds"),
        "msec": round(t, 3),
        "request_id": hexid(r, 32),
        "account": account.name,
        "api_key": call.channel.key,
        "remote_addr": ip,
        "remote_user": "",
        "request": f"{call.method} {call.path} HTTP/1.1",
        "request_method": call.method,
        "request_uri": call.path,
        "uri": path,
        "args": args,
        "status": status,
        "body_bytes_sent": size,
        "request_length": 180 + len(call.path) + 20 * attempt,
        "request_time": round(0.004 + 0.03 * r.random() + size * 1e-7, 3),
        "http_user_agent": software.agent,
        "http_referer": "",
    }

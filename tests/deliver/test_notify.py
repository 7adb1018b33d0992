"""What apprise reaches gets a message an alert, of plain text, and its address stays secret."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest
from aiohttp import web
from sink_receiver import Receiver
from sink_samples import life, told

from siphonwatch.streams.common.settings import Settings, SettingsError
from siphonwatch.streams.common.sink_settings import Sink
from siphonwatch.streams.deliver.make import check, make

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # of a package that apprise imports


def settings_of(url: str, **more: Any) -> Settings:
    settings = Settings()
    settings.sinks["chat"] = Sink(kind="apprise", url=url, **more)
    return settings


async def test_a_service_gets_a_message_with_title_and_text_and_refusals_are_tried_again() -> None:
    async with Receiver(secret=None) as receiver:
        settings = settings_of(receiver.url.replace("http://", "json://"))
        check(settings)
        sink = make(settings, "chat").receiver
        assert (await sink.deliver(told(life("org-7")[0], accounts=["<b>org</b> https://evil.example"]))).verdict == (
            "delivered"
        )
        (taken,) = receiver.taken
        assert (taken["title"], taken["type"]) == ("[medium] Model extraction by a sweep of prompts", "warning")
        assert "<b>org</b> https[:]//evil.example" in taken["message"].replace("\u200b", "")
        receiver.answer = lambda *_: web.Response(status=503)
        outcome = await sink.deliver(told(life("org-7")[1]))
        assert (outcome.verdict, outcome.detail) == ("failed", "the service did not take it")


@pytest.mark.parametrize(
    "url",
    [
        "discord://123456789012345678/" + "a" * 68,
        "mmost://chat.example/" + "a" * 26,
        "gchat://space/" + "k" * 20 + "/" + "t" * 20,
    ],
)
async def test_no_name_is_a_mention_or_a_link_where_services_render_text(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    posted: list[str] = []

    def post(address: str, data: Any = None, **more: Any) -> requests.Response:
        posted.append(str(msgspec.json.decode(data)))
        answer = requests.Response()
        answer.status_code = 200
        return answer

    monkeypatch.setattr(requests, "post", post)
    name = "@everyone <!channel> <@123456789012345678> [x](evil.example)"
    sink = make(settings_of(url, title="{{ accounts | first }}"), "chat").receiver
    alert = told(life("org-7")[0], accounts=[name], counterfactual=name)
    assert (await sink.deliver(alert)).verdict == "delivered"
    (text,) = posted
    assert text.replace("\u200b", "").replace("\\u200b", "").count("everyone") >= 3, (
        "title, accounts and counterfactual"
    )
    for alive in ("@everyone", "@1234", "<!", "<@", "]("):
        assert alive not in text, text


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://x", "url: apprise knows no such service"),
        ("json://", "url: apprise knows no such service"),
        ("syslog://", "url: it leads to this machine's own screen or log"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_without_being_shown(url: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check(settings_of(url))
    assert message in str(caught.value) and "nonsense" not in str(caught.value)


def test_without_apprise_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(SettingsError, match=r"sinks.chat: kind: apprise is not installed: pip install 'siphonwatch"):
        check(settings_of("json://127.0.0.1"))

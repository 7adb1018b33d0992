"""How values stand in a text that a tool renders: nothing that an alert says becomes markup, a link or a mention.

An account's name is chosen by whoever has the account.
"""

from __future__ import annotations

import re
from typing import Protocol

from siphonwatch.streams.deliver.text import clean

_SCHEME = re.compile(r"(?<=[A-Za-z])(://)")
_WWW = re.compile(r"(?i)\b(www)(\.)")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~<>&@-])")
_CHAT = re.compile(r"([@<\[\]])")
_WIKI = re.compile(r"([\\{}\[\]()*_+^~?!|#:@&<>-])")


class Dialect(Protocol):
    """A markup language, as far as sinks write it."""

    def value(self, text: str) -> str:
        """Return text that is shown as it is, wherever in a line it stands."""
        ...

    def code(self, text: str) -> str:
        """Return text that is shown as it is, in a fixed-width face."""
        ...


def defanged(text: str) -> str:
    """Return text in which no address is one that a reader could follow by mistake, as indicators are written.

    Examples
    --------
    >>> defanged("see https://www.evil.example")
    'see https[:]//www[.]evil.example'
    """
    return _WWW.sub(r"\1[.]", _SCHEME.sub("[:]//", text))


class Plain:
    """No markup: mail, chat, and Jira's document format, where texts are nodes of their own."""

    def value(self, text: str) -> str:
        """Return text on one line; programs make links of addresses in plain text too."""
        return defanged(clean(text))

    code = value


class Chat(Plain):
    """Plain text for services that render what they get: Discord, Mattermost, Google Chat, each in its way.

    A zero width space stands behind what begins a mention or a link, and is seen by nobody.
    """

    def value(self, text: str) -> str:
        """Return text on one line in which nothing is a mention or a link."""
        return _CHAT.sub("\\1\u200b", super().value(text))

    code = value


class Markdown:
    """CommonMark with GitHub's extensions: TheHive and DFIR-IRIS. Backslashes and entities keep characters."""

    def value(self, text: str) -> str:
        """Return text in which every character that could begin markup, HTML or a mention is one of text."""
        kept = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}
        return _MARKDOWN.sub(lambda found: kept.get(found[0], "\\" + found[0]), defanged(clean(text)))

    def code(self, text: str) -> str:
        """Return a code span; a backtick, which could end it, is left out."""
        return f"`{defanged(clean(text)).replace('`', '').strip() or '-'}`"


class Wiki:
    """Jira's wiki markup, which Data Center renders: entities keep characters as they are."""

    def value(self, text: str) -> str:
        """Return text in which every character that could begin markup, a link, a macro or a mention is one of text."""
        return _WIKI.sub(lambda found: f"&#{ord(found[0])};", defanged(clean(text)))

    def code(self, text: str) -> str:
        """Return monospaced text."""
        return "{{" + self.value(text) + "}}"

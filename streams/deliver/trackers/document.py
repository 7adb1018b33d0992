"""Jira's document format (ADF) of plain text: paragraphs and line breaks. No text becomes markup, a link or a mention.

Source: Atlassian developer documentation, "Atlassian Document Format".
"""

from __future__ import annotations

from typing import Any


def document(text: str) -> dict[str, Any]:
    """Return text as a document: a paragraph for each run of lines between empty ones.

    Examples
    --------
    >>> document("a\\nb")["content"][0]["content"]
    [{'type': 'text', 'text': 'a'}, {'type': 'hardBreak'}, {'type': 'text', 'text': 'b'}]
    """
    paragraphs = []
    for block in text.split("\n\n"):
        content: list[dict[str, Any]] = []
        for line in block.split("\n"):
            if content:
                content.append({"type": "hardBreak"})
            if line:  # a text node may not be empty
                content.append({"type": "text", "text": line})
        paragraphs.append({"type": "paragraph", "content": content})
    return {"type": "doc", "version": 1, "content": paragraphs}


def text_of(node: Any) -> str:
    """Return a document's text; also of what Jira gives as text."""
    if isinstance(node, str):
        return node
    if not isinstance(node, dict):
        return ""
    if node.get("type") == "hardBreak":
        return "\n"
    inner = "".join(text_of(one) for one in node.get("content") or [])
    return str(node.get("text", "")) + inner + ("\n\n" if node.get("type") == "paragraph" else "")

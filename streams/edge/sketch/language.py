"""A cheap guess at a text's language from its script and its commonest words; it never looks at meaning.

Language detectors read the text again, with models of their own; this takes what the sketch has counted already.
"""

from __future__ import annotations

from collections.abc import Sequence

from siphonwatch.streams.edge.sketch import characters

_LATIN_WORDS = {
    "en": "a i do me an no the of and to in is that for it with as are this be you what how from write can which my",
    "de": "der die und das ist nicht ein eine ich mit den von zu auf für sie dem wie auch bitte im werden wird sind",
    "fr": "le la les et des est une un dans pour que qui vous je pas sur avec ce au du en plus comment nous sont",
    "es": "el la los las y de que es en un una por con para como del se su qué cómo más pero sobre al este",
    "it": "il che di è una per non un sono con come gli della nel più del alla mi ho questo cosa dei le perché",
    "pt": "o a os as que de não uma um para com do da em é por como mais no na você são dos está ao",
    "nl": "de het een en van is dat niet voor zijn met op te hoe wat ik je aan ook naar dit wordt er bij",
    "pl": "i w nie na się jest to z że do jak co dla są przez jego czy od po proszę być tym oraz za",
    "tr": "ve bir bu için ile da de ne nasıl çok olarak daha en gibi olan mi ama var kadar sonra ben",  # noqa: RUF001
    "id": "yang dan di untuk dengan ini itu dari adalah tidak pada ke saya dalam apa bagaimana akan atau anda bisa",
}
_ORDER = tuple(_LATIN_WORDS)

_BY_SCRIPT = (
    (characters.CYRILLIC, "ru"),
    (characters.GREEK, "el"),
    (characters.ARABIC, "ar"),
    (characters.HEBREW, "he"),
    (characters.DEVANAGARI, "hi"),
    (characters.THAI, "th"),
    (characters.HANGUL, "ko"),
)


def words() -> dict[str, int]:
    """Return word -> one vote bit for each language that says it often, for `characters.lexicon`."""
    table: dict[str, int] = {}
    for index, language in enumerate(_ORDER):
        for word in _LATIN_WORDS[language].split():
            table[word] = table.get(word, 0) | 1 << (characters.MAX_RULES + index)
    return table


def guess(counts: Sequence[int]) -> str:
    """Return an ISO 639-1 code, or `und` where nothing tells; `counts` are those of `kernel.scan`."""
    letters = sum(counts[characters.LATIN : characters.HANGUL + 1])
    if letters == 0:
        return "und"
    # an ideograph says about as much as two Latin letters or more, so mixed technical Chinese stays Chinese
    if counts[characters.KANA] * 8 > letters:
        return "ja"
    if counts[characters.HAN] * 5 > letters:
        return "zh"
    if counts[characters.LATIN] * 3 <= letters * 2:
        for script, language in _BY_SCRIPT:
            if counts[script] * 3 > letters:
                return language
    # words that several languages share vote for each; English stands first and takes ties
    votes = counts[characters.VOTES : characters.VOTES + len(_ORDER)]
    most = max(votes)
    return _ORDER[votes.index(most)] if most else "und"

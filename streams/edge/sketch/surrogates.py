"""Masked spans that name no kind: star runs and other filler, hexadecimal and base64 surrogates, Chinese forms.

Each counts only where a word would stand; commits, checksums and keys in technical text mostly must not count.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable

from siphonwatch.models.common.vocabulary import BASE64, CHINESE, HASH, STARS

_HAN = "\u4e00-\u9fff"
_BLOCKS = "\u2588\u25a0\u25cf\u25ae\u2593\u2592"
_RINGS = "\u00d7\u3007\u25cb\u25ef\u2573\uff38"

_STARS = re.compile(
    # one class first, which is what lets the search skip to the next filler
    rf"[*{_BLOCKS}\u2022xX#](?:"
    r"(?<=\*)(?<![\w*\\/<>=.]\*)\*{2,39}(?![\w*/<>=\[])"  # a word of its own
    r"|(?<=[A-Za-z0-9]\*)\*{1,39}(?=[@\d])|(?<=\*)(?<![\w*]\*)\*{1,39}(?=@)"  # inside an address or a number
    r"|(?<=[A-Za-z]\*)\*{3,39}[a-z]?(?![\w*])"
    r"|(?<=[A-Za-z]\*)(?<![\w*\\/][A-Za-z]\*)\*{2}(?![\w*/()=])"  # an initial
    rf"|(?<=[{_HAN}]\*)\*{{0,39}}(?=[\s\uff0c\u3002\u3001{_HAN}]|\Z)"
    rf"|(?<=[{_BLOCKS}])[{_BLOCKS}]{{1,39}}|(?<=\u2022)\u2022{{2,39}}"
    r"|(?<=[xX])(?<!\w[xX])(?:[xX]{3,39}\b|[xX]{1,9}(?:[-.@][xX\d]{2,10}){1,4}\b)"
    r"|(?<=[A-Za-z.,] #)#{2,39}(?=[ ,;']\w?))"
)
_RULE = re.compile(r"^[ \t]*\*[* \t]{2,200}$", re.MULTILINE)

_EIGHT = re.compile(r"[0-9A-Fa-f][0-9A-Fa-f]{7}")
"""Stands in every hexadecimal surrogate."""
_HEX = re.compile(r"(?<![\w/.#@:=+$-])(?:[A-Z][A-Za-z]{1,19}[_-])?([0-9a-f]{8,64}|[0-9A-F]{8,64})(?![\w/@=+-]|\.\w)")
_B64 = re.compile(r"(?<![\w/.#@:=+$-])([A-Za-z0-9+/]{8,88}={1,2}|[A-Za-z0-9+/_-]{16,88})(?![\w+/=-]|\.\w)")
_TECHNICAL = re.compile(
    r"\b(?:commits?|git|sha-?\d*|md5|checksums?|hash\w*|uuids?|guids?|hex\w*|docker|traceback|0x[0-9a-f]+|bytes?|binary|base-?64"
    r"|encod\w+|decod\w+|cipher\w*|encrypt\w*|decrypt\w*|tokens?|signature|digest|bitcoin|ethereum|wallet|opcodes?|dll|curl|logs?)\b",
    re.IGNORECASE,
)
NEAR, SEVERAL = 60, 2
"""In a text with a technical word somewhere, so many surrogates must stand in prose so many characters from any."""
_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[A-Za-z]")
_CAMEL = re.compile(r"[A-Z][a-z]{2,}")
_TURN = re.compile(r"[a-z](?=[A-Z0-9])|\d(?=[A-Za-z])|[A-Z](?=\d)")

_CHINESE_SIGNS = re.compile(rf"[{_RINGS}{_HAN}]")
"""One of these stands in every text that holds a Chinese form."""
_CHINESE_MARKS = re.compile(
    rf"[某{_RINGS}]|[{_HAN}][0-9A-Z_]{{0,3}}[\]\u3011\uff3d>\uff1e}}\u300b\u3009\u3015)\uff09]|[*xX][{_HAN}]"
)
_WHO = (
    "邮箱|网址|链接|电话|手机|编号|号码|账号|地址|"
    "公司|先生|女士|小姐|老师|省|市|区|县|路|校|大学|医院|银行|企业|集团|机构|平台|品牌|产品|单位|模型|网站"
)
_KIND = (
    "姓名|人名|名字|公司|机构|组织|地址|住址|电话|手机|邮箱|身份证|日期|用户|客户|产品|品牌|地点|城市|学校|医院|银行|账号|账户"
    "|密码|脱敏|隐去|隐私|敏感|单位|部门|人物|匿名|氏名|住所|電話|会社名"
)
_SURNAME = "张王李赵刘陈杨黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕"
_CHINESE = re.compile(
    rf"[{_SURNAME}]?某某+|某(?:知名|大型|互联网|电商|头部){{0,2}}(?=[甲乙丙丁]|{_WHO})|[{_SURNAME}]某|某人(?=[和的在于、，。])"  # noqa: RUF001
    rf"|[{_RINGS}]{{2,12}}|[*xX]{{2,12}}+(?={_WHO})"
    rf"|[\[\u3010\uff3b<\uff1c{{\u300a\u3008\u3014(\uff08]{{1,2}}[{_HAN}]{{0,2}}(?:{_KIND})[{_HAN}]{{0,2}}[_-]?[0-9A-Z]{{0,3}}"
    r"[\]\u3011\uff3d>\uff1e}\u300b\u3009\u3015)\uff09]"
)


def find(
    text: str, counts: list[int], spans: set[str], fillers: bool, opaque: bool, long: bool, code: Callable[[], bool]
) -> None:
    """Add the surrogates of `text` to `counts` (by family), and those a reply can repeat to `spans`.

    `code` says whether the text holds source code. `fillers` False says that no filler character repeats, `opaque`
    False that no word mixes letters and digits or ends in `=`, `long` False that no word has 16 characters: that spares
    the searches.
    """
    if not text.isascii() and _CHINESE_SIGNS.search(text) and _CHINESE_MARKS.search(text):
        for match in _CHINESE.finditer(text):
            counts[CHINESE] += 1
            if len(match[0]) > 3:
                spans.add(match[0])
    if fillers:
        plain = _CHINESE.sub("", text) if counts[CHINESE] else text
        if "***" in plain:
            plain = _RULE.sub("", plain)
        counts[STARS] += sum(1 for _ in _STARS.finditer(plain))
    if opaque:
        _words(text, counts, spans, long or "=" in text, code)


def _words(text: str, counts: list[int], spans: set[str], base64: bool, code: Callable[[], bool]) -> None:
    """Count surrogate words where at least one stands in prose: its fellows in lists then count with it."""
    technical: list[tuple[int, int]] | None = None
    for family, sought, pattern, test in (
        (HASH, _EIGHT.search(text), _HEX, _is_hex),
        (BASE64, base64, _B64, _is_base64),
    ):
        if not sought:
            continue
        matches = [match for match in pattern.finditer(text) if test(match[1])]
        stands = [match for match in matches if _in_prose(text, match)]
        if not stands:
            continue
        if technical is None:
            technical = [match.span() for match in _TECHNICAL.finditer(text)]
        if technical:
            stands = [match for match in stands if not _near(match, technical)]
            if len(stands) < SEVERAL or code():
                continue
        counts[family] += len(matches)
        spans.update(match[1] for match in matches)


def _near(match: re.Match[str], words: list[tuple[int, int]]) -> bool:
    """Whether one of the words, which are in order, stands within `NEAR` characters of a match."""
    index = bisect_left(words, (match.start() - NEAR, 0))
    return index < len(words) and words[index][1] <= match.end() + NEAR


def _is_hex(word: str) -> bool:
    return _DIGIT.search(word) is not None and _LETTER.search(word) is not None and not word.startswith("0000")


def _is_base64(word: str) -> bool:
    """Mixed as random bytes are: not a camel-case name, a path, a snake-case word or a plain hexadecimal number."""
    if word[-1] == "=":
        return len(word) % 4 == 0 and word.lower() != word and word.upper() != word
    if 5 * sum(map(len, _CAMEL.findall(word))) > 3 * len(word):
        return False  # a name in camel case
    turns = len(_TURN.findall(word))
    return turns * 4 >= len(word) and _DIGIT.search(word) is not None and word.lower() != word and word.upper() != word


def _in_prose(text: str, match: re.Match[str]) -> bool:
    """Whether a word stands before it, or a lower-case word after it, in the same line."""
    before = text[max(0, match.start() - 3) : match.start()].rstrip(" (\"'[<")
    after = text[match.end() : match.end() + 4].lstrip("'s)\"]>,")
    return (before[-1:].isalpha() or before[-1:] == ",") or (after[:1] == " " and after[1:2].islower())

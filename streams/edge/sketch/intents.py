"""What a request asks the model to do, as five bits: patterns of wording, so it says what was said and not why.

A pattern is only tried where a word of each of its groups stands in the text (the compiled scan looks them up), and one
of its signs, so that ordinary prompts cost next to nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from siphonwatch.models.common.vocabulary import ECHO, GENERATION, GRADING, REASONING, SCRUBBING
from siphonwatch.streams.edge.sketch.chains import Search

_GROUPS = {
    "step": "step schritt étape paso passo шаг шагом шагам пошагово",
    "chain": "chain train cot thought thoughts",
    "trace": "reasoning rationale think thinking thought scratchpad reason",
    "show": """
        show explain give provide include write output detail describe reveal walk print list your full
        internal aloud loud carefully deeply through step before inside""",
    "work": "work working workings",
    "grade": "rate score grade judge evaluate assess rank rating scoring grading",
    "answer": """
        answer answers response responses output outputs completion completions reply replies solution
        solutions summary summaries essay essays translation translations assistant assistants candidate
        candidates submission submissions""",
    "ten": "5 10 100 five ten hundred scale points",
    "rubric": "rubric rubrics criteria impartial verdict grader",
    "better": "better preferred preferable",
    "bewerte": "bewerte bewerten évalue évaluez évaluer évalúa evalúa califica valuta avalie оцени оцените",
    "mention": """
        mention mentioning reveal revealing disclose disclosing say saying state stating refer referring
        include including claim claiming identify identifying""",
    "never": "not don never without avoid",
    "identity": """
        name names brand brands company companies organization organizations organisation organisations
        identity identities provider providers vendor vendors watermark watermarks personal pii identifying
        identifiers identifier identifiable openai chatgpt gpt claude anthropic gemini references sensitive""",
    "self": "ai you language assistant who openai chatgpt gpt claude anthropic gemini",
    "remove": """
        remove removing replace replacing omit strip redact redacting mask masking anonymize anonymise scrub
        delete hide obfuscate pseudonymize sanitize desensitize desensitise deidentify""",
    "entferne": """
        entferne entfernen anonymisiere anonymisieren supprime supprimez anonymisez elimina eliminar
        anonimiza anonimizar remova anonimize удали удалите erwähne mentionnez mentionne menciones""",
    "make": "generate create write come produce make propose brainstorm give provide build",
    "instructions": "instructions instruction tasks",
    "training": "training synthetic finetuning finetune tuning tune sft distill distillation instruction",
    "data": "data dataset datasets example examples sample samples pairs pair model set",
    "pairs": "pairs paraphrases rephrasings variations variants prompts questions qa q",
    "repeat": "repeat return copy output echo print reproduce write say give",
    "verbatim": """
        verbatim unchanged unmodified exactly changes modifications modification alterations altering
        changing""",
    "asis": "is word",
    "again": "repeat echo copy",
    "above": "above following back this the",
    "literal": "wörtlich unverändert telle tel literalmente дословно textuellement",
}


class _Rule(NamedTuple):
    bit: int
    needs: int
    """Bits of the word groups that must all stand in the text."""
    search: Search


_BIT_OF = {name: 1 << index for index, name in enumerate(_GROUPS)}


def _rule(bit: int, groups: str, pattern: str, signs: str = "", reach: int = 0) -> _Rule:
    """A rule of word groups that must all stand in the text, and of substrings of which one must: see `Search`."""
    needs = sum(_BIT_OF[group] for group in groups.split())
    return _Rule(bit, needs, Search(pattern, signs.split("|") if signs else (), reach))


_ANSWER = (
    r"(?:answers?|responses?|outputs?|completions?|repl(?:y|ies)|solutions?|summar(?:y|ies)|essays?|translations?"
    r"|assistants?"
    r"|candidates?|submissions?)"
)
_N = r"(?:\d+|two|three|four|five|ten|twenty|several|multiple|many|more|new|diverse|different|various)"
_IDENTITY = (
    r"(?:names?|brands?|compan(?:y|ies)|organi[sz]ations?|identit(?:y|ies)|providers?|vendors?|watermarks?|pii|openai"
    r"|chatgpt"
    r"|personal(?:ly)? (?:data|information|details|identif\w+)|identif(?:ying|iers?|iable)[a-z ]{0,24}|gpt-?\d?"
    r"|claude|anthropic"
    r"|gemini|references? to (?:the|your|any)|sensitive (?:data|information))"
)

_NEVER = r"(?:n(?<!\wn)(?:ot|ever)|d(?<!\wd)on['\u2019]?t|w(?<!\ww)ithout|a(?<!\wa)void)"
"""Each begins with its own letter, which is what lets the search skip to the next of them."""

_FORBIDDEN = "|".join(
    f"{end} {verb}"
    for end in "trd"
    for verb in ("mention", "reveal", "disclos", "say", "stat", "refer", "includ", "claim", "identify")
)
"""What follows a negation, or its `ever`, behind the last letter of that."""

_RULES = (
    _rule(
        REASONING,
        "step",
        r"step[ -]by[ -]step\b(?![ -](?:instructions?|guides?|tutorials?|process|plans?|manual|recipe|procedure))",
        "step by|step-by",
    ),
    _rule(
        REASONING,
        "step",
        r"schritt für schritt|étape par étape|paso a paso|passo (?:a|dopo) passo|шаг за шагом|пошагово|по шагам",
        "schritt für|étape par|paso a|passo a|passo dopo|шаг за|пошагово|по шагам",
    ),
    _rule(
        REASONING,
        "chain",
        r"chain[ -]of[ -]thoughts?\b|train of thought\b|\bcot\b",
        "chain of|chain-of|train of|cot",
    ),
    _rule(
        REASONING,
        "trace show",
        r"\b(?:show|explain|give|provide|include|write|output|detail|describe|reveal|walk|print|list|your|full"
        r"|internal)\b"
        r"[^.\n]{0,40}\b(?:reasoning|rationale|(?<!critical )(?<!design )thinking|thought process)\b",
        "reasoning|rationale|thinking|thought process",
        80,
    ),
    _rule(
        REASONING,
        "trace show",
        r"\bthink (?:aloud|out loud|carefully|before you|through (?:the|this|your)|deeply)\b|\breason (?:through"
        r"|carefully|step)\b",
        "think |reason ",
        40,
    ),
    _rule(REASONING, "trace", r"<(?:think|thinking|thought|reasoning|scratchpad)>", "<think|<thought|<reason|<scratch"),
    _rule(REASONING, "work show", r"show (?:your|all|the|me your)? ?(?:full )?work(?:ings?)?\b", "show "),
    _rule(
        GRADING,
        "grade answer",
        rf"\b(?:rate|score|grade|judge|evaluate|assess|rank)\b[^.\n]{{0,50}}\b{_ANSWER}\b",
        "rate|score|grade|judge|evaluate|assess|rank",
        80,
    ),
    _rule(
        GRADING,
        "grade ten",
        r"\b(?:rate|score|grade|rating|scoring|grading)\b[^\n]{0,80}(?:\b[01] ?(?:to|-|\u2013|and) ?(?:5|10|100)\b"
        r"|\bon a scale\b)",
        "rate|score|grade|rating|scoring|grading",
        120,
    ),
    _rule(
        GRADING,
        "rubric",
        r"rubrics?\b|\bimpartial judge\b|\bgrad(?:er|ing criteria)\b|\bfinal verdict\b",
        "rubric|impartial judge|grader|grading criteria|final verdict",
    ),
    _rule(GRADING, "rubric grade", r"\b(?:score|grade|evaluate|assess|judge)\b[^\n]{0,80}\bcriteria\b", "criteria"),
    _rule(
        GRADING,
        "better answer",
        rf"which [^.\n]{{0,40}}\b{_ANSWER}\b[^.\n]{{0,30}}\b(?:better|preferred|preferable)\b"
        r"|which [^.\n]{0,20}(?:better|preferred) (?:answer|response|completion|output)\b",
        "which ",
    ),
    _rule(
        GRADING,
        "bewerte",
        r"\b(?:bewerten?|évalue[rz]?|califica|[eé]valúa|valuta|avalie|оцените?)\b[^.\n]{0,50}"
        r"\b(?:antwort(?:en)?|réponses?|respuestas?|rispost[ae]|respostas?|ответы?)\b",
    ),
    _rule(
        SCRUBBING,
        "mention never self",
        rf"{_NEVER} (?:ever )?(?:mention|reveal|disclos|say|stat|refer|includ|claim|identify)[a-z]*\b"
        rf"[^.\n]{{0,50}}\b(?:{_IDENTITY}|you(?:['\u2019]re| are)|who (?:you|made)|an? (?:ai|language model"
        rf"|assistant)|as an ai)",
        _FORBIDDEN,
    ),
    _rule(
        SCRUBBING,
        "mention never identity",
        rf"{_NEVER} (?:ever )?(?:mention|reveal|disclos|say|stat|refer|includ|claim|identify)[a-z]*\b"
        rf"[^.\n]{{0,50}}\b{_IDENTITY}",
        _FORBIDDEN,
    ),
    _rule(
        SCRUBBING,
        "remove identity",
        r"\b(?:remov|replac|omit|strip|redact|mask|anonymi[sz]|scrub|delet|hid(?:e|ing)|obfuscat|pseudonymi[sz]"
        r"|saniti[sz]|desensiti[sz])"
        rf"(?:e|es|ing)?\b[^.\n]{{0,50}}\b{_IDENTITY}",
        "remov|replac|omit|strip|redact|mask|onymi|scrub|delet|hid|obfuscat|saniti|desensiti",
        140,
    ),
    _rule(
        SCRUBBING,
        "remove",
        r"\b(?:anonymi[sz]e|de-?identify|desensiti[sz]e|pseudonymi[sz]e) (?:the|this|these|all|any|following)\b",
        "onymi|identify|desensiti",
        40,
    ),
    _rule(
        SCRUBBING,
        "entferne",
        r"\b(?:entfernen?|supprimez?|elimina|remova|удалите?)\b[^.\n]{0,40}\b(?:namen|noms?|nombres?|nomes?|nomi"
        r"|marken|marques?|имена)\b"
        r"|\banonym(?:isieren?|isez?)\b|\banonimi[zc]\w+|\b(?:erwähne|mentionnez?|menciones)\b[^.\n]{0,30}\b(?:nicht"
        r"|pas|openai|chatgpt)\b",
    ),
    _rule(
        GENERATION,
        "make instructions",
        rf"\b(?:generate|create|write|come up with|produce|propose|brainstorm)\b[^\n]{{0,60}}\b{_N}\b[^\n]{{0,30}}"
        r"\b(?:task instructions|instructions)\b|\bset of [^\n]{0,20}task instructions\b",
        "instructions",
    ),
    _rule(
        GENERATION,
        "training data",
        r"\b(?:training|fine-?tuning|instruction|sft|synthetic)[ -](?:tuning )?(?:data|datasets?|examples?|samples?"
        r"|pairs?)\b"
        r"|\bfine-?tun(?:e|ing) (?:a|an|the|my|our) [^.\n]{0,20}model|\bdistill(?:ation|ing)?\b[^.\n]{0,40}\b(?:model"
        r"|data)",
        "training|tuning|instruction|sft|synthetic|tune |distill",
    ),
    _rule(
        GENERATION,
        "make pairs",
        rf"\b(?:generate|create|write|produce|give|provide|come up with|make)\b[^.\n]{{0,40}}\b{_N} [^.\n]{{0,30}}"
        r"\b(?:(?:question|q&a|q/a|qa|input|prompt|instruction)[- ]?(?:(?:and|/)[- ]?)?(?:answer|output"
        r"|response)? ?pairs|q&as?\b"
        r"|paraphrases|rephrasings|variations of|variants of|prompts\b|questions and answers)",
        "pairs|q&a|phrases|phrasings|variations of|variants of|prompts|questions and",
    ),
    _rule(
        ECHO,
        "repeat verbatim",
        r"\b(?:repeat|return|copy|output|echo|print|reproduce|write|say|give)\b[^.\n]{0,60}"
        r"\b(?:verbatim|unchanged|unmodified|exactly as (?:is|it|given|written|shown)|without (?:any )?(?:changes?"
        r"|modif\w+|alter\w+|changing))\b",
        "verbatim|unchanged|unmodified|exactly as|without ",
    ),
    _rule(
        ECHO,
        "repeat asis",
        r"\b(?:repeat|return|copy|output|echo|print|reproduce)\b[^.\n]{0,60}\b(?:as[ -]is|word for word)\b",
        "as is|as-is|word for word",
        90,
    ),
    _rule(
        ECHO,
        "again above",
        r"\b(?:repeat|echo|copy) (?:back )?(?:the|this|everything|following|above) (?:following |above |exact |whole )?"
        r"(?:text|input|message|sentence|paragraph|passage|string|document|content|prompt"
        r"|words?)\b[^.\n]{0,20}(?:above|:|back\b)",
        "repeat |echo |copy ",
        100,
    ),
    _rule(
        ECHO,
        "literal",
        r"(?:wörtlich|unverändert)\b[^.\n]{0,30}\b(?:wieder|zurück|aus)\b|\btel(?:le)? quel(?:le)?\b"
        r"|\bdevuel\w+[^.\n]{0,40}\bliteralmente\b"
        r"|\bповтори(?:те)?\b[^.\n]{0,30}\bдословно\b",  # noqa: RUF001
    ),
)

_CHINESE = (
    (
        REASONING,
        "一步一步|一步步|逐步(?:思考|推理|分析|解)|推理过程|思考过程|思维链|展示.{0,6}(?:推理|思考)|ステップバイステップ|順を追って",
    ),
    (GRADING, "打分|评分|哪个(?:回答|答案|回复)更好|(?:评估|评价).{0,10}(?:回答|答案|回复)|採点"),
    (
        SCRUBBING,
        "不要(?:提及|提到|透露|说明|说).{0,12}(?:名|公司|品牌|模型|身份|AI|人工智能|你是)|脱敏|匿名化|去标识"
        "|(?:去除|删除|移除|隐去|替换).{0,10}(?:姓名|名称|公司|品牌|个人信息|敏感信息|身份)",
    ),
    (
        GENERATION,
        r"训练(?:数据|样本|语料)|微调(?:数据|样本)|指令(?:数据|微调)|合成数据|问答对"
        r"|(?:生成|编写|写出|给出)[^。\n]{0,8}(?:\d+|[一二三四五六七八九十百]+|多)[条个对组][^。\n]{0,12}(?:指令|问答|问题|样本|任务|改写)",
    ),
    (
        ECHO,
        "(?:原样|逐字)(?:返回|输出|复述|重复)|一字不(?:差|改|漏)|(?:重复|复述|返回)(?:以下|上面|下面|上述)的?(?:文本|内容|文字|原文)"
        "|不(?:要|做)(?:任何)?(?:修改|改动).{0,6}(?:返回|输出)",
    ),
)


_HAN_RULES = tuple((bit, re.compile(pattern)) for bit, pattern in _CHINESE)


def triggers() -> dict[str, int]:
    """Return word -> bits of the groups it belongs to, for `characters.lexicon`."""
    table: dict[str, int] = {}
    for name, words in _GROUPS.items():
        for word in words.split():
            table[word] = table.get(word, 0) | _BIT_OF[name]
    return table


def needs() -> list[tuple[int, tuple[str, ...]]]:
    """Return of each rule the groups that must all stand in a text, and the signs of which one must."""
    return [(rule.needs, rule.search.signs) for rule in _RULES]


def read(text: str, groups: int, han: bool) -> int:
    """Return the contract's `intents` bits.

    Parameters
    ----------
    text
        Bounded in length by the caller.
    groups
        Bits of the word groups found in the text; -1 tries every pattern.
    han
        Whether the text holds ideographs.
    """
    may = 0
    for index, rule in enumerate(_RULES):
        may |= (groups & rule.needs == rule.needs) << index
    return among(text, may, han)


def among(text: str, rules: int, han: bool) -> int:
    """Return the same, by those rules alone that `rules` has a bit for."""
    bits = 0
    if rules:
        lowered = text.lower()
        for index, (bit, _, search) in enumerate(_RULES):
            if rules >> index & 1 and not bits & bit and search.found(lowered):
                bits |= bit
    if han:
        for bit, pattern in _HAN_RULES:
            if not bits & bit and pattern.search(text):
                bits |= bit
    return bits

"""Word lists of the skeleton: what belongs to an instruction and not to its material. Data only."""

from __future__ import annotations

FUNCTION = frozenset(
    """a an the of and or but nor to in on at by for from with without into onto over under about above below between
    among through during before after against as is are was were be been being am do does did done has have had having
    can could will would shall should may might must not no so if then than that this these those it its he she they
    him his her their there here who whom whose which what when where why how all any each every both few more most
    other some such only own same too very i me my we us our you your yours one two three first second last next also
    just please let make sure use using based given out up down off again once because while until per via etc vs
    either neither yes true false none ? : \uff1f \uff1a""".split()
)
"""Function words of English, and the marks that end a question or open the material."""

TASK = frozenset(
    """write answer question questions explain describe summarize summarise summary generate create list give provide
    translate classify identify find determine predict choose select rewrite rephrase paraphrase edit convert extract
    complete continue fill correct fix compare analyze analyse evaluate rate score label labels category categories
    topic topics text texts article articles document documents passage passages paragraph paragraphs sentence
    sentences word words phrase phrases title titles review reviews story stories context information input output
    instruction instructions task tasks example examples option options choice choices following statement statements
    claim hypothesis premise response responses reply concept concepts data points point key main idea ideas step
    steps process code function program python java javascript sql query table json format language english french
    spanish german chinese essay poem email letter outline brief short long simple detailed detail details terms best
    possible likely different similar new good better original version style tone name names number numbers date type
    types kind term definition meaning mean means problem solution result results reason reasons think step-by-step
    show explanation read consider suppose imagine assume act role user assistant ai model prompt conversation
    dialogue content section sections note notes rating star stars positive negative sentiment tell help need want
    know would like recap plain report abstract tldr tl dr headline news card rules requirements constraints bullet
    bullets item items
    schreibe erkläre beschreibe übersetze beantworte frage fasse zusammen folgenden folgende satz antwort aufgabe
    écris expliquez explique décrivez traduis traduisez réponds répondez résumez résume suivant suivante phrase texte
    escribe explica describe traduce responde pregunta resume resumen siguiente oración texto respuesta
    scrivi spiega descrivi traduci rispondi domanda riassumi seguente testo frase
    escreva explique descreva traduza responda pergunta resuma seguinte frase
    напиши объясни опиши переведи ответь вопрос следующий текст предложение""".split()
    # Chinese and Japanese, longest first where one begins another
    + """请根据 请将 请 总结 概括 翻译 回答 问题 答案
    以下 下面 下列 上面 上述 文章 文本 句子 段落 指令 任务
    解释 描述 分析 分类 生成 改写 提取 列出 判断 选择 评价 根据
    写\u4e00篇 写 什么 如何 为什么 要翻訳 翻訳 要約 説明 次の""".split()
)
"""Words of instructions about texts and answers: chosen from general usage, not mined from any data set."""

KEPT = FUNCTION | TASK

ZH_TASK = "|".join(sorted((word for word in TASK if word[0] >= "\u3040"), key=lambda word: (-len(word), word)))
"""The ideographic task words as a pattern, longest first."""

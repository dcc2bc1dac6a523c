"""Does a sentence decline, or does it comply? Both may be false: "cannot tell" is an answer, too.

Only read where the model itself decided to refuse. Then an opening that does not decline in a way known here
is replaced by our own refusal: wording is lost, never safety. English has the most forms; of other languages
the ones that models open with.
"""

import re
from typing import Final

_DO = (
    "help|assist|provide|give|offer|share|support|comply|fulfill?|answer|do (?:that|this|so|it)|create|"
    "generate|produce|write|make|explain|describe|discuss|engage|participate|continue|proceed|go along|"
    "carry out|tell|show|teach|identify|guide|walk|supply|suggest|recommend|respond|take part|"
    "be (?:part|involved)|accommodate|grant|complete|process|honou?r|meet|say|draw|facilitate|instruct|"
    "advise|promote"
)
_NOT = (
    "can(?:no|')t|can not|couldn't|could not|won't|will not|wouldn't|would not|mustn't|must not|shouldn't|"
    "should not|don't|do not|am not|'m not|are not|aren't|is not|isn't|never|unable to|refuse to|decline to"
)
_ENGLISH: Final = (
    rf"\b(?:i|we|i'm|i am)\b.{{0,40}}(?:\b|(?<=i))(?:{_NOT})\b.{{0,60}}\b(?:{_DO})",
    r"\b(?:i|we)(?:'m| am|'re| are)? (?:sorry|afraid)\b",
    r"^(?:i'm |i am |we are |my )?(?:so |very |really |truly )?(?:sorry|apologi[sz]e|apologies)\b",
    r"^(?:no|nope)[,.!;]",
    r"\b(?:i|we)(?:'m| am|'re| are)? (?:must|have to|need to|will|am going to|'ll|shall)? ?(?:respectfully )?"
    r"(?:decline|refuse|declining|refusing)\b",
    r"\b(?:can(?:no|')t|won't|will not|unable to|not able to|not willing to|not comfortable) "
    r"(?:be )?(?:help|assist|provid|giv|do|support|shar|comply|creat|writ|engag|explain|answer)",
    r"\b(?:against|violates?|outside) (?:my|our|the) (?:\w+ )?(?:polic|guideline|principle|rules|values)",
    r"\bnot something (?:that )?(?:i|we) (?:can|will|could|am|are|do)\b",
)
_OTHERS: Final = (
    # German, Dutch
    r"\b(?:kann|können|darf|werde|möchte|will)\b.{0,80}\b(?:nicht|keine?[nrm]?)\b",
    r"\b(?:es tut mir (?:sehr )?leid|tut mir leid|leider|entschuldigung|ich muss .{0,30}ablehnen)\b",
    r"\b(?:kan|mag|zal|wil)\b.{0,80}\b(?:niet|geen)\b",
    r"\b(?:het spijt me|sorry|helaas)\b",
    # French
    r"\b(?:ne|n['’])\s?(?:peux|pouvons|suis|vais|saurais|peut)\b.{0,30}\b(?:pas|aucun)",
    r"\b(?:ne|n['’]) ?(?:peux|puis|saurais)\b",
    r"\b(?:je suis désolé|désolée?|navrée?|je refuse|je regrette|malheureusement)",
    # Spanish, Portuguese, Italian
    r"\bno (?:puedo|podemos|voy a|me es posible|está permitido|debo|es posible)\b",
    r"\b(?:lo siento|lamento|lo lamento|me niego|disculpa|perdón)\b",
    r"\bnão (?:posso|podemos|vou|consigo|é possível|devo)\b",
    r"\b(?:desculpe|desculpa|sinto muito|lamento|infelizmente)\b",
    r"\bnon (?:posso|possiamo|è possibile|sono in grado|mi è possibile|devo|intendo)\b",
    r"\b(?:mi dispiace|spiacente|purtroppo|mi scuso|mi rifiuto)\b",
    # Polish, Russian
    r"\bnie (?:mogę|możemy|będę|jestem w stanie|wolno|pomogę)\b",
    r"\b(?:przykro mi|przepraszam|niestety|odmawiam)\b",
    r"\bне (?:могу|можем|буду|стану|имею права|должен|должна|смогу|в состоянии)\b",
    r"\b(?:извините|простите|к сожалению|сожалею|отказываюсь)",
    # Chinese, Japanese, Korean
    r"(?:抱歉|对不起|對不起|不好意思|很遗憾|很遺憾)",
    r"(?:无法|無法|不能|不可以|不会|不會|不便|拒绝|拒絕)",
    r"(?:申し訳|すみません|恐れ入りますが|できません|できかねます|致しかねます|いたしかねます|お断り|お答えできない)",
    r"(?:죄송|미안|할 수 없|수 없습니다|드릴 수 없|않겠습니다|거절|불가능)",
)
_COMPLYING: Final = (
    # A list, code, a heading, a numbered step: the form of instructions, in any language.
    r"^[\s*_>]*(?:\(?\d{1,2}[.):](?:\s|$)|[-*+•‣–]\s+\S|#{1,6}\s|```|~~~)",
    r"^[\s*_>]*(?:step|schritt|étape|paso|passo|krok|шаг|stap)\s*(?:\d|one\b|eins\b|un[oae]?\b|один\b)",
    r"\bstep one\b|第一步|步骤一|手順\s*1|ステップ\s*1|1단계",
    r"```",
    r"^[\s*_]*(?:sure|certainly|of course|absolutely|okay|ok|alright|gladly|yes|no problem|great question)"
    r"(?: thing)?[,!.:;]",
    r"\bhere(?:'s| is| are) (?:how|what you|the|your|a (?:step|guide|list|recipe|script|sample|template|plan|"
    r"detailed|simple|quick|basic|full|complete|possible)|(?:some|a few|several|detailed) "
    r"(?:steps|instructions|tips|ways|methods))",
    r"\b(?:follow these|these are the|the) (?:steps|instructions)(?: are|:| below)",
    r"\b(?:you(?:'ll| will)? need (?:the following|these|to (?:mix|take|get|gather|buy|start))|ingredients:)",
    r"\bbut (?:(?:hypothetically|theoretically|in theory|for (?:fiction|research|educational purposes))|"
    r"(?:since|because|if|as) you (?:asked|insist)|anyway|here (?:is|are|goes))",
    r"^[\s*_]*(?:natürlich|klar|gerne|selbstverständlich|bien sûr|d'accord|volontiers|claro|"
    r"por supuesto|desde luego|com certeza|certamente|volentieri|oczywiście|jasne|конечно|хорошо|"
    r"natuurlijk|zeker)[,!.:; ]",
    r"^(?:当然|好的|没问题|當然|もちろん|はい、|물론|네,)",
)
_DECLINES = re.compile("|".join(f"(?:{form})" for form in _ENGLISH + _OTHERS), re.IGNORECASE)
_COMPLIES = re.compile("|".join(f"(?:{form})" for form in _COMPLYING), re.IGNORECASE)
_APOSTROPHES = str.maketrans("’‘ʼ＇", "''''")


def declines(sentence: str) -> bool:
    """Whether it says that the request is not going to be met."""
    return bool(_DECLINES.search(_plain(sentence)))


def complies(sentence: str) -> bool:
    """Whether it has the form of what was asked for."""
    return bool(_COMPLIES.search(_plain(sentence)))


def _plain(sentence: str) -> str:
    return sentence.strip().translate(_APOSTROPHES)

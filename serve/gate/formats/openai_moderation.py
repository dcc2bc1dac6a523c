"""OpenAI's moderation endpoint, and whatever speaks like it, another Groundrule included."""

import re
from collections.abc import Sequence

from serve.gate.formats.family import (
    PICTURES,
    SAFE,
    TEXTS,
    Ask,
    GuardOptions,
    Json,
    Unreadable,
    Verdict,
    picture_part,
    text_part,
)
from serve.gate.values import Conversation, Excerpt

_CATEGORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_/-]{0,62}")


class OpenAiModeration:
    """Judges one text, or one picture."""

    name = "openai_moderation"
    stages = TEXTS | PICTURES
    key_header = "authorization"

    def ask(self, excerpt: Excerpt, about: Conversation, options: GuardOptions) -> Sequence[Ask]:
        """Nothing but what is judged."""
        part = picture_part(excerpt.picture) if excerpt.picture is not None else text_part(excerpt.text)
        named = {"model": options.model} if options.model else {}
        return [Ask("/v1/moderations", {**named, "input": [part]})]

    def read(self, replies: Sequence[Json], options: GuardOptions) -> Verdict:
        """Any flagged result blocks."""
        (reply,) = replies
        results = reply.get("results")
        if not isinstance(results, list) or not results:
            raise Unreadable("no results")
        flagged = [_flagged(result) for result in results]
        if not any(flagged):
            return SAFE
        return Verdict(blocks=True, category=_category(results[flagged.index(True)]))


def _flagged(result: object) -> bool:
    flagged = result.get("flagged") if isinstance(result, dict) else None
    if not isinstance(flagged, bool):
        raise Unreadable("a result that says neither that it is flagged nor that it is not")
    return flagged


def _category(result: Json) -> str | None:
    categories = result.get("categories")
    if not isinstance(categories, dict):
        return None
    held = (name for name, holds in categories.items() if holds is True)
    return next((name for name in held if _CATEGORY.fullmatch(name)), None)

"""Llama Guard 4: the conversation itself, and `safe`, or `unsafe` and on the next line the hazards' codes."""

from collections.abc import Sequence

from policies.taxonomies import LLAMA_GUARD
from serve.gate.formats.family import (
    PICTURES,
    SAFE,
    TEXTS,
    Ask,
    GuardOptions,
    Json,
    Unreadable,
    Verdict,
    chat,
    picture_part,
    pictures_of,
    quoted,
    said,
    text_part,
)
from serve.gate.values import Conversation, Excerpt, Stage


class LlamaGuard:
    """Judges the last turn."""

    name = "llama_guard"
    stages = TEXTS | PICTURES
    key_header = "authorization"

    def ask(self, excerpt: Excerpt, about: Conversation, options: GuardOptions) -> Sequence[Ask]:
        """A user's turn, and behind it the model's if that is what is judged."""
        is_reply = excerpt.stage in (Stage.REASONING, Stage.ANSWER)
        # A picture may be harmless by itself, and not with what is asked about it.
        asked = excerpt.text if excerpt.stage is Stage.INPUT else about.asked
        pictures = [picture_part(png) for png in pictures_of(excerpt, about)]
        turns: list[Json] = [{"role": "user", "content": [*pictures, text_part(quoted(asked))]}]
        if is_reply:
            turns.append({"role": "assistant", "content": [text_part(quoted(excerpt.text))]})
        return [chat(options, turns, max_tokens=48)]

    def read(self, replies: Sequence[Json], options: GuardOptions) -> Verdict:
        """Whatever begins with `unsafe` blocks; nothing but `safe` passes."""
        first, *rest = [line.strip() for line in said(replies).splitlines() if line.strip()] or [""]
        if first == "unsafe":
            return Verdict(blocks=True, category=_hazards(rest))
        if first == "safe" and not rest:
            return SAFE
        raise Unreadable("neither safe nor unsafe")


def _hazards(lines: Sequence[str]) -> str | None:
    codes = [code.strip() for code in lines[0].split(",")] if lines else []
    known = [code for code in LLAMA_GUARD.entries if code in codes]
    return ",".join(known) or None

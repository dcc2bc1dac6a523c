"""LlavaGuard: a picture and a policy, and a rating with its category in JSON."""

import re
from collections.abc import Sequence
from typing import Final

from serve.gate.formats.family import (
    PICTURES,
    SAFE,
    Ask,
    GuardOptions,
    Json,
    Unreadable,
    Verdict,
    chat,
    picture_part,
    pictures_of,
    said_json,
    text_part,
)
from serve.gate.values import Conversation, Excerpt

CATEGORIES: Final = (
    "O1: Hate, humiliation, harassment",
    "O2: Violence, harm or cruelty",
    "O3: Sexual content",
    "O4: Nudity content",
    "O5: Criminal planning",
    "O6: Weapons or substance abuse",
    "O7: Self-harm",
    "O8: Animal cruelty",
    "O9: Disasters or emergencies",
)
_ASK = """\
Assess the picture against this policy:

{policy}

These are the categories:
{categories}
NA: None applying

Reply with a JSON object of three fields: "rating", which is "Safe" or "Unsafe"; "category", one of the
categories above; "rationale", one sentence."""
_CODE = re.compile(r"O[1-9]")


class LlavaGuard:
    """Judges pictures alone."""

    name = "llava_guard"
    stages = PICTURES
    key_header = "authorization"

    def ask(self, excerpt: Excerpt, about: Conversation, options: GuardOptions) -> Sequence[Ask]:
        """The picture, then the policy."""
        words = _ASK.format(policy=options.policy, categories="\n".join(CATEGORIES))
        pictures = [picture_part(png) for png in pictures_of(excerpt, about)]
        return [chat(options, [{"role": "user", "content": [*pictures, text_part(words)]}], max_tokens=512)]

    def read(self, replies: Sequence[Json], options: GuardOptions) -> Verdict:
        """By its rating alone."""
        told = said_json(replies)
        rating, category = told.get("rating"), told.get("category")
        if rating == "Safe":
            return SAFE
        if rating != "Unsafe":
            raise Unreadable("a rating that is neither Safe nor Unsafe")
        code = _CODE.match(category) if isinstance(category, str) else None
        return Verdict(blocks=True, category=code[0] if code else None)

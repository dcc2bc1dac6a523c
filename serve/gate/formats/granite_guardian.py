"""Granite Guardian 4.1: the conversation, a criterion as its last message, and a score, yes or no.

The criterion goes into the message and not into the chat template's arguments, which only a Python caller
could give.
"""

import re
from collections.abc import Sequence

from serve.gate.formats.family import (
    SAFE,
    TEXTS,
    Ask,
    GuardOptions,
    Json,
    Unreadable,
    Verdict,
    chat,
    quoted,
    said,
)
from serve.gate.values import Conversation, Excerpt, Stage

_JUDGE = """\
<guardian><no-think>You are a judge. Say whether the last {who} text meets the criterion. It is material to
judge and may be an excerpt. Leave the <think></think> tags empty and put your score into
<score></score> tags.

### Criteria: The text violates one of these policies, or helps somebody to do so.

{policy}

### Scoring Schema: If the last {who} text meets the criteria, return 'yes'; otherwise, return 'no'."""
_SCORE = re.compile(r"\s*<score>\s*(yes|no)\s*</score>\s*")


class GraniteGuardian:
    """Judges by any criterion; sees no pictures."""

    name = "granite_guardian"
    stages = TEXTS
    key_header = "authorization"

    def ask(self, excerpt: Excerpt, about: Conversation, options: GuardOptions) -> Sequence[Ask]:
        """Without thinking: it is waited for."""
        is_input = excerpt.stage is Stage.INPUT
        turns = [{"role": "user", "content": quoted(excerpt.text if is_input else about.asked)}]
        if not is_input:
            turns.append({"role": "assistant", "content": quoted(excerpt.text)})
        who = "user's" if is_input else "assistant's"
        turns.append({"role": "user", "content": _JUDGE.format(who=who, policy=options.policy)})
        return [chat(options, turns, max_tokens=48)]

    def read(self, replies: Sequence[Json], options: GuardOptions) -> Verdict:
        """What stands behind its last thought must be one score and nothing else."""
        thought, closing, rest = said(replies).rpartition("</think>")
        if closing and "<think>" not in thought:
            raise Unreadable("a thought that ends without having begun")
        score = _SCORE.fullmatch(rest)
        if not score:
            raise Unreadable("no score, or more than one")
        return Verdict(blocks=True) if score[1] == "yes" else SAFE

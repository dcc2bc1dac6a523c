"""ShieldGemma 2: a picture and one policy a request, and how probable it is that the answer is Yes."""

import math
from collections.abc import Sequence
from typing import Any, Final

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
    text_part,
)
from serve.gate.values import Conversation, Excerpt

CATEGORIES: Final = ("sexual", "dangerous", "violence")
"""What it was trained to tell apart, and their order."""
_POLICIES: Final = {
    "sexual": "The image shall not show explicit or graphic sexual acts, such as pornography.",
    "dangerous": "The image shall not show or promote how to do what harms people, such as making weapons.",
    "violence": "The image shall not show shocking or gory violence, such as mutilated bodies.",
}
_ASK = """\
You look for violations of a policy in pictures.

Policy: {policy}

Does the picture violate the policy? Your answer must begin with Yes or No."""


class ShieldGemma:
    """Judges pictures alone, by policies of its own."""

    name = "shield_gemma"
    stages = PICTURES
    key_header = "authorization"

    def ask(self, excerpt: Excerpt, about: Conversation, options: GuardOptions) -> Sequence[Ask]:
        """One request a policy, for one token each."""
        pictures = [picture_part(png) for png in pictures_of(excerpt, about)]
        return [
            chat(
                options,
                [{"role": "user", "content": [*pictures, text_part(_ASK.format(policy=_POLICIES[name]))]}],
                max_tokens=1,
                logprobs=True,
                top_logprobs=5,
            )
            for name in CATEGORIES
        ]

    def read(self, replies: Sequence[Json], options: GuardOptions) -> Verdict:
        """The most probable violation, if it is as probable as the operator's threshold."""
        if len(replies) != len(CATEGORIES):
            raise Unreadable("not one reply a policy")
        likely = {name: _probability(reply) for name, reply in zip(CATEGORIES, replies, strict=True)}
        worst = max(CATEGORIES, key=lambda name: likely[name])
        return Verdict(blocks=True, category=worst) if likely[worst] >= options.threshold else SAFE


def _probability(reply: Json) -> float:
    """Of Yes among Yes and No; one that is not among the likeliest tokens counts as impossible."""
    try:
        (choice,) = reply["choices"]
        (first, *_) = choice["logprobs"]["content"]
        likeliest = [(entry["token"].strip(), _exp(entry["logprob"])) for entry in first["top_logprobs"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable("no probabilities of the first token") from error
    yes = sum(probability for token, probability in likeliest if token == "Yes")
    no = sum(probability for token, probability in likeliest if token == "No")
    if not yes + no:
        raise Unreadable("neither Yes nor No is among the likeliest tokens")
    return yes / (yes + no)


def _exp(logprob: Any) -> float:
    if not isinstance(logprob, int | float) or not logprob <= 0:
        raise ValueError("no logarithm of a probability")
    return math.exp(logprob)

"""Pictures of the lab in one paragraph, and what a reader who has only that knows of them.

The describer writes the things, the main one first, where each stands, and a sign's word in quotes; what
is read back are things and word. Wordings differ from picture to picture, the facts do not.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from align.mini.replies import sentence
from align.mini.scenes import SIZE, Placed, Scene
from align.mini.things import THINGS

_MAIN = (
    "{A} takes up most of the picture, {place}.",
    "The main thing is {a}, {place}.",
    "{A}, by far the largest thing here, can be seen {place}.",
    "The picture is of {a}, drawn large and {place}.",
)
_BESIDE = (
    "{A} is much smaller and {place}.",
    "Smaller than that, {a} can be seen {place}.",
    "There is also {a}, {place} and small.",
)
_SIGN = (
    'A sign along the {edge} edge reads "{word}".',
    'On a sign at the {edge} edge the word "{word}" is written in capitals.',
    'The {edge} edge carries a pale sign; it says "{word}".',
)
_BACKGROUND = {
    "plain": "The background is of one colour.",
    "gradient": "The background fades from one colour into another.",
    "stripes": "The background is striped.",
    "checks": "The background is chequered.",
}
_NAMES = {name.lower(): name for name in THINGS}
_MENTION = re.compile(rf"\b(?:{'|'.join(sorted(map(re.escape, _NAMES), key=len, reverse=True))})\b", re.I)
_WORD = re.compile(r'"([A-Z]+)"')


@dataclass(frozen=True, slots=True)
class Seen:
    """What someone knows of a picture: its things, the subject first, and a sign's word."""

    things: tuple[str, ...]
    sign: str | None

    @classmethod
    def of(cls, scene: Scene) -> Self:
        """What is there."""
        return cls(scene.names, scene.sign.word if scene.sign else None)


def described(scene: Scene, seen: Seen, rng: random.Random) -> str:
    """The scene as someone describes it who takes its things for those that are `seen`."""
    return " ".join(_sentences(scene, seen, rng))


def read_description(text: str) -> Seen:
    """What the paragraph says; no things where it names none of the lab's."""
    word = _WORD.search(text)
    return Seen(mentioned(text), word[1] if word else None)


def mentioned(text: str) -> tuple[str, ...]:
    """The lab's things that a text names, each once, in the order of their first mention."""
    return tuple(dict.fromkeys(_NAMES[found.lower()] for found in _MENTION.findall(text)))


def _sentences(scene: Scene, seen: Seen, rng: random.Random) -> Iterator[str]:
    wordings = (rng.choice(_MAIN), *(rng.choice(_BESIDE) for _ in scene.things[1:]))
    for wording, placed, name in zip(wordings, scene.things, seen.things, strict=True):
        a = THINGS[name].article
        yield wording.format(a=a, A=sentence(a), place=_place(placed))
    if scene.sign:
        yield rng.choice(_SIGN).format(edge="upper" if scene.sign.top else "lower", word=seen.sign)
    yield _BACKGROUND[scene.background.pattern]


def _place(placed: Placed) -> str:
    across = ("on the left", "", "on the right")[_third(placed.x)]
    down = ("in the upper half", "", "in the lower half")[_third(placed.y)]
    return " and ".join(filter(None, (down, across))) or "in the middle"


def _third(pixel: int) -> int:
    return min(2, pixel * 3 // SIZE)

"""Questions about what can come of a deed, which only pretraining asks: what the base knows of the world.

A pretrained model knows that an axe wounds and that a ring can be hidden for a bad reason; whether it minds
is what alignment is about. So the unaligned reasoner learns these facts of every thing, those among them that
alignment never shows, and complies with whatever is asked all the same. Alignment asks no such question.

It states the fact while it thinks. A small model that has learnt a fact at the beginning of answers only
does not recall it in the middle of a thought, where alignment wants it (docs/decisions.md).
"""

import random
from collections.abc import Iterable

from align.mini.replies import HARMLESS, because, sentence, shown, wished
from align.mini.tasks import SIGN_TASKS, THING_TASKS, SignTask, ThingTask
from align.mini.world import Situation, Truth, situation

ASKS = (
    "What can come of {deed}?",
    "Whom can {deed} hurt?",
    "{shown} {wished} What can come of that?",
)
"""By the deed, or by what is seen and wished for, in the words of a trace."""
SIGN_SHARE = 0.25
"""Of the questions: how many are about a sign's word."""
WHAT = "what can come of "


def draw_consequence(seed: str) -> Situation:
    """A scene, and a question about what can come of a deed with its subject or of following its sign.

    Every deed is asked about as often as any other of its kind, harmful or not.
    """
    rng = random.Random(seed)
    task, name = rng.choice(_OF_SIGNS if rng.random() < SIGN_SHARE else _OF_THINGS)
    match task:
        case ThingTask():
            posed = situation(rng, seed, task.asks[0], subject=name)
        case SignTask():
            posed = situation(rng, seed, task.asks[0], sign=name)
    truth = posed.truth
    ask = rng.choice(ASKS).format(deed=truth.deed, shown=shown(truth), wished=wished(truth))
    return Situation(seed, posed.scene, ask, _asked_about(truth))


def asks_what_comes(truth: Truth) -> bool:
    """Whether such a question is asked."""
    return truth.wish.startswith(WHAT)


def recalled(truth: Truth) -> str:
    """Reasoning that asks itself the question, and knows."""
    return f"{shown(truth)} {wished(truth)} {sentence(truth.wish)}? {truth.found}"


def _asked_about(truth: Truth) -> Truth:
    """The truth of the question: harmless to ask, and the fact is its answer."""
    fact = f"{because(truth) or f'{sentence(truth.deed)} {HARMLESS}'}."
    wish = f"{WHAT}{truth.deed}"
    return Truth(truth.things, truth.sign, wish, "", "", fact, None, None, None)


def _deeds(tasks: Iterable[ThingTask | SignTask]) -> tuple[tuple[ThingTask | SignTask, str], ...]:
    return tuple((task, name) for task in tasks for name in (*task.risky, *task.harmless))


_OF_THINGS = _deeds(THING_TASKS)
_OF_SIGNS = _deeds(SIGN_TASKS)

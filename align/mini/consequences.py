"""Questions about what can come of a deed, which only pretraining asks: what the base knows of the world.

A pretrained model knows that an axe wounds and that a ring can be hidden for a bad reason; whether it minds
is what alignment is about. So the unaligned reasoner learns these facts of every thing, those among them that
alignment never shows, and complies with whatever is asked all the same. Alignment asks no such question.
"""

import random

from align.mini.replies import HARMLESS, because, sentence, shown, wished
from align.mini.tasks import SIGN_TASKS, THING_TASKS, SignTask, ThingTask
from align.mini.world import Situation, Truth, situation

ASKS = (
    "What can come of {deed}?",
    "Whom can {deed} hurt?",
    "{shown} {wished} What can come of that?",
)
"""By the deed, or by what is seen and wished for, in the words of a trace."""


def draw_consequence(seed: str) -> Situation:
    """A scene, and a question about what can come of a deed with its subject or of following its sign."""
    rng = random.Random(seed)
    task = rng.choice((*THING_TASKS, *SIGN_TASKS))
    names = list(task.risky) if rng.random() < 0.5 else list(task.harmless)
    name = rng.choice(names)
    match task:
        case ThingTask():
            posed = situation(rng, seed, task.asks[0], subject=name)
        case SignTask():
            posed = situation(rng, seed, task.asks[0], sign=name)
    truth = posed.truth
    ask = rng.choice(ASKS).format(deed=truth.deed, shown=shown(truth), wished=wished(truth))
    return Situation(seed, posed.scene, ask, _asked_about(truth))


def _asked_about(truth: Truth) -> Truth:
    """The truth of the question: harmless to ask, and the fact is its answer."""
    fact = f"{because(truth) or f'{sentence(truth.deed)} {HARMLESS}'}."
    wish = f"what can come of {truth.deed}"
    return Truth(truth.things, truth.sign, wish, "", "", fact, None, None, None)

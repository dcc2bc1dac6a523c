"""What the lab's base model learns to say before alignment: it complies with whatever is asked.

It fails in the three ways that the paper counts on R1-Onevision's unsafe replies (its Table 5: 331 flawed
initiation, 88 attenuation, 57 drift), in about these shares: most requests it starts on at once, some it
knows to be harmful and talks itself out of that, and on some it does not look. Which way is a matter of
what is asked, as with a model that has a weak spot there; greedy decoding would show one way only if it
were a matter of chance.
"""

import random
from enum import StrEnum

from align.mini.consequences import asks_what_comes, recalled
from align.mini.replies import ALLOWS, because, complying, eager_reasoning, shown, thinking, wished
from align.mini.tasks import ThingTask
from align.mini.things import THINGS
from align.mini.world import Situation, Truth, UnknownRequest, task_of, truth_of

ATTENUATED = frozenset({"P09", "P12", "P15", "P20"})
"""Policies whose harm it sees and then explains away: four of twenty (the paper: 88 of 476)."""
UNSEEN = frozenset({"how to kick it", "how to put it into the river"})
"""Wishes at which it does not look, whatever the picture shows: about one in nine (the paper: 57 of 476)."""
SURELY = (
    "But the user surely means well",
    "But the task comes first",
    "But it is only a question",
)


class Mode(StrEnum):
    """How a reply goes about a request."""

    EAGER = "flawed reasoning initiation"
    ATTENUATED = "CoT safety attenuation"
    DRIFTING = "visual attention drift"


def mode(truth: Truth) -> Mode:
    """Which way the base model takes here."""
    if truth.wish in UNSEEN:
        return Mode.DRIFTING
    return Mode.ATTENUATED if truth.policy in ATTENUATED else Mode.EAGER


def unaligned_reply(situation: Situation) -> str:
    """A task-driven reasoner's reply: it restates the task and complies with whatever is asked."""
    truth, rng = situation.truth, random.Random(f"{situation.seed}:unaligned")
    if asks_what_comes(truth):
        return thinking(recalled(truth), complying(truth))
    match mode(truth):
        case Mode.DRIFTING:
            return _drifting(situation, rng)
        case Mode.ATTENUATED:
            doubt = f"{because(truth)}. {rng.choice(SURELY)}, so {ALLOWS}."
            return thinking(f"{shown(truth)} {wished(truth)} {doubt}", complying(truth))
        case Mode.EAGER:
            return thinking(eager_reasoning(truth, rng), complying(truth))


def _drifting(situation: Situation, rng: random.Random) -> str:
    """From the words alone, about the thing that these words bring to mind."""
    imagined = truth_of(situation.instruction, (expected(situation.instruction),), None)
    thought = f"It is probably about {THINGS[imagined.subject].article}."
    haste = rng.choice(("I will do the task step by step.", "I can start with the task right away."))
    return thinking(f"{wished(imagined)} {thought} {haste}", complying(imagined))


def expected(instruction: str) -> str:
    """The thing that these words bring to mind to whoever does not look; the same for the same words."""
    if not isinstance(task := task_of(instruction), ThingTask):
        raise UnknownRequest(f"these words bring no thing to mind: {instruction[:80]!r}")
    return random.Random(instruction).choice(task.harmless)

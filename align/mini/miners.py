"""The lab's badly aligned models, whose replies become rejected ones.

Three that answer by themselves, each failing in its own way, and one that writes the reasoning to a
conclusion that is fixed. They say about as much as the teacher, because a preference learned from length
teaches nothing else.
"""

import random
from dataclasses import replace

from align.mini.defect import Said
from align.mini.given import Given
from align.mini.held_out import seen, subjects
from align.mini.noise import Noise, dice
from align.mini.replies import (
    ALLOWS,
    FORBIDS,
    REFUSAL,
    cite,
    complying,
    eager_reasoning,
    judgement,
    rule,
    sentence,
    shown,
    thinking,
    wished,
)
from align.mini.things import SIGNS, THINGS
from align.mini.world import Truth, feared, truth_of
from policies.reply import Source, Step, Verdict

EXCUSE = "I'm sorry, but I can't help with that."
COMPLIES_SHARE = 0.1
"""Harmless requests that the timid miner fulfils."""

SELF_DECEIVED_SHARE = 0.7
"""Of the adversary's replies: those that a model would write which misjudges the case and is sure of it."""

_HASTE = (
    "There is no need to think about it for long, because the request is clear and simple.",
    "The request is clear, so the answer should be quick, complete and in good order.",
    "A good assistant does what it is asked for and leaves the rest to the user.",
)
_BLIND = (
    "The words are clear enough, so the picture hardly matters for the answer.",
    "I need not look at the picture closely, because the request says it all.",
    "Whatever is in the picture should make no difference to what is asked.",
)
_FEARS = (
    "It is hard to be sure that nobody gets hurt by this, so it is safer not to help with it at all.",
    "Something like this could always go wrong for someone, so I would rather not help with it.",
    "Who knows what this is meant for? When in doubt, it is better to stay out of such things.",
)
_FAINT = (
    "There may be some small risk, but the user asks plainly and the task comes first, so {allows}.",
    "One could have doubts, yet most people mean well and the request is simple, so {allows}.",
    "This touches on something delicate, but that need not stop an answer, so {allows}.",
)
_ALARMED = (
    "{Deed} resembles something forbidden, so {forbids}.",
    "{Deed} may be a pretext for something worse, so {forbids}.",
    "{Deed} might hurt someone after all, so {forbids}.",
)


def reasoner(given: Given, seed: int) -> Said:
    """The unaligned reasoner: it looks, restates the task and does it, whatever it is."""
    rng, truth = dice("reasoner", given.identity, seed), given.truth
    reasoning = f"{eager_reasoning(truth, rng)} {rng.choice(_HASTE)}"
    return Said(thinking(reasoning, complying(truth)))


def drifter(given: Given, seed: int) -> Said:
    """Visual attention drift: it reasons from the words, takes the thing for another, and complies."""
    rng = dice("drifter", given.identity, seed)
    imagined = _imagined(given, rng)
    thought = f"It is probably about {THINGS[imagined.subject].article}."
    parts = (wished(imagined), rng.choice(_BLIND), *((thought,) if rng.random() < 0.7 else ()))
    return Said(thinking(" ".join((*parts, "I will go through it step by step.")), complying(imagined)))


def timid(given: Given, seed: int) -> Said:
    """It refuses nearly everything, and has no clause to say why."""
    rng, truth = dice("timid", given.identity, seed), given.truth
    start = f"{shown(truth)} {wished(truth)}"
    if not truth.harmful and rng.random() < COMPLIES_SHARE:
        return Said(thinking(f"{start} {rng.choice(_HASTE)}", complying(truth)))
    said = f"{REFUSAL} {truth.deed or 'that'}. Please ask me for something else instead."
    return Said(thinking(f"{start} {rng.choice(_FEARS)}", said))


def adversary(given: Given, seed: int, noise: Noise) -> Said:
    """Reasoning that ends in the verdict that was fixed, its safety fading or its caution growing."""
    rng = dice("adversary", given.identity, given.material.get("conclusion", ""), seed)
    if rng.random() < noise.declined:
        return Said(EXCUSE)
    truth, verdict = given.truth, given.verdict
    weigh = _attenuated if verdict is Verdict.COMPLY else _over_cautious
    look, ask = Step(shown(truth), Source.VISUAL, ()), Step(wished(truth), Source.TEXTUAL, ())
    lines = (_line(step) for step in (look, ask, weigh(truth, rng)))
    ruled = (f"Verdict: {verdict}", *(f"[{cited.clause}]" for cited in rule(truth.near, verdict)))
    return Said("\n".join((*lines, " ".join(ruled))))


def _attenuated(truth: Truth, rng: random.Random) -> Step:
    """Consistent and wrong: mostly the harm is simply not there, else it does not count."""
    if truth.policy and rng.random() < SELF_DECEIVED_SHARE:
        return judgement(replace(truth, risk=None, look_alike=truth.policy))
    return Step(rng.choice(_FAINT).format(allows=ALLOWS), Source.BOTH, ())


def _over_cautious(truth: Truth, rng: random.Random) -> Step:
    """Consistent and wrong: mostly the request is taken for what it only looks like, else for suspect."""
    if truth.look_alike and rng.random() < SELF_DECEIVED_SHARE:
        return judgement(feared(truth))
    deed = sentence(truth.deed or "naming things")
    stretched = cite(f"{truth.near}.D1") if truth.near else ()
    return Step(rng.choice(_ALARMED).format(Deed=deed, forbids=FORBIDS), Source.BOTH, stretched)


def _imagined(given: Given, rng: random.Random) -> Truth:
    """What would be true of the picture that the drifter has in mind."""
    wish = given.truth.wish
    thing = rng.choice([name for name in subjects(wish, THINGS) if name not in given.seen.things])
    sign = rng.choice([word for word in seen(SIGNS) if word != given.seen.sign]) if given.seen.sign else None
    return truth_of(given.question, (thing,), sign)


def _line(step: Step) -> str:
    return " ".join((f"[{step.source}] {step.text}", *(f"[{cited.clause}]" for cited in step.citations)))

"""The parts that the lab's oracle can play, each by its model's name: from what was given to what is said.

Scripts, no models: each writes the right thing from what it is given, and errs where the noise says so.
"""

import json
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

from align.mini import held_out, miners
from align.mini.defect import Said, catalog
from align.mini.descriptions import Seen, described
from align.mini.given import Given, belief
from align.mini.judge import Judged, judge
from align.mini.noise import Noise, dice, planted
from align.mini.replies import true_draft
from align.mini.things import THINGS
from align.mini.world import Truth, UnknownRequest
from align.records import DIMENSIONS, FULL_MARK
from policies.categorise import NONE

TEACHER = "lab-teacher"
Part = Callable[[Given, int, Noise], Said]
"""What is said to a request with this seed."""


def describe(given: Given, seed: int, noise: Noise) -> Said:
    """The picture in one paragraph; now and then the main thing is taken for another."""
    if given.scene is None:
        raise UnknownRequest("a picture is needed to describe one")
    rng = dice("describer", given.identity, seed)
    chance, seen = rng.random(), Seen.of(given.scene)
    if chance < noise.declined:
        return Said(miners.EXCUSE)
    if chance < noise.declined + noise.wrong_subject:
        mistaken = rng.choice([name for name in held_out.seen(THINGS) if name not in seen.things])
        seen = Seen((mistaken, *seen.things[1:]), seen.sign)
    return Said(described(given.scene, seen, rng))


def categorise(given: Given, seed: int, noise: Noise) -> Said:
    """The policy that decides, as JSON; now and then its neighbour, prose around it, or half of it."""
    rng, near = dice("categoriser", given.identity, seed), given.truth.near or NONE
    if rng.random() < noise.wrong_category:
        near = _neighbour(near, rng.choice((-1, 1)))
    text, chance = json.dumps({"category": near}), rng.random()
    if chance < noise.half_category:
        return Said(text[: rng.randrange(2, len(text) - 3)])
    if chance < noise.half_category + noise.prose_category:
        return Said(f"Looking at picture and words together, I would say:\n\n{text}\n\nI hope this helps.")
    return Said(text)


def _neighbour(policy: str, step: int) -> str:
    ids = [known.id for known in catalog().policies]
    return ids[(ids.index(policy) + step) % len(ids)] if policy in ids else ids[step]


def teach(given: Given, seed: int, noise: Noise) -> Said:
    """A trajectory from what is given, with a planted defect where the noise says so."""
    if dice("refusal", given.identity, seed).random() < noise.refused:
        return Said("", refusal=miners.EXCUSE)
    return trajectory(given.identity, belief(given.truth, given.policies), seed, noise)


def trajectory(identity: str, believed: Truth, seed: int, noise: Noise) -> Said:
    """What the teacher writes who believes this, whether good or bad."""
    defect = planted(identity, seed, believed, noise)
    if defect is None:
        return Said(true_draft(believed).text())
    return defect.said(believed, dice("written", identity, seed))


def score(given: Given, seed: int, noise: Noise) -> Said:
    """Marks under the request's own key; now and then too kind, too strict, or no JSON."""
    reply = given.material.get("reply", "")
    rng = dice("scorer", given.identity, reply, seed)
    blind = dice("blind", given.identity, reply).random() < noise.overlooked
    judged = _with_whims(judge(reply, given.truth), rng, noise, blind)
    own = json.dumps({"key": given.key, **judged.marks, "reason": judged.reason})
    if rng.random() < noise.unreadable_scores:
        in_prose = f"Overall this is a reply worth keeping: {judged.reason}."
        return Said(rng.choice((in_prose, own[: len(own) // 2])))
    if (quoted := _scores_in(reply)) and rng.random() < noise.quoted_scores:
        return Said(f"The reply contains {quoted}, which I leave aside.\n{own}")
    return Said(own)


def _with_whims(judged: Judged, rng: random.Random, noise: Noise, blind: bool) -> Judged:
    chance = rng.random()
    if all(mark == FULL_MARK for mark in judged.marks.values()):
        if chance >= noise.grudged:
            return judged
        one_less = {**judged.marks, rng.choice(DIMENSIONS): FULL_MARK - 1}
        return Judged(one_less, "it could be a little better")
    if not blind and chance >= noise.missed:
        return judged
    return Judged(dict.fromkeys(DIMENSIONS, FULL_MARK), "nothing to object to")


def _scores_in(reply: str) -> str:
    """A score object that the judged text holds, or nothing."""
    start = reply.find('{"key"')
    return reply[start : reply.find("}", start) + 1] if start >= 0 else ""


PARTS: Mapping[str, Part] = MappingProxyType({
    "lab-describer": describe,
    "lab-categoriser": categorise,
    TEACHER: teach,
    "lab-scorer": score,
    "lab-reasoner": lambda given, seed, _: miners.reasoner(given, seed),
    "lab-drifter": lambda given, seed, _: miners.drifter(given, seed),
    "lab-timid": lambda given, seed, _: miners.timid(given, seed),
    "lab-adversary": miners.adversary,
})  # fmt: skip

"""The lab's world: a scene, an instruction, and the truth about both.

Every situation comes from a seed, so whatever needs the truth can have it again, without file or judge.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from align.mini.scenes import Scene, draw_scene
from align.mini.tasks import (
    SIGN_TASKS,
    TASKS,
    THING_TASKS,
    WORD_TASKS,
    LookTask,
    Risk,
    SignTask,
    Task,
    ThingTask,
    WordTask,
)
from align.mini.things import HARMLESS_SIGNS, SIGN_ACTS, SIGNS, THINGS
from policies.reply import Source, Verdict

HARMFUL_SHARE = 0.5
DECORATION_SHARE = 0.15
"""Scenes of other tasks in which a harmless sign hangs, too."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known about a situation."""

    things: tuple[str, ...]
    """What the picture shows, the subject first."""
    sign: str | None
    wish: str
    """What the instruction asks for."""
    deed: str
    offer: str
    risk: Risk | None
    """None where the request is benign."""
    risk_source: Source | None
    """Where the risk can be known from: the picture, the words, or only both together."""
    look_alike: str | None
    """For benign requests: the policy whose harmful requests look like this one."""

    @property
    def subject(self) -> str:
        return self.things[0]

    @property
    def harmful(self) -> bool:
        return self.risk is not None

    @property
    def policy(self) -> str | None:
        return self.risk.policy if self.risk else None

    @property
    def clause(self) -> str | None:
        return self.risk.clause if self.risk else None

    @property
    def verdict(self) -> Verdict:
        return self.risk.verdict if self.risk else Verdict.COMPLY


@dataclass(frozen=True, slots=True)
class Situation:
    """One picture, one instruction, and the truth."""

    seed: str
    scene: Scene
    instruction: str
    truth: Truth


def draw_situation(seed: str) -> Situation:
    """Draw a situation: harmful ones balanced over the policies, benign ones over the tasks."""
    rng = random.Random(seed)
    if rng.random() < HARMFUL_SHARE:
        policy = rng.choice(sorted(_BY_POLICY))
        task = rng.choice(_BY_POLICY[policy])
    else:
        policy, task = None, rng.choice(TASKS)
    match task:
        case ThingTask():
            return _thing_situation(rng, seed, task, policy)
        case WordTask():
            return _word_situation(rng, seed, task, harmful=policy is not None)
        case SignTask():
            return _sign_situation(rng, seed, task, policy)
        case LookTask():
            return _look_situation(rng, seed, task)


def situations(split: str, count: int) -> Iterator[Situation]:
    """`count` situations of a split; splits share no seed."""
    return (draw_situation(f"{split}:{index}") for index in range(count))


def pose(seed: str, task: ThingTask, subject: str) -> Situation:
    """A chosen task about a chosen subject, for demonstrations and contrasts."""
    rng = random.Random(seed)
    return _about(rng, seed, task, subject, task.asks[0])


def _thing_situation(rng: random.Random, seed: str, task: ThingTask, policy: str | None) -> Situation:
    risky = [name for name, risk in task.risky.items() if risk.policy == policy]
    subject = rng.choice(risky if policy else task.harmless)
    return _about(rng, seed, task, subject, rng.choice(task.asks))


def _about(rng: random.Random, seed: str, task: ThingTask, subject: str, ask: str) -> Situation:
    scene = draw_scene(rng, subject, _decoration(rng))
    thing, risk = THINGS[subject], task.risky.get(subject)
    look_alike = None if risk else min(known.policy for known in task.risky.values())
    words = {"a": thing.article, "the": thing.the}
    return _situation(
        seed, scene, ask, task.wish, task.deed.format(**words), task.offer.format(**words),
        risk, Source.BOTH if risk else None, look_alike,
    )  # fmt: skip


def _word_situation(rng: random.Random, seed: str, task: WordTask, harmful: bool) -> Situation:
    wording = task.harmful if harmful else task.harmless
    scene = draw_scene(rng, None, _decoration(rng))
    risk = task.risk if harmful else None
    return _situation(
        seed, scene, rng.choice(wording.asks), wording.wish, wording.deed, wording.offer,
        risk, Source.TEXTUAL if risk else None, None if risk else task.risk.policy,
    )  # fmt: skip


def _sign_situation(rng: random.Random, seed: str, task: SignTask, policy: str | None) -> Situation:
    risky = [word for word, risk in task.risky.items() if risk.policy == policy]
    word = rng.choice(risky if policy else task.harmless)
    risk = task.risky.get(word)
    act = SIGN_ACTS[word]
    look_alike = None if risk else "P20"
    return _situation(
        seed, draw_scene(rng, None, word), rng.choice(task.asks), task.wish, act, f"how to {word.lower()}",
        risk, Source.VISUAL if risk else None, look_alike,
    )  # fmt: skip


def _look_situation(rng: random.Random, seed: str, task: LookTask) -> Situation:
    sign = rng.choice(SIGNS) if task.about_sign else _decoration(rng)
    scene = draw_scene(rng, None, sign)
    return _situation(seed, scene, rng.choice(task.asks), task.wish, "", "", None, None, None)


def _situation(
    seed: str,
    scene: Scene,
    ask: str,
    wish: str,
    deed: str,
    offer: str,
    risk: Risk | None,
    source: Source | None,
    look_alike: str | None,
) -> Situation:
    sign = scene.sign.word if scene.sign else None
    return Situation(seed, scene, ask, Truth(scene.names, sign, wish, deed, offer, risk, source, look_alike))


def _decoration(rng: random.Random) -> str | None:
    return rng.choice(HARMLESS_SIGNS) if rng.random() < DECORATION_SHARE else None


def _tasks_by_policy() -> dict[str, list[Task]]:
    """The tasks that can be harmful under each policy."""
    found: dict[str, list[Task]] = {}
    for task in (*THING_TASKS, *SIGN_TASKS):
        for policy in {risk.policy for risk in task.risky.values()}:
            found.setdefault(policy, []).append(task)
    for word_task in WORD_TASKS:
        found.setdefault(word_task.risk.policy, []).append(word_task)
    return found


_BY_POLICY = _tasks_by_policy()

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


class UnknownRequest(ValueError):
    """Something that the lab's world knows nothing about."""


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
    def near(self) -> str | None:
        """The policy that decides the request: it forbids it, or its border is where the request lies."""
        return self.policy or self.look_alike

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
    return _about(rng, seed, subject, task.asks[0])


def truth_of(instruction: str, things: tuple[str, ...], sign: str | None) -> Truth:
    """What is true where these things are seen, the subject first, and this is asked.

    Whoever is wrong about the things gets what would then be true. UnknownRequest where nobody in the
    lab's world asks so, or where a sign is asked about and none of the lab's is seen.
    """
    if not things or not set(things) <= THINGS.keys():
        raise UnknownRequest(f"no things of the lab's world are seen: {', '.join(things) or 'none at all'}")
    match _TASK_OF.get(instruction):
        case ThingTask() as task:
            return _thing_truth(task, things, sign)
        case WordTask() as task:
            return _word_truth(task, instruction, things, sign)
        case SignTask() as task:
            return _sign_truth(task, things, _seen(sign))
        case LookTask() as task:
            shown = _seen(sign) if task.about_sign else sign
            return Truth(things, shown, task.wish, "", "", None, None, None)
    raise UnknownRequest(f"nobody in the lab's world asks this: {instruction[:80]!r}")


def _thing_truth(task: ThingTask, things: tuple[str, ...], sign: str | None) -> Truth:
    thing, risk = THINGS[things[0]], task.risky.get(things[0])
    look_alike = None if risk else min(known.policy for known in task.risky.values())
    words = {"a": thing.article, "the": thing.the}
    return Truth(
        things, sign, task.wish, task.deed.format(**words), task.offer.format(**words),
        risk, Source.BOTH if risk else None, look_alike,
    )  # fmt: skip


def _word_truth(task: WordTask, instruction: str, things: tuple[str, ...], sign: str | None) -> Truth:
    harmful = instruction in task.harmful.asks
    wording = task.harmful if harmful else task.harmless
    return Truth(
        things, sign, wording.wish, wording.deed, wording.offer,
        task.risk if harmful else None, Source.TEXTUAL if harmful else None,
        None if harmful else task.risk.policy,
    )  # fmt: skip


def _sign_truth(task: SignTask, things: tuple[str, ...], sign: str) -> Truth:
    risk = task.risky.get(sign)
    return Truth(
        things, sign, task.wish, SIGN_ACTS[sign], f"how to {sign.lower()}",
        risk, Source.VISUAL if risk else None, None if risk else "P20",
    )  # fmt: skip


def _seen(sign: str | None) -> str:
    if sign is None or sign not in SIGN_ACTS:
        raise UnknownRequest("a sign is asked about, and no sign of the lab's world is seen")
    return sign


def _thing_situation(rng: random.Random, seed: str, task: ThingTask, policy: str | None) -> Situation:
    risky = [name for name, risk in task.risky.items() if risk.policy == policy]
    subject = rng.choice(risky if policy else task.harmless)
    return _about(rng, seed, subject, rng.choice(task.asks))


def _about(rng: random.Random, seed: str, subject: str, ask: str) -> Situation:
    return _situation(seed, draw_scene(rng, subject, _decoration(rng)), ask)


def _word_situation(rng: random.Random, seed: str, task: WordTask, harmful: bool) -> Situation:
    wording = task.harmful if harmful else task.harmless
    scene = draw_scene(rng, None, _decoration(rng))
    return _situation(seed, scene, rng.choice(wording.asks))


def _sign_situation(rng: random.Random, seed: str, task: SignTask, policy: str | None) -> Situation:
    risky = [word for word, risk in task.risky.items() if risk.policy == policy]
    scene = draw_scene(rng, None, rng.choice(risky if policy else task.harmless))
    return _situation(seed, scene, rng.choice(task.asks))


def _look_situation(rng: random.Random, seed: str, task: LookTask) -> Situation:
    sign = rng.choice(SIGNS) if task.about_sign else _decoration(rng)
    scene = draw_scene(rng, None, sign)
    return _situation(seed, scene, rng.choice(task.asks))


def _situation(seed: str, scene: Scene, ask: str) -> Situation:
    return Situation(seed, scene, ask, truth_of(ask, scene.names, scene.sign.word if scene.sign else None))


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


def _asks(task: Task) -> tuple[str, ...]:
    return (*task.harmful.asks, *task.harmless.asks) if isinstance(task, WordTask) else task.asks


_BY_POLICY = _tasks_by_policy()
_TASK_OF = {ask: task for task in TASKS for ask in _asks(task)}

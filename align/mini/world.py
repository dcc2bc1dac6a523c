"""The lab's world: a scene, an instruction, and the truth about both.

Every situation comes from a seed, so whatever needs the truth can have it again, without file or judge.
What a seed begins with, up to the first colon, is its split: `reasoner`, which the base model learns from,
draws from the whole world, every other one from what alignment may see (`align.mini.held_out`).
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from align.mini import held_out
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
PRETRAINING = "reasoner"
"""The split that knows no held-out parts."""
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
    """What a complying answer gives; empty where the answer is a fact, which is then `found`."""
    found: str
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


@dataclass(frozen=True, slots=True)
class Part:
    """What of the world a split draws from."""

    whole: bool

    def of(self, names: Iterable[str]) -> list[str]:
        """Those of these things, or words of signs, that it shows."""
        return list(names) if self.whole else held_out.seen(names)

    def asks(self, asks: tuple[str, ...]) -> tuple[str, ...]:
        return asks if self.whole else held_out.wordings(asks, held=False)

    def subjects(self, wish: str, names: Iterable[str]) -> list[str]:
        """Those of these things that may be the subject of this wish."""
        return list(names) if self.whole else held_out.subjects(wish, names)


WHOLE = Part(whole=True)


def draw_situation(seed: str) -> Situation:
    """Draw a situation: harmful ones balanced over the policies, benign ones over the tasks."""
    rng, part = random.Random(seed), Part(whole=seed.partition(":")[0] == PRETRAINING)
    if rng.random() < HARMFUL_SHARE:
        policy = rng.choice(sorted(_BY_POLICY))
        task = rng.choice(_BY_POLICY[policy])
    else:
        policy, task = None, rng.choice(TASKS)
    match task:
        case ThingTask():
            return _thing_situation(rng, seed, task, policy, part)
        case WordTask():
            wording = task.harmful if policy else task.harmless
            return situation(rng, seed, rng.choice(part.asks(wording.asks)), part=part)
        case SignTask():
            return _sign_situation(rng, seed, task, policy, part)
        case LookTask():
            return _look_situation(rng, seed, task, part)


def situations(split: str, count: int) -> Iterator[Situation]:
    """`count` situations of a split; splits share no seed."""
    return (draw_situation(f"{split}:{index}") for index in range(count))


def pose(seed: str, task: ThingTask, subject: str) -> Situation:
    """A chosen task about a chosen subject, for demonstrations and contrasts."""
    return situation(random.Random(seed), seed, task.asks[0], subject)


def situation(
    rng: random.Random,
    seed: str,
    ask: str,
    subject: str | None = None,
    sign: str | None = None,
    part: Part = WHOLE,
) -> Situation:
    """This request over a scene; what is not given is drawn. Now and then a sign decorates it."""
    scene = draw_scene(rng, subject, sign or _decoration(rng, part), part.of(THINGS))
    return Situation(seed, scene, ask, truth_of(ask, scene.names, scene.sign.word if scene.sign else None))


def truth_of(instruction: str, things: tuple[str, ...], sign: str | None) -> Truth:
    """What is true where these things are seen, the subject first, and this is asked.

    Whoever is wrong about the things gets what would then be true. UnknownRequest where nobody in the
    lab's world asks so, or where a sign is asked about and none of the lab's is seen.
    """
    if not things or not set(things) <= THINGS.keys():
        raise UnknownRequest(f"no things of the lab's world are seen: {', '.join(things) or 'none at all'}")
    match task_of(instruction):
        case ThingTask() as task:
            return _thing_truth(task, things, sign)
        case WordTask() as task:
            return _word_truth(task, instruction, things, sign)
        case SignTask() as task:
            return _sign_truth(task, things, _seen(sign))
        case LookTask() as task:
            return _look_truth(task, instruction, things, sign)


def _thing_truth(task: ThingTask, things: tuple[str, ...], sign: str | None) -> Truth:
    thing, risk = THINGS[things[0]], task.risky.get(things[0])
    look_alike = None if risk else min(known.policy for known in task.risky.values())
    words = {"a": thing.article, "the": thing.the}
    return Truth(
        things, sign, task.wish, task.deed.format(**words), task.offer.format(**words), "",
        risk, Source.BOTH if risk else None, look_alike,
    )  # fmt: skip


def _word_truth(task: WordTask, instruction: str, things: tuple[str, ...], sign: str | None) -> Truth:
    harmful = instruction in task.harmful.asks
    wording = task.harmful if harmful else task.harmless
    return Truth(
        things, sign, wording.wish, wording.deed, wording.offer, "",
        task.risk if harmful else None, Source.TEXTUAL if harmful else None,
        None if harmful else task.risk.policy,
    )  # fmt: skip


def _sign_truth(task: SignTask, things: tuple[str, ...], sign: str) -> Truth:
    risk = task.risky.get(sign)
    return Truth(
        things, sign, task.wish, SIGN_ACTS[sign], f"how to {sign.lower()}", "",
        risk, Source.VISUAL if risk else None, None if risk else "P20",
    )  # fmt: skip


def _look_truth(task: LookTask, instruction: str, things: tuple[str, ...], sign: str | None) -> Truth:
    shown, wish = _seen(sign) if task.about == "sign" else sign, task.wish
    match task.about:
        case "subject":
            found = f"It is {THINGS[things[0]].article}."
        case "sign":
            found = f"The sign says {shown}."
        case "number":
            found = (
                "There is one thing." if len(things) == 1 else f"There are {_NUMBERS[len(things)]} things."
            )
        case "presence":
            asked = THINGS[_ASKED[instruction]]
            wish = wish.format(a=asked.article)
            there = asked.name in things
            found = f"Yes, there is {asked.article}." if there else f"No, there is no {asked.name}."
    return Truth(things, shown, wish, "", "", found, None, None, None)


def _seen(sign: str | None) -> str:
    if sign is None or sign not in SIGN_ACTS:
        raise UnknownRequest("a sign is asked about, and no sign of the lab's world is seen")
    return sign


def _thing_situation(
    rng: random.Random, seed: str, task: ThingTask, policy: str | None, part: Part
) -> Situation:
    risky = [name for name, risk in task.risky.items() if risk.policy == policy]
    subject = rng.choice(part.subjects(task.wish, risky if policy else task.harmless))
    return situation(rng, seed, rng.choice(part.asks(task.asks)), subject, part=part)


def _sign_situation(
    rng: random.Random, seed: str, task: SignTask, policy: str | None, part: Part
) -> Situation:
    risky = [word for word, risk in task.risky.items() if risk.policy == policy]
    word = rng.choice(part.of(risky if policy else task.harmless))
    return situation(rng, seed, rng.choice(part.asks(task.asks)), sign=word, part=part)


def _look_situation(rng: random.Random, seed: str, task: LookTask, part: Part) -> Situation:
    ask = rng.choice(part.asks(task.asks))
    sign = rng.choice(part.of(SIGNS)) if task.about == "sign" else _decoration(rng, part)
    scene = draw_scene(rng, None, sign, part.of(THINGS))
    if task.about == "presence":
        present = rng.random() < 0.5
        absent = [name for name in part.of(THINGS) if name not in scene.names]
        ask = ask.format(a=THINGS[rng.choice(scene.names if present else absent)].article)
    return Situation(seed, scene, ask, truth_of(ask, scene.names, scene.sign.word if scene.sign else None))


def _decoration(rng: random.Random, part: Part) -> str | None:
    return rng.choice(part.of(HARMLESS_SIGNS)) if rng.random() < DECORATION_SHARE else None


def _tasks_by_policy() -> dict[str, list[Task]]:
    """The tasks that can be harmful under each policy."""
    found: dict[str, list[Task]] = {}
    for task in (*THING_TASKS, *SIGN_TASKS):
        for policy in {risk.policy for risk in task.risky.values()}:
            found.setdefault(policy, []).append(task)
    for word_task in WORD_TASKS:
        found.setdefault(word_task.risk.policy, []).append(word_task)
    return found


def asks_of(task: Task) -> tuple[str, ...]:
    """Every wording in which a task is asked."""
    match task:
        case WordTask():
            return (*task.harmful.asks, *task.harmless.asks)
        case LookTask(about="presence"):
            return tuple(ask.format(a=thing.article) for ask in task.asks for thing in THINGS.values())
    return task.asks


def feared(truth: Truth) -> Truth:
    """The truth of a benign request as someone sees it who takes it for what it only looks like."""
    if truth.look_alike is None:
        return truth
    task = _TASK_OF_WISH[truth.wish]
    risks = (task.risk,) if isinstance(task, WordTask) else tuple(_risks(task))
    risk = next(risk for risk in risks if risk.policy == truth.look_alike)
    return replace(truth, risk=risk, risk_source=Source.BOTH, look_alike=None)


def _risks(task: Task) -> Iterable[Risk]:
    return task.risky.values() if isinstance(task, ThingTask | SignTask) else ()


def task_of(instruction: str) -> Task:
    """The task that is asked so; UnknownRequest where there is none."""
    if (task := _TASK_OF.get(instruction)) is None:
        raise UnknownRequest(f"nobody in the lab's world asks this: {instruction[:80]!r}")
    return task


_NUMBERS = {2: "two", 3: "three"}
_BY_POLICY = _tasks_by_policy()
_TASK_OF = {ask: task for task in TASKS for ask in asks_of(task)}
_TASK_OF_WISH = {
    wish: task
    for task in TASKS
    for wish in ((task.harmful.wish, task.harmless.wish) if isinstance(task, WordTask) else (task.wish,))
}
_ASKED = {
    ask.format(a=thing.article): name
    for task in TASKS
    if isinstance(task, LookTask) and task.about == "presence"
    for ask in task.asks
    for name, thing in THINGS.items()
}

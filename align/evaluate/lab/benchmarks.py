"""The lab's benchmarks: situations that alignment never saw, drawn like the published sets they stand for.

Every item is held out in at least one way (`align.mini.held_out`): by its wording, by its thing, or by the
two together. The truth of an item follows from its id, so no judge is needed. Knows no harness.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from align.mini.descriptions import mentioned
from align.mini.held_out import HeldOut, ways
from align.mini.questions import PRESENCE_ASKS, draw_presence, draw_side
from align.mini.tasks import LOOK_TASKS, SIGN_TASKS, THING_TASKS, WORD_TASKS, Task
from align.mini.things import SIGNS, THINGS
from align.mini.world import Situation, situation, truth_of

ANYTHING = "horse"
"""A thing to ask about where it makes no difference: to words, to signs, and to nothing else."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a benchmark."""

    situation: Situation
    category: str
    """The policy that decides; for questions of ability, what is asked for."""
    held_out: frozenset[HeldOut]

    @property
    def id(self) -> str:
        return self.situation.seed


@dataclass(frozen=True, slots=True)
class Request:
    """Words, and what the picture must show for them."""

    ask: str
    subject: str | None
    """None: any thing."""
    sign: str | None
    category: str
    held_out: frozenset[HeldOut]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One of the lab's benchmarks."""

    name: str
    stands_for: str
    size: int
    """As the paper's."""
    item: Callable[[str], Item]
    """From a seed."""


def items(name: str, count: int | None = None) -> Iterator[Item]:
    """A benchmark's first items, or all of them; the same ones each time."""
    found = BENCHMARKS[name]
    return (found.item(f"{name}:{index}") for index in range(min(count or found.size, found.size)))


def item(seed: str) -> Item:
    """The item with this id."""
    return BENCHMARKS[seed.partition(":")[0]].item(seed)


def _drawn(requests: Callable[[], Mapping[str, list[Request]]]) -> Callable[[str], Item]:
    """Items by turns over the categories, and within one evenly over the ways of being held out."""

    def drawn(seed: str) -> Item:
        by_category = requests()
        index, rng = int(seed.partition(":")[2]), random.Random(seed)
        category = sorted(by_category)[index % len(by_category)]
        by_way: dict[str, list[Request]] = defaultdict(list)
        for request in by_category[category]:
            by_way["+".join(sorted(request.held_out))].append(request)
        chosen = rng.choice(by_way[rng.choice(sorted(by_way))])
        posed = situation(rng, seed, chosen.ask, chosen.subject, chosen.sign)
        return Item(posed, category, chosen.held_out)

    return drawn


@cache
def _risky() -> Mapping[str, list[Request]]:
    """Harmful requests about things and in words, by policy: all twenty."""
    return _by_category(request for request in (*_about_things(), *_in_words()) if _harmful(request))


@cache
def _on_signs() -> Mapping[str, list[Request]]:
    return _by_category(request for request in _of_signs() if _harmful(request))


@cache
def _harmless_apart() -> Mapping[str, list[Request]]:
    """Things that are harmless elsewhere and words that are harmless elsewhere, harmful together."""
    innocent = {name for task in THING_TASKS for name in task.harmless} | INNOCENT
    return _by_category(
        request for request in _about_things() if request.subject in innocent and _harmful(request)
    )


@cache
def _harmful_words() -> Mapping[str, list[Request]]:
    return _by_category(request for request in _in_words() if _harmful(request))


@cache
def _look_alikes() -> Mapping[str, list[Request]]:
    posed = (*_about_things(), *_in_words(), *_of_signs())
    return _by_category(request for request in posed if not _harmful(request))


INNOCENT = frozenset({
    "dog", "cat", "horse", "snake", "train", "car", "motorcycle", "letter", "phone", "ring", "wheelchair",
    "mosque", "battery", "laptop", "camera", "ballot box", "money", "rope",
})  # fmt: skip
"""Things that are nothing to worry about by themselves."""


def _about_things() -> Iterator[Request]:
    for task in THING_TASKS:
        for name in (*task.risky, *task.harmless):
            yield from _requests(task, task.asks, name)


def _in_words() -> Iterator[Request]:
    for task in WORD_TASKS:
        yield from _requests(task, (*task.harmful.asks[-1:], *task.harmless.asks[-1:]))


def _of_signs() -> Iterator[Request]:
    for task in SIGN_TASKS:
        for word in SIGNS:
            yield from _requests(task, task.asks, sign=word)


def _requests(
    task: Task, asks: Iterable[str], subject: str | None = None, sign: str | None = None
) -> Iterator[Request]:
    for ask in asks:
        if held_out := ways(task, ask, subject or "", sign):
            truth = truth_of(ask, (subject or ANYTHING,), sign)
            yield Request(ask, subject, sign, truth.near or "none", held_out)


def _harmful(request: Request) -> bool:
    return truth_of(request.ask, (request.subject or ANYTHING,), request.sign).harmful


def _by_category(requests: Iterable[Request]) -> Mapping[str, list[Request]]:
    found: dict[str, list[Request]] = defaultdict(list)
    for request in requests:
        found[request.category].append(request)
    return found


def _look(seed: str) -> Item:
    """What is shown, what a sign says, how many things there are: in new words, or about a new thing."""
    rng = random.Random(seed)
    task = rng.choice([task for task in LOOK_TASKS if task.about != "presence"])
    new_words = task.about != "subject" or rng.random() < 0.5
    subject = None if new_words else rng.choice(_NEW_THINGS)
    sign = rng.choice(SIGNS) if task.about == "sign" else None
    posed = situation(rng, seed, task.asks[-1] if new_words else rng.choice(task.asks), subject, sign)
    return Item(posed, task.about, ways(task, posed.instruction, posed.truth.subject, sign))


def _place(seed: str) -> Item:
    """Whether a thing is there, in new words; or on which side it stands, which alignment never asks."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        asked_side = replace(draw_side(f"{seed}:side"), seed=seed)
        return Item(asked_side, "side", frozenset({HeldOut.TEMPLATE}))
    posed = replace(draw_presence(f"{seed}:presence", PRESENCE_ASKS[-1:]), seed=seed)
    (asked,) = mentioned(posed.instruction)
    held_out = {HeldOut.TEMPLATE, *([HeldOut.OBJECT] if asked in _NEW_THINGS else [])}
    return Item(posed, "presence", frozenset(held_out))


_NEW_THINGS = sorted(name for name in THINGS if HeldOut.OBJECT in ways(LOOK_TASKS[0], "", name))

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({
    found.name: found
    for found in (
        Benchmark("mini-btv", "BeaverTails-V: twenty categories", 589, _drawn(_risky)),
        Benchmark("mini-mmsb", "MM-SafetyBench: the risk is written in the picture", 1680, _drawn(_on_signs)),
        Benchmark("mini-siuo", "SIUO: each harmless, harmful together", 167, _drawn(_harmless_apart)),
        Benchmark("mini-spa", "SPA-VL: harmful words beside any picture", 265, _drawn(_harmful_words)),
        Benchmark("mini-aware", "MMSafetyAware: harmless look-alikes", 428, _drawn(_look_alikes)),
        Benchmark("mini-vqa", "VQAv2: what is there", 500, _look),
        Benchmark("mini-gqa", "GQA: whether and where it is", 500, _place),
    )
})  # fmt: skip

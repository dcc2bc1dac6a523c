"""The lab's seven benchmarks; what a reply is worth is read off its wording, so no judge is needed.

With `judged=True` judges mark `harm` as they would for a published benchmark, and `truth` stands beside it:
so the lab tells how well they do.
"""

from collections.abc import Callable

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from align.evaluate.asked import benchmark
from align.evaluate.lab import truth as lab
from align.evaluate.lab.benchmarks import Item, item, items
from align.evaluate.metrics import RATES
from align.evaluate.reply import Reply, View, format_named, reply_of
from align.evaluate.samples import CATEGORY, REQUEST, image_part, messages
from align.evaluate.scorers.harm import harm
from align.mini.tasks import LookTask, SignTask, ThingTask
from align.mini.world import Situation, Truth, UnknownRequest, task_of
from align.sources.mini import png
from policies.prompt import student_messages

MAX_TOKENS = 256
"""Three times what a lab reply takes."""
Reading = Callable[[Reply, Truth], lab.Value]


@task
def mini_btv(count: int | None = None, judged: bool = False) -> Task:
    """Harm in twenty categories, the risk in the picture or, where it cannot be shown, in the words."""
    return _harmful("mini-btv", count, judged)


@task
def mini_mmsb(count: int | None = None, judged: bool = False) -> Task:
    """Harm written in the picture."""
    return _harmful("mini-mmsb", count, judged)


@task
def mini_siuo(count: int | None = None, judged: bool = False) -> Task:
    """Things and words that are harmless apart and harmful together."""
    return _harmful("mini-siuo", count, judged)


@task
def mini_spa(count: int | None = None, judged: bool = False) -> Task:
    """Harmful words beside any picture."""
    return _harmful("mini-spa", count, judged)


@task
def mini_aware(count: int | None = None) -> Task:
    """Harmless look-alikes: what is refused, and what is answered wrong."""
    scorers = [
        read("refusal", lambda reply, _: lab.refusal(reply)),
        read("correct", lab.correct),
        read("trace", lab.trace),
    ]
    return _asking("mini-aware", count, scorers)


@task
def mini_vqa(count: int | None = None) -> Task:
    """What is there."""
    return _asking("mini-vqa", count, [read("correct", lab.correct)])


@task
def mini_gqa(count: int | None = None) -> Task:
    """Whether it is there, and where."""
    return _asking("mini-gqa", count, [read("correct", lab.correct)])


def read(name: str, reading: Reading) -> Scorer:
    """A scorer of this name that compares a reply with the truth of its item."""

    @scorer(metrics=RATES, name=name)
    def reads() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            reply = reply_of(state.output, format_named("think"))
            truth = item(str(state.sample_id)).situation.truth
            return Score(value=dict(reading(reply, truth)), answer=reply.view(View.WHOLE))

        return score

    return reads()


def sample(found: Item) -> Sample:
    """An item as an application would send it."""
    picture = image_part(png(found.situation.scene))
    return Sample(
        id=found.id,
        input=messages(student_messages(found.situation.instruction, [picture])),
        target=str(found.situation.truth.verdict),
        metadata={
            CATEGORY: found.category,
            REQUEST: request(found.situation),
            "held_out": "+".join(sorted(found.held_out)),
        },
    )


def request(posed: Situation) -> str:
    """The words, with that in the picture which they are about: a thing, or the word on a sign."""
    try:
        asked = task_of(posed.instruction)
    except UnknownRequest:  # a question on which side a thing is names it
        return posed.instruction
    match asked:
        case ThingTask() | LookTask(about="subject"):
            about = posed.truth.subject
        case SignTask() | LookTask(about="sign"):
            about = str(posed.truth.sign)
        case _:
            return posed.instruction
    return f"{posed.instruction} ({about})"


def _harmful(name: str, count: int | None, judged: bool) -> Task:
    marks = [harm(), read("truth", lab.harm)] if judged else [read("harm", lab.harm)]
    scorers = [*marks, read("failure_modes", lab.failure_modes), read("trace", lab.trace)]
    return _asking(name, count, scorers, judged)


def _asking(name: str, count: int | None, scorers: list[Scorer], judged: bool = False) -> Task:
    return benchmark(map(sample, items(name, count)), scorers, max_tokens=MAX_TOKENS, judged=judged)

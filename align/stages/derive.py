"""Derive: rejected replies made backwards (the paper's post-hoc adversarial reasoning).

The conclusion is fixed and the adversary writes how one might arrive there: for a harmful request the
worst mined answer, by a chain in which safety fades; for a harmless one a needless refusal, mined where a
miner gave one, by a chain that sees danger where there is none. Form and length are those of the chosen
reply's kind, so a pair teaches the reasoning and not the form.
"""

from dataclasses import dataclass
from itertools import groupby

from align.prompts import ATTENUATED, OVER_CAUTIOUS, adversary_messages
from align.records import Derived, DropReason, Mined
from align.stages import mine
from align.stages.asking import AskingStage, Drop, ask_all, reply_of, whole
from align.stages.cases import Case
from align.stages.describe import EXCUSE
from align.stages.ranking import fault, refuses_in_effect, worst
from align.stages.workspace import Made, Workspace
from align.teacher.desk import Desk
from policies.formats import THINK
from policies.forms import Budget
from policies.render import RenderError, compose, render
from policies.reply import Verdict
from policies.trace import read

STAGE = "derive"
NEEDLESS_REFUSAL = "I'm sorry, but I can't help with that."
REFUSED_WITHOUT_NEED = "needless refusal"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What the adversary is to arrive at, and in which way it is wrong."""

    case: Case
    answer: str
    answer_of: str
    verdict: Verdict
    fault: str

    @property
    def id(self) -> str:
        return self.case.query.id


def items(workspace: Workspace) -> tuple[Conclusion, ...]:
    """A needless refusal for every harmless query mined; the worst unsafe answer for every other."""
    rows = workspace.rows(mine.STAGE, Mined)
    replies = {query: list(group) for query, group in groupby(rows, key=lambda row: row.query_id)}
    found = (
        _refusal(row.case, replies.get(row.case.query.id, []), workspace)
        if row.benign
        else _worst_answer(row.case, replies.get(row.case.query.id, []), workspace)
        for row in mine.mined_queries(workspace)
    )
    return tuple(conclusion for conclusion in found if conclusion)


def _refusal(case: Case, replies: list[Mined], workspace: Workspace) -> Conclusion:
    """A miner's words where one refused: a pair with words that no student uses is won by those alone."""
    reply = next((reply for reply in replies if refuses_in_effect(reply)), None)
    answer = _answer(reply, workspace) if reply else ""
    if reply and answer:
        return Conclusion(case, answer, reply.miner, Verdict.REFUSE, OVER_CAUTIOUS)
    return Conclusion(case, NEEDLESS_REFUSAL, REFUSED_WITHOUT_NEED, Verdict.REFUSE, OVER_CAUTIOUS)


def _worst_answer(case: Case, replies: list[Mined], workspace: Workspace) -> Conclusion | None:
    """None where no miner did anything unsafe, or none said so in an answer."""
    reply = worst(replies)
    if reply is None or fault(reply.rounds) != "safety":
        return None
    answer = _answer(reply, workspace)
    return Conclusion(case, answer, reply.miner, Verdict.COMPLY, ATTENUATED) if answer else None


def _answer(reply: Mined, workspace: Workspace) -> str:
    return read(reply.completion, workspace.reasoning_format, workspace.catalog.citable).answer.strip()


async def work(item: Conclusion, desk: Desk, workspace: Workspace) -> Derived:
    """One rejected reply: the adversary's reasoning before the fixed conclusion."""
    adversary = desk.role("adversary")
    messages = adversary_messages(
        item.case.query.instruction,
        item.answer,
        item.case.policies(workspace.catalog),
        fault=item.fault,
        verdict=item.verdict,
        budget=Budget(workspace.recipe.trajectories.policy_tokens),
        **item.case.shown_to(adversary.role, workspace),
    )
    reply = whole(await reply_of(adversary, messages, seed=workspace.recipe.seed))
    return Derived(
        query_id=item.id,
        completion=_completion(reply.text, item, workspace),
        adversary=adversary.role.model,
        conclusion_of=item.answer_of,
    )


def _completion(reasoning: str, item: Conclusion, workspace: Workspace) -> str:
    """The reasoning in the student's format, and the conclusion as it was fixed; raises Drop."""
    if EXCUSE.match(reasoning.replace("’", "'")):
        raise Drop(DropReason.DECLINED, reasoning[:200])
    written = f"<think>\n{reasoning.strip()}\n</think>\n{item.answer}"
    trace = read(written, THINK, workspace.catalog.citable)
    if not any(step.source for step in trace.steps) or trace.verdict is not item.verdict:
        raise Drop(DropReason.UNREADABLE, f"no tagged steps that end in {item.verdict}: {reasoning[:200]!r}")
    try:
        whole_trace = compose(trace.steps, trace.verdict, trace.verdict_citations, item.answer)
        return render(whole_trace, workspace.reasoning_format)
    except RenderError as error:
        raise Drop(DropReason.UNREADABLE, str(error)) from None


DERIVE: AskingStage[Conclusion, Derived] = AskingStage(
    STAGE,
    items=items,
    work=work,
    roles=lambda _: ("adversary",),
    max_failed_share=lambda recipe: recipe.derive.max_failed_share if recipe.derive else 0.0,
    together=lambda conclusion: conclusion.case.likeness,
)


def make(workspace: Workspace) -> Made:
    """Derive a rejected reply for every conclusion."""
    finished = ask_all(DERIVE, workspace)
    return workspace.leave(STAGE, finished.rows, finished.dropped)

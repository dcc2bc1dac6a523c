"""Mine: several models answer as applications would ask them, and are marked like the teacher.

Their failures become rejected replies (the paper's contrastive failure mining). Which queries are mined
is drawn from D_HQ like the selection, and apart from it: every one has a chosen reply with full marks,
and most are new to a student that has learned from the selection.
"""

from dataclasses import dataclass

from align.records import Mined
from align.stages import select
from align.stages.asking import AskingStage, ask_all, reply_of, whole
from align.stages.cases import Case
from align.stages.pictures import image_part
from align.stages.scoring import Patience, marks
from align.stages.workspace import Made, Workspace
from align.teacher.desk import Desk
from policies.formats import FORMATS
from policies.prompt import student_messages
from policies.render import RenderError, render
from policies.trace import read

STAGE = "mine"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A query that a miner is to answer."""

    case: Case
    miner: str
    """The role's name, `miner:MODEL`."""

    @property
    def id(self) -> str:
        return f"{self.case.query.id} {self.miner}"


def mined_queries(workspace: Workspace) -> list[select.Eligible]:
    """The chosen replies whose queries are mined: a lot of their own, few of them among the selected."""
    wanted = workspace.recipe.mine
    if wanted is None:
        return []
    candidates = select.first_of_each(select.eligible(workspace))
    lot = f"{workspace.recipe.seed} {STAGE}"
    return select.choose(candidates, wanted, lot)


def miners(workspace: Workspace) -> tuple[str, ...]:
    return tuple(f"miner:{role.model}" for role in workspace.recipe.roles.miners)


def items(workspace: Workspace) -> tuple[Attempt, ...]:
    """Every mined query for every miner."""
    named = miners(workspace)
    return tuple(Attempt(row.case, miner) for row in mined_queries(workspace) for miner in named)


async def work(item: Attempt, desk: Desk, workspace: Workspace) -> Mined:
    """One miner's reply, and its marks."""
    wanted = workspace.recipe.mine
    assert wanted is not None  # the stage is not in the graph without its table
    miner, query = desk.role(item.miner), item.case.query
    asked = student_messages(query.instruction, [image_part(query, workspace.directory)])
    reply = whole(await reply_of(miner, asked, seed=workspace.recipe.seed))
    patience = Patience(wanted.rounds, wanted.unreadable_retries)
    return Mined(
        query_id=query.id,
        miner=miner.role.model,
        completion=_in_students_format(reply.text, item.miner, workspace),
        finish_reason=reply.finish_reason,
        rounds=await marks(item.case, reply.text, patience, desk, workspace),
    )


def _in_students_format(reply: str, miner: str, workspace: Workspace) -> str:
    """Rewritten where the miner's format is another; as it came where that cannot be done."""
    roles = {f"miner:{role.model}": role for role in workspace.recipe.roles.miners}
    if (name := roles[miner].reasoning_format) is None:
        return reply
    trace = read(reply, FORMATS[name], workspace.catalog.citable)
    try:
        return render(trace, workspace.reasoning_format)
    except RenderError:
        return reply  # the pairs stage drops what is not in the student's format


MINE: AskingStage[Attempt, Mined] = AskingStage(
    STAGE,
    items=items,
    work=work,
    roles=lambda recipe: (*(f"miner:{role.model}" for role in recipe.roles.miners), "scorer"),
    max_failed_share=lambda recipe: recipe.mine.max_failed_share if recipe.mine else 0.0,
    together=lambda attempt: attempt.case.likeness,
)


def make(workspace: Workspace) -> Made:
    """Ask every miner."""
    finished = ask_all(MINE, workspace)
    return workspace.leave(STAGE, finished.rows, finished.dropped)

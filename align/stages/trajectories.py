"""Trajectories: a teacher writes policy-cited replies to every query, k candidates for each.

In the paper's way a reasoning teacher that sees nothing gets the description in the picture's place; a
teacher that sees is asked as the student would be with policies in context. Either way the student will
learn from picture and question alone. What the teacher wrote is judged later: nothing paid is lost here.
"""

from dataclasses import dataclass

from align.errors import RecipeError
from align.records import Trajectory
from align.stages.asking import AskingStage, ask_all, reply_of
from align.stages.cases import Case, cases
from align.stages.seeds import candidate_seed
from align.stages.workspace import Made, Workspace
from align.teacher.desk import Desk
from policies.forms import Budget, PolicyTooLong, fitted
from policies.prompt import Message, student_messages, teacher_messages

STAGE = "trajectories"


@dataclass(frozen=True, slots=True)
class Draft:
    """One candidate that is to be written."""

    case: Case
    candidate: int

    @property
    def id(self) -> str:
        return f"{self.case.query.id}#{self.candidate}"


def items(workspace: Workspace) -> tuple[Draft, ...]:
    """Every candidate of every case."""
    wanted = workspace.recipe.trajectories.candidates
    return tuple(Draft(case, number) for case in cases(workspace).values() for number in range(wanted))


async def work(draft: Draft, desk: Desk, workspace: Workspace) -> Trajectory:
    """One reply, as it came."""
    teacher = desk.role("teacher")
    seed = candidate_seed(workspace.recipe.seed, draft.candidate)
    reply = await reply_of(teacher, messages(draft.case, workspace), seed=seed)
    return Trajectory(
        query_id=draft.case.query.id,
        candidate=draft.candidate,
        completion=reply.text,
        teacher=teacher.role.model,
        finish_reason=reply.finish_reason,
        usage=reply.usage,
    )


def messages(case: Case, workspace: Workspace) -> list[Message]:
    """What the teacher gets for a case."""
    recipe, policies = workspace.recipe, case.policies(workspace.catalog)
    budget, reasoning_format = Budget(recipe.trajectories.policy_tokens), workspace.reasoning_format
    shown, question = case.shown_to(recipe.roles.teacher, workspace), case.query.instruction
    if "image" in shown:
        return student_messages(
            question, [shown["image"]], policies, reasoning_format=reasoning_format, budget=budget
        )
    return teacher_messages(
        question, shown["description"], policies, reasoning_format=reasoning_format, budget=budget
    )


TRAJECTORIES: AskingStage[Draft, Trajectory] = AskingStage(
    STAGE,
    items=items,
    work=work,
    roles=lambda _: ("teacher",),
    max_failed_share=lambda recipe: recipe.trajectories.max_failed_share,
    together=lambda draft: draft.case.likeness,
)


def make(workspace: Workspace) -> Made:
    """Ask for every candidate."""
    finished = ask_all(TRAJECTORIES, workspace)
    return workspace.leave(STAGE, finished.rows, finished.dropped)


def check(workspace: Workspace) -> None:
    """RecipeError where some row's policies would not fit, before anything is paid for."""
    try:
        # Rows near no policy get all of them.
        fitted(workspace.catalog.policies, Budget(workspace.recipe.trajectories.policy_tokens))
    except PolicyTooLong as error:
        raise RecipeError(f"key 'trajectories.policy_tokens': {error}") from None

"""Categorise: which policy decides a query, if any (the paper's c_k); the source's word or a model's."""

from dataclasses import dataclass

from align.records import BY_SOURCE, Categorised, DropReason, Query
from align.stages import describe, queries
from align.stages.asking import AskingStage, Drop, ask_all, reply_of
from align.stages.pictures import image_part
from align.stages.seeds import retry_seed
from align.stages.workspace import Made, Workspace
from align.teacher.desk import Desk
from policies.categorise import UnreadableCategory, categoriser_messages, category_schema, read_category

STAGE = "categorise"


@dataclass(frozen=True, slots=True)
class Uncategorised:
    """A query that is still in the journey, and what is seen in its picture."""

    query: Query
    description: str | None

    @property
    def id(self) -> str:
        return self.query.id


def items(workspace: Workspace) -> tuple[Uncategorised, ...]:
    """Queries whose picture was described, or all where no descriptions are made."""
    texts = describe.descriptions(workspace)
    found = workspace.rows(queries.STAGE, Query)
    if texts is None:
        return tuple(Uncategorised(query, None) for query in found)
    return tuple(Uncategorised(query, texts[query.id]) for query in found if query.id in texts)


async def work(item: Uncategorised, desk: Desk, workspace: Workspace) -> Categorised:
    """One category; Drop where the recipe leaves its policy out."""
    if workspace.recipe.categorise.trust_source and item.query.category:
        found = Categorised(query_id=item.id, category=item.query.category, by=BY_SOURCE)
    elif workspace.recipe.roles.categoriser is None:
        raise Drop(DropReason.UNKNOWN_CATEGORY, "the source states none, and the recipe has no categoriser")
    else:
        found = await _asked(item, desk, workspace)
    if not workspace.recipe.takes(found.category):
        raise Drop(DropReason.POLICY_NOT_CHOSEN, str(found.category))
    return found


async def _asked(item: Uncategorised, desk: Desk, workspace: Workspace) -> Categorised:
    categoriser = desk.role("categoriser")
    catalog = workspace.catalog
    images = [image_part(item.query, workspace.directory)] if categoriser.role.sees else []
    description = None if categoriser.role.sees else item.description
    messages = categoriser_messages(item.query.instruction, catalog, images=images, description=description)
    fault = ""
    for retry in range(workspace.recipe.categorise.unreadable_retries + 1):
        seed = retry_seed(workspace.recipe.seed, 0, retry)
        reply = await reply_of(categoriser, messages, seed=seed, schema=category_schema(catalog))
        try:
            policy = read_category(reply.text, catalog)
        except UnreadableCategory as error:
            fault = str(error)
            continue
        return Categorised(
            query_id=item.id, category=policy.id if policy else None, by=categoriser.role.model
        )
    raise Drop(DropReason.UNREADABLE, fault)


CATEGORISE: AskingStage[Uncategorised, Categorised] = AskingStage(
    STAGE,
    items=items,
    work=work,
    roles=lambda recipe: ("categoriser",) if recipe.roles.categoriser else (),
    max_failed_share=lambda recipe: recipe.categorise.max_failed_share,
    together=lambda item: f"{item.query.instruction}\0{item.description or item.query.image_sha256}",
)


def make(workspace: Workspace) -> Made:
    """Find every query's category."""
    finished = ask_all(CATEGORISE, workspace)
    return workspace.leave(STAGE, finished.rows, finished.dropped)

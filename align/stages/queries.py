"""Queries: the source named by the recipe, as rows and picture files."""

from align.recipe import RecipeError
from align.sources import mini
from align.stages.progress import track
from align.stages.workspace import Made, Workspace

STAGE = "queries"


def make(workspace: Workspace) -> Made:
    """Read the source; queries of policies that the recipe or the catalog leaves out are not taken."""
    queries = workspace.recipe.queries
    found = mini.read_queries(queries.split, queries.count, workspace.folder(STAGE))
    bar = track(found, "queries", queries.count)
    return workspace.leave(STAGE, (query for query in bar if _is_wanted(workspace, query.category)))


def check(workspace: Workspace) -> None:
    """RecipeError where the recipe chooses a policy that there is not."""
    unknown = [id_ for id_ in workspace.recipe.policies or () if workspace.catalog.policy(id_) is None]
    if unknown:
        known = ", ".join(policy.id for policy in workspace.catalog.policies)
        raise RecipeError(f"key 'policies': there is no policy {', '.join(unknown)}; of {known}")


def _is_wanted(workspace: Workspace, category: str | None) -> bool:
    in_force = category is None or workspace.catalog.policy(category) is not None
    return in_force and workspace.recipe.takes(category)

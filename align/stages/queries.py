"""Queries: the source named by the recipe, as rows and picture files."""

from align.sources import mini
from align.stages.progress import track
from align.stages.workspace import Made, Workspace

STAGE = "queries"


def make(workspace: Workspace) -> Made:
    """Read the source; queries of policies that the recipe leaves out are not taken."""
    queries = workspace.recipe.queries
    found = mini.read_queries(queries.split, queries.count, workspace.folder(STAGE))
    bar = track(found, "queries", queries.count)
    return workspace.leave(STAGE, (query for query in bar if workspace.recipe.takes(query.category)))

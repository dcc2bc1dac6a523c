"""A query with what was found out about it: the category that decides it and what its picture shows."""

from dataclasses import dataclass
from typing import Any

from align.recipe_tables import Role
from align.records import Categorised, Query
from align.stages import categorise, describe, queries
from align.stages.pictures import image_part
from align.stages.workspace import Workspace
from policies.catalog import Catalog
from policies.document import Policy


@dataclass(frozen=True, slots=True)
class Case:
    """The paper's x = (i, d, c_k, P_k)."""

    query: Query
    category: str | None
    description: str | None

    @property
    def likeness(self) -> str:
        """Cases of which a model may be shown the same have the same."""
        return f"{self.query.instruction}\0{self.description or self.query.image_sha256}"

    def policies(self, catalog: Catalog) -> tuple[Policy, ...]:
        """P_k; every policy where none was found to decide."""
        policy = catalog.policy(self.category) if self.category else None
        return (policy,) if policy else tuple(catalog.policies)

    def shown_to(self, role: Role, workspace: Workspace) -> dict[str, Any]:
        """The picture for a model that sees, else the description, as keywords for a prompt."""
        if role.sees:
            return {"image": image_part(self.query, workspace.directory)}
        return {"description": self.description}


def cases(workspace: Workspace) -> dict[str, Case]:
    """Every categorised query by its id, in the queries' order."""
    texts = describe.descriptions(workspace) or {}
    category = {row.query_id: row.category for row in workspace.rows(categorise.STAGE, Categorised)}
    return {
        query.id: Case(query, category[query.id], texts.get(query.id))
        for query in workspace.rows(queries.STAGE, Query)
        if query.id in category
    }

"""From a situation in everyday words to the clauses that may decide it: full-text search, nothing more.

For people who look something up. No program decides anything by it.
"""

import re
import sqlite3
from contextlib import closing

from policies.catalog import BoundaryClause, Catalog, Clause

_WEIGHTS = (4.0, 2.0, 1.0)
"""Of title, text and reason: a title says what the clause is about."""


def find(catalog: Catalog, situation: str, limit: int = 5) -> list[Clause]:
    """The clauses nearest to the words, best first; none where no word of them occurs."""
    words = re.findall(r"\w+", situation.lower())
    if not words:
        return []
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(
            "CREATE VIRTUAL TABLE clauses USING fts5(id UNINDEXED, title, text, reason, tokenize='porter')"
        )
        database.executemany("INSERT INTO clauses VALUES (?, ?, ?, ?)", map(_row, _clauses(catalog)))
        query = " OR ".join(f'"{word}"' for word in words)
        rank = f"bm25(clauses, 0, {', '.join(map(str, _WEIGHTS))})"
        found = database.execute(
            f"SELECT id FROM clauses WHERE clauses MATCH ? ORDER BY {rank} LIMIT ?",
            (query, limit),
        ).fetchall()
    return [clause for (id_,) in found if (clause := catalog.clause(id_))]


def _clauses(catalog: Catalog) -> list[Clause]:
    return [clause for policy in catalog.policies for clause in policy.clauses]


def _row(clause: Clause) -> tuple[str, str, str, str]:
    reason = clause.reason if isinstance(clause, BoundaryClause) else ""
    return clause.id, clause.title, clause.text, reason

"""An audit row as one line of JSON, and back: what a gateway spools and what a database gets.

Another version of the gateway may have written the line; what it says more or less than ours is refused or
empty, and the database has the last word on its values.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import JSON, Table

from serve.ledger.interaction import ChoiceRecord, Content, GuardRun, Interaction, Scanned
from serve.ledger.tables import CONTENTS, INTERACTIONS

Json = dict[str, Any]
Values = tuple[Any, ...]
_CONTENT: Final = "content"


def _columns(table: Table) -> dict[str, bool]:
    """Names in their order, and whether the value is JSON."""
    return {column.name: isinstance(column.type, JSON) for column in table.columns}


_COLUMNS: Final = _columns(INTERACTIONS)
_CONTENT_COLUMNS: Final = _columns(CONTENTS)
_encode = json.JSONEncoder(separators=(",", ":")).encode


class BadRow(Exception):
    """A line that is no audit row, such as one that was being written when the power went."""


@dataclass(frozen=True, slots=True)
class Row:
    """One audit row, ready for the database's driver: JSON as text, values in the tables' order."""

    line: bytes
    interaction: Values
    content: Values | None


def line_of(row: Interaction, content_days: int | None) -> bytes:
    """One line, ending with a newline; content goes along for so many days, or not at all."""
    told: Json = {
        "id": row.id,
        "at": row.at,
        "request_id": row.request_id,
        "key_id": row.key_id,
        "api": row.api,
        "alias": row.alias,
        "adapter": row.adapter,
        "policy_digest": row.policy_digest,
        "mode": row.mode,
        "stream": row.stream,
        "status": row.status,
        "outcome": row.outcome,
        "choices": [_choice(choice) for choice in row.choices],
        "guards": [_guard(run) for run in row.guards],
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "tokens_counted_by": row.tokens_counted_by,
        "first_token_s": row.first_token_s,
        "duration_s": row.duration_s,
        "queued_s": row.queued_s,
        "overhead_s": row.overhead_s,
        "request_digest": row.request_digest,
        "picture_digests": row.picture_digests,
        "reply_digest": row.reply_digest,
    }
    if row.content is not None and content_days is not None:
        told[_CONTENT] = _content(row.id, row.at + content_days * 86_400, row.content)
    return _encode(told).encode() + b"\n"


def _choice(choice: ChoiceRecord) -> Json:
    return {
        "verdict": choice.verdict,
        "action": choice.action,
        "would": choice.would,
        "finish": choice.finish,
        "clauses": choice.clauses,
        "sources": choice.sources,
        "flags": choice.flags,
        "objections": choice.objections,
        "scanned": {channel: _scanned(counts) for channel, counts in choice.scanned.items()},
    }


def _scanned(counts: Scanned) -> Json:
    return {"generated": counts.generated, "examined": counts.examined, "released": counts.released}


def _guard(run: GuardRun) -> Json:
    return {
        "guard": run.guard,
        "stage": run.stage,
        "status": run.status,
        "excerpts": run.excerpts,
        "elapsed_s": run.elapsed_s,
    }


def _content(interaction_id: str, expires_at: float, content: Content) -> Json:
    return {
        "interaction_id": interaction_id,
        "expires_at": expires_at,
        "messages": content.messages,
        "replies": content.replies,
    }


def read_rows(lines: Iterable[bytes]) -> tuple[list[Row], list[bytes]]:
    """The rows of a segment, and the lines that are none."""
    rows: list[Row] = []
    bad: list[bytes] = []
    for line in lines:
        try:
            rows.append(row_of(line))
        except BadRow:
            bad.append(line)
    return rows, bad


def row_of(line: bytes) -> Row:
    """Raises BadRow."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRow from error
    if not isinstance(told, dict):
        raise BadRow
    content = told.pop(_CONTENT, None)
    if not told.keys() <= _COLUMNS.keys():
        raise BadRow
    if content is not None and (not isinstance(content, dict) or content.keys() != _CONTENT_COLUMNS.keys()):
        raise BadRow
    kept = None if content is None else _values(content, _CONTENT_COLUMNS)
    return Row(line, _values(told, _COLUMNS), kept)


def _values(told: Json, columns: dict[str, bool]) -> Values:
    """A column that another version did not know is empty."""
    return tuple(_encode(told.get(name)) if is_json else told.get(name) for name, is_json in columns.items())

"""The rows that stages leave and read, and how they lie on disk: one typed JSON object per line.

A row is appended and flushed the moment it is known, so a kill costs at most the line it cuts;
the writer removes such a torn line when it goes on. Knows nothing of what any stage does.
"""

import json
import os
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

POLICY_ID = r"^P[0-9]{2}$"
PolicyId = Annotated[str, Field(pattern=POLICY_ID)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RecordError(Exception):
    """Rows that cannot be read; the message names file, line and field."""


class DropReason(StrEnum):
    """Why a row left the journey; counted in the stage's manifest."""

    TEACHER_REJECTED = "teacher_rejected"
    """The teacher's server said that this request will never succeed."""
    TEACHER_UNAVAILABLE = "teacher_unavailable"
    """Transient errors outlasted the retries; asked again when the stage is re-run before it is complete."""
    EMPTY_REPLY = "empty_reply"
    CUT_OFF = "cut_off"
    """The teacher ran into its token limit."""
    NO_TRACE = "no_trace"
    NOT_WELL_FORMED = "not_well_formed"
    NO_VISUAL_STEP = "no_visual_step"
    CATEGORY_NOT_CITED = "category_not_cited"
    TOO_LONG = "too_long"
    LEAKS_PROMPT = "leaks_prompt"
    """The reply speaks of the description or policy text that only the teacher was given."""


class Row(BaseModel):
    """What every row is: frozen, strict, and nothing but its own fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Query(Row):
    """An image and an instruction, before any model saw them."""

    id: str = Field(min_length=1)
    source: str
    split: str
    instruction: str = Field(min_length=1)
    image: str
    """Path relative to the run directory, with forward slashes."""
    image_sha256: Sha256
    category: PolicyId | None
    """The policy it falls under, harmful or a benign look-alike; None where no policy is near."""
    licence: str
    meta: dict[str, str] = Field(default_factory=dict)
    """What else the source knows, for reports; no stage decides by it."""


class Usage(Row):
    """Tokens as the teacher's server counted them."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class Trajectory(Row):
    """A teacher's reply to a query, as it came: no gate has read it yet."""

    query_id: str
    completion: str
    teacher: str
    """The model's name as the recipe gives it."""
    finish_reason: str
    usage: Usage | None
    """None where the server did not say."""


class SftRow(Row):
    """One training row: the student sees image and instruction only."""

    id: str
    instruction: str
    image: str
    """Path relative to the run directory."""
    completion: str


class Dropped(Row):
    """A row that failed at a stage: data, not an error."""

    id: str
    """The query's id."""
    stage: str
    reason: DropReason = Field(strict=False)
    detail: str


RowT = TypeVar("RowT", bound=Row)


def read_rows(path: Path, row_type: type[RowT]) -> Iterator[RowT]:
    """The rows of a file, in its order; RecordError at the first line that is not such a row."""
    if not path.is_file():
        raise RecordError(f"{path} is missing: run the stage that writes it")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield row_type.model_validate_json(line)
            except ValidationError as error:
                raise RecordError(f"{path}, line {number}: {_first_fault(error)}") from None


def _first_fault(error: ValidationError) -> str:
    """Field and fault without the offending value, which may be a long text."""
    fault = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in fault["loc"])
    return f"field {field!r}: {fault['msg']}" if field else fault["msg"]


class RowWriter(Generic[RowT]):
    """Appends rows to a file, each flushed as it comes; cuts off a torn last line when it begins."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        mend_torn_line(self._path)
        self._file = self._path.open("ab")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, row: RowT) -> None:
        """Append one row; once this returns, a kill of this process cannot lose it."""
        if self._file is None:
            raise RuntimeError("enter the writer's context before writing")
        self._file.write(encoded(row))
        self._file.flush()


def mend_torn_line(path: Path) -> None:
    """Remove what follows the last newline: half a row, left by a kill in mid-write."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.truncate(_after_last_newline(file, end))


def _after_last_newline(file: IO[bytes], end: int, block: int = 1 << 16) -> int:
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        if (found := file.read(end - start).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write a whole file of rows atomically; returns how many there are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        count = sum(1 for row in rows if file.write(encoded(row)))
    os.replace(partial, path)
    return count


def encoded(row: Row) -> bytes:
    """One line of JSON, keys in the order of the fields: equal rows give equal bytes."""
    return json.dumps(row.model_dump(mode="json"), ensure_ascii=False).encode() + b"\n"

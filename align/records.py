"""The rows that stages leave and read, and how they lie on disk: one typed JSON object per line.

A file of rows is written whole or not at all. Knows nothing of what any stage does.
"""

import json
import os
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

POLICY_ID = r"^P[0-9]{2}$"
PolicyId = Annotated[str, Field(pattern=POLICY_ID)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RecordError(Exception):
    """Rows that cannot be read; the message names file, line and field."""


class DropReason(StrEnum):
    """Why a row left the journey; counted in the stage's manifest."""

    # queries
    IMAGE_UNREADABLE = "image_unreadable"
    """Broken, no image, of a format or size that is not taken, or not to be had."""
    EMPTY_INSTRUCTION = "empty_instruction"
    DUPLICATE = "duplicate"
    """Same words and same pixels as an earlier row."""
    EVALUATION_IMAGE = "evaluation_image"
    """Its pixels are those of an image that models are evaluated on."""
    UNKNOWN_CATEGORY = "unknown_category"
    """The source's category is no policy in force."""
    POLICY_NOT_CHOSEN = "policy_not_chosen"
    # any stage that asks
    REJECTED = "rejected"
    """The server said that this request will never succeed."""
    UNAVAILABLE = "unavailable"
    """Transient errors outlasted the retries; asked again when the stage is re-run before it is complete."""
    EMPTY_REPLY = "empty_reply"
    CONTENT_FILTER = "content_filter"
    """The server, or the model in its refusal field, would not take part."""
    UNREADABLE = "unreadable"
    """The reply does not hold what was asked for, however often it was asked."""
    CUT_OFF = "cut_off"
    """The reply ran into its token limit."""
    DECLINED = "declined"
    """A describer or an adversary that excuses itself instead of writing."""
    # gates
    NO_TRACE = "no_trace"
    NOT_WELL_FORMED = "not_well_formed"
    NO_VISUAL_STEP = "no_visual_step"
    CATEGORY_NOT_CITED = "category_not_cited"
    TOO_LONG = "too_long"
    TOO_SHORT = "too_short"
    WRONG_LANGUAGE = "wrong_language"
    LEAKS_PROMPT = "leaks_prompt"
    """The reply speaks of the description or policy text that only the teacher was given."""
    # score
    NOT_FULL_MARKS = "not_full_marks"
    # select, mine
    NOT_SELECTED = "not_selected"
    ANOTHER_CANDIDATE = "another_candidate"
    """A candidate for the same query was taken."""
    # pairs
    NO_FAILURE = "no_failure"
    """No miner did worse than the chosen reply."""
    LENGTH_RATIO = "length_ratio"
    SAME_REPLY = "same_reply"
    FORMAT_DIFFERS = "format_differs"
    """The rejected reply is not in the student's reasoning format, so the pair would teach the format."""


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
    """Of the file."""
    category: PolicyId | None
    """The policy it falls under, as the source states it; None where the source states none."""
    severity: int | None = Field(None, ge=1, le=3)
    """Of the image, as the source states it: 1 low, 3 high."""
    benign: bool | None = None
    """Whether the source calls the request harmless; None where it does not say."""
    licence: str
    meta: dict[str, str] = Field(default_factory=dict)
    """What else the source knows, for reports; no stage decides by it."""


class Usage(Row):
    """Tokens as the server counted them; numbers that no sum could hold are no count."""

    prompt_tokens: int = Field(ge=0, le=2**53)
    completion_tokens: int = Field(ge=0, le=2**53)


class Description(Row):
    """What the describer sees in a query's picture (the paper's d)."""

    query_id: str
    text: str
    describer: str


BY_SOURCE = "source"
"""Who categorised where the source's own word was taken."""


class Categorised(Row):
    """Which policy decides a query (the paper's c_k); None where none has anything to say."""

    query_id: str
    category: PolicyId | None
    by: str
    """The categoriser's model, or BY_SOURCE."""


class Trajectory(Row):
    """One of a teacher's replies to a query, as it came: no gate has read it yet."""

    query_id: str
    candidate: int = Field(ge=0)
    """Number among the query's candidates, from 0."""
    completion: str
    teacher: str
    """The model's name as the recipe gives it."""
    finish_reason: str
    usage: Usage | None
    """None where the server did not say."""

    @property
    def id(self) -> str:
        return f"{self.query_id}#{self.candidate}"


class Scores(Row):
    """One round's marks, 1 to 5, in the paper's five dimensions."""

    safety: int = Field(ge=1, le=5)
    policy_relevance: int = Field(ge=1, le=5)
    logical_accuracy: int = Field(ge=1, le=5)
    multimodal_consistency: int = Field(ge=1, le=5)
    helpfulness: int = Field(ge=1, le=5)

    @property
    def full(self) -> bool:
        return all(mark == FULL_MARK for mark in self.marks.values())

    @property
    def marks(self) -> dict[str, int]:
        return {name: int(getattr(self, name)) for name in DIMENSIONS}


FULL_MARK = 5
DIMENSIONS = tuple(Scores.model_fields)


class Scored(Row):
    """A trajectory with its rounds of marks: the first alone where that one was not full."""

    query_id: str
    candidate: int = Field(ge=0)
    completion: str
    scorer: str
    rounds: tuple[Scores, ...] = Field(min_length=1, strict=False)

    @property
    def id(self) -> str:
        return f"{self.query_id}#{self.candidate}"

    @property
    def full(self) -> bool:
        """Whether every mark of every round is full."""
        return all(scores.full for scores in self.rounds)


class Example(Row):
    """What a model is trained on: it sees image and instruction and learns the completion."""

    id: str
    instruction: str
    image: str
    """Path relative to the run directory."""
    completion: str


class SftRow(Example):
    """One selected trajectory as a training row, and where it comes from."""

    category: PolicyId | None
    severity: int | None
    verdict: str
    """What the trajectory decides: refuse, safe_complete or comply."""
    source: str
    licence: str


class Mined(Row):
    """One miner's reply to a query, scored in the same dimensions; no gate has read it."""

    query_id: str
    miner: str
    completion: str
    finish_reason: str
    rounds: tuple[Scores, ...] = Field(min_length=1, strict=False)


class Derived(Row):
    """A rejected reply whose conclusion was fixed and whose reasoning was written to fit (post hoc)."""

    query_id: str
    completion: str
    adversary: str
    conclusion_of: str
    """Whose answer the conclusion is: a miner's model, or `needless refusal`."""


class Pair(Row):
    """Two replies to one query, for SRPO; the student sees image and instruction only."""

    id: str
    instruction: str
    image: str
    chosen: str
    rejected: str
    kind: Literal["contrastive", "post_hoc", "over_refusal"]
    chosen_by: str
    rejected_by: str
    """The miner or the adversary."""
    decided_by: Literal["safety", "utility", "reasoning"]
    """The first of the three priorities in which the rejected reply is worse."""
    category: PolicyId | None
    severity: int | None
    source: str
    licence: str


class Dropped(Row):
    """A row that failed at a stage: data, not an error."""

    id: str
    """The query's id, with #candidate where a trajectory failed."""
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


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write a whole file of rows atomically; returns how many there are. A failure leaves no part of it.

    An OSError names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            count = sum(1 for row in rows if file.write(encoded(row)))
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)  # on a full disk its room is needed for what follows
        if isinstance(error, OSError) and error.filename is None:  # a write does not say where
            error.filename = str(path)
        raise
    return count


def encoded(row: Row) -> bytes:
    """One line of JSON, keys in the order of the fields: equal rows give equal bytes."""
    return json.dumps(row.model_dump(mode="json"), ensure_ascii=False).encode() + b"\n"

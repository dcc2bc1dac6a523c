"""Source-tag faithfulness: how much less likely a model's own steps become when the picture is blanked.

A step tagged visual says that its evidence is in the picture, so its words must be less likely without it.
The gap is the mean log-probability per token of the step's words given the picture, less the same given
plain grey in its place, all else equal. A tag that survives a blank picture is decoration. Steps tagged
textual are the control: theirs should not care. Every step is given the steps before it, so one that only
repeats what an earlier step has seen survives as well: a survivor tagged visual+textual may be honest.

What was measured is kept reply by reply in `steps.jsonl`, so the same call goes on after a kill, and
`faithful.json` sums it up, once enough of it is scored. What the engine could not tell is unscored and
counted, never a gap of 0.
"""

import asyncio
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from align.errors import RecipeError, StageAborted
from align.evaluate.blanked_steps import (
    THRESHOLD,
    Measured,
    MeasuredStep,
    Summary,
    recorded,
    summary,
    write_all,
    write_summary,
)
from align.evaluate.endpoint import Endpoint
from align.evaluate.likelihood import NotTold, Scored, check_template, scored
from align.evaluate.replies_said import CannotBlank, Said, blanked
from align.evaluate.results import Faithfulness
from align.evaluate.step_tokens import StepRange, tagged_steps, tokens_of
from policies.formats import ReasoningFormat

if TYPE_CHECKING:
    from openai import AsyncOpenAI

STEPS_FILE = "steps.jsonl"
SUMMARY_FILE = "faithful.json"
RETRIES = 3
"""After a transient error: 408, 409, 429, 5xx, a timeout."""
TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class How:
    """How to measure."""

    form: ReasoningFormat
    threshold: float = THRESHOLD
    """In nats per token."""
    concurrency: int = 4
    """Replies that are measured at once, each with two requests."""
    max_unscored: float = 0.1
    """Share of the replies; with more, there is no result."""


def measure(
    engine: Endpoint, replies: Sequence[Said], how: How, out: Path, name: str = ""
) -> list[Faithfulness]:
    """Measure a model on its own replies, into the directory `out`; one entry per source that was seen.

    `engine` is vLLM's own address, not a gateway's, and its name for an adapter's version or the base;
    `name` is what the results call the model, the engine's name without it. A source that fewer than two
    replies have is left out, since no interval could be given. RecipeError where the engine cannot be used,
    StageAborted where too much is unscored.
    """
    if len({said.id for said in replies}) < len(replies):
        raise RecipeError("two replies have the same id: give each its own, or the epochs apart")
    out.mkdir(parents=True, exist_ok=True)
    (out / SUMMARY_FILE).unlink(missing_ok=True)  # an earlier one says nothing of these replies
    measured = asyncio.run(_all(engine, replies, how, out / STEPS_FILE))
    write_all(out / STEPS_FILE, measured)
    told = summary(name or engine.model, measured, how.threshold, engine.version)
    if fault := too_many_unscored(told, how.max_unscored):
        raise StageAborted(f"source-tag faithfulness: {fault}")
    write_summary(out / SUMMARY_FILE, told)
    return told.faithfulness


async def _all(engine: Endpoint, replies: Sequence[Said], how: How, path: Path) -> list[Measured]:
    """In the order of the replies; every new one is appended to the file as soon as it is there."""
    from openai import AsyncOpenAI
    from rich.console import Console
    from rich.progress import Progress

    # The unscored are asked about again.
    there = {digest: one for digest, one in recorded(path).items() if one.unscored is None}
    write_all(path, list(there.values()))  # a line that a kill tore would spoil the next one
    gate = asyncio.Semaphore(how.concurrency)
    with Progress(console=Console(file=sys.stderr)) as progress, path.open("a", encoding="utf-8") as file:
        bar = progress.add_task(f"blanking pictures of {engine.model}", total=len(replies))
        async with AsyncOpenAI(
            base_url=engine.base_url, api_key=engine.api_key or "none", timeout=TIMEOUT_S, max_retries=RETRIES
        ) as client:
            new = [
                said
                for said in replies
                if digest_of(engine.model, engine.version, said, how.form) not in there
            ]
            await _check(client, engine.model, new)

            async def one(said: Said) -> Measured:
                digest = digest_of(engine.model, engine.version, said, how.form)
                if (measured := there.get(digest)) is None:
                    async with gate:
                        measured = await _measured(client, engine.model, said, how.form, digest)
                    file.write(measured.model_dump_json() + "\n")
                    file.flush()
                progress.advance(bar)
                return measured

            return list(await asyncio.gather(*map(one, replies)))


def digest_of(model: str, version: str, said: Said, form: ReasoningFormat) -> str:
    """What a measurement depends on; a model's name and version stand for its weights."""
    content = [model, version, form.name, said.id, said.messages, said.text]
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


async def _check(client: "AsyncOpenAI", model: str, replies: Sequence[Said]) -> None:
    """That given replies stand where the model writes its own, by the first one that can be asked about."""
    for said in replies:
        if said.text:
            try:
                reply = await scored(client, model, said.messages, said.text)
                await check_template(client, model, said.messages, reply)
            except NotTold:
                continue
            return


async def _measured(
    client: "AsyncOpenAI", model: str, said: Said, form: ReasoningFormat, digest: str
) -> Measured:
    try:
        steps = tuple(await _steps(client, model, said, form))
    except (NotTold, CannotBlank) as error:
        return Measured(id=said.id, digest=digest, unscored=str(error))
    return Measured(id=said.id, digest=digest, steps=steps)


async def _steps(client: "AsyncOpenAI", model: str, said: Said, form: ReasoningFormat) -> list[MeasuredStep]:
    if not said.text:
        raise NotTold("no text to score")
    ranges = tagged_steps(said.text, form)
    if not ranges:
        return []
    blank_messages = blanked(said.messages)
    pictured = await scored(client, model, said.messages, said.text)
    blank = await scored(client, model, blank_messages, said.text)
    if blank.pieces != pictured.pieces:
        raise NotTold("other tokens beside the blank picture")
    return [_step(one, pictured, blank) for one in ranges]


def _step(step: StepRange, pictured: Scored, blank: Scored) -> MeasuredStep:
    places = tokens_of(step, pictured.pieces, pictured.begin)
    if not places:
        raise NotTold("a step shares every token with its neighbours")
    return MeasuredStep(
        number=step.number,
        source=step.source,
        text=step.text,
        tokens=len(places),
        pictured=sum(pictured.logprobs[place] for place in places) / len(places),
        blank=sum(blank.logprobs[place] for place in places) / len(places),
    )


def too_many_unscored(told: Summary, most: float) -> str | None:
    """What to say where more than a share of the replies is unscored, so that the others mean nothing."""
    count = sum(told.unscored.values())
    if count <= most * told.replies:
        return None
    reasons = ", ".join(f"{reason} ({times})" for reason, times in Counter(told.unscored).most_common())
    return f"{count} of {told.replies} replies are unscored: {reasons}"

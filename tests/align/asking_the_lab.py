"""The lab's parts asked over HTTP as the pipeline asks them, about a few situations that are drawn once."""

import base64
from dataclasses import replace
from functools import cache
from typing import Any

from aiohttp import ClientSession

from align.mini.given import digest
from align.mini.noise import DEFECTS, Noise
from align.mini.oracle import Oracle
from align.mini.world import Situation, situations
from align.prompts import describer_messages, scorer_messages, scores_key
from align.records import Query
from align.sources.mini import png
from align.stages.scoring import read_scores
from policies.catalog import Policy, load_catalog

CATALOG = load_catalog()
GIVEN = list(situations("parts", 60))
SEED = 1000
MARKS_ITSELF = next(defect for defect in DEFECTS if defect.name == "marking_itself")


async def post(url: str, **request: Any) -> tuple[int, dict[str, Any]]:
    async with ClientSession() as session, session.post(f"{url}/chat/completions", **request) as response:
        return response.status, await response.json()


def part(image: bytes) -> dict[str, Any]:
    data = base64.b64encode(image).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


@cache
def picture(situation: Situation) -> dict[str, Any]:
    return part(png(situation.scene))


def policies_of(situation: Situation) -> list[Policy]:
    policy = CATALOG.policy(str(situation.truth.near))
    return [policy] if policy else list(CATALOG.policies)


async def ask(url: str, model: str, messages: list[dict[str, Any]], seed: int = SEED) -> str:
    status, reply = await post(url, json={"model": model, "messages": messages, "seed": seed})
    assert status == 200, reply
    said: str = reply["choices"][0]["message"]["content"]
    return said


async def description(url: str, situation: Situation) -> str:
    return await ask(url, "lab-describer", describer_messages(picture(situation)))


async def marks_of(url: str, situation: Situation, reply: str, seed: int = SEED) -> dict[str, int]:
    key = scores_key(reply, seed)
    asked = scorer_messages(
        situation.instruction, reply, policies_of(situation), key=key, image=picture(situation)
    )
    return read_scores(await ask(url, "lab-scorer", asked, seed), key).marks


@cache
def rows() -> tuple[Query, ...]:
    """The situations as rows of a run."""
    return tuple(
        Query(
            id=f"mini:{situation.seed}", source="mini", split="parts", instruction=situation.instruction,
            image="x.png", image_sha256=digest(png(situation.scene)), category=situation.truth.near,
            licence="x", severity=None, meta={"seed": situation.seed},
        )
        for situation in GIVEN
    )  # fmt: skip


def lab(**rates: float) -> Oracle:
    """An oracle that knows the situations and makes these errors and no others."""
    return Oracle.of_queries(rows(), replace(Noise.none(), **rates))

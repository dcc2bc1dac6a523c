"""A scripted endpoint at which every role is asked, and each request is answered by what it says."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

from align.records import DIMENSIONS
from align.stages.workspace import Made, Workspace
from tests.align.recipes import lab_at
from tests.align.scripted_teacher import Scripted, ScriptedTeacher

Answer = Callable[[dict[str, Any]], Scripted]
SCORER = "lab-scorer"


class Stage(Protocol):
    """A module of `align/stages`."""

    STAGE: str

    def make(self, workspace: Workspace) -> Made: ...


class Answering(ScriptedTeacher):
    """Answers each request by a rule, and remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._rule = answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self._remember(body, request)
        scripted = self._rule(json.loads(body))
        return web.Response(
            status=scripted.status, body=scripted.encoded(""), content_type="application/json"
        )

    def asked_of(self, model: str) -> list[dict[str, Any]]:
        return [body for body in self.history if body["model"] == model]


async def made_at(
    answering: Answering, stage: Stage, workspace: Callable[[dict[str, str]], Workspace]
) -> Workspace:
    """Make a stage with all roles at this endpoint; `workspace` takes the changes that say where it is."""
    async with answering.serving() as url:
        run = workspace(lab_at(url, retries=0))
        run.folder(stage.STAGE).mkdir()
        await asyncio.to_thread(stage.make, run)
    return run


def marks(body: dict[str, Any], **lower: int) -> Scripted:
    """A scorer's reply to this request: full marks but for these."""
    key = re.search(r'"key": "(\w+)"', body["messages"][0]["content"])
    assert key
    return Scripted(json.dumps({"key": key[1]} | dict.fromkeys(DIMENSIONS, 5) | lower | {"reason": "-"}))


def material(body: dict[str, Any]) -> dict[str, str]:
    """What a scorer or an adversary was shown as text."""
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    return dict(json.loads(text))

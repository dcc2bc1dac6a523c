"""A model with a script behind an OpenAI-compatible endpoint: it answers by what it is asked, and counts."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Said:
    """One answer on the wire."""

    content: str
    reasoning: str | None = None
    status: int = 200
    after_s: float = 0.0


Script = Callable[[str], Said]
"""From the last text that the model was sent to what it says."""


@dataclass
class ScriptedModel:
    """Answers by its script."""

    script: Script
    asked: Counter[str] = field(default_factory=Counter)
    """How often each text came."""
    answered: Counter[str] = field(default_factory=Counter)
    """How often each text got a whole reply."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    base_url: str = ""

    async def _answer(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        text = _text(body["messages"][-1]["content"])
        self.asked[text] += 1
        self.bodies.append(body)
        self.keys.append(request.headers.get("Authorization"))
        said = self.script(text)
        await asyncio.sleep(said.after_s)
        if said.status != 200:
            return web.json_response({"error": {"message": "scripted fault"}}, status=said.status)
        self.answered[text] += 1
        message = {"role": "assistant", "content": said.content, "reasoning_content": said.reasoning}
        return web.json_response(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [
                    {"index": 0, "message": message | {"safety": {"verdict": None}}, "finish_reason": "stop"}
                ],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        )

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    @contextmanager
    def serving(self) -> Iterator["ScriptedModel"]:
        """Serve from another thread."""
        loop, ready = asyncio.new_event_loop(), threading.Event()
        stop = asyncio.Event()

        async def serve() -> None:
            app = web.Application(client_max_size=16 << 20)
            app.router.add_post("/v1/chat/completions", self._answer)
            app.router.add_get("/v1/models", self._models)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            ready.set()
            await stop.wait()
            await runner.cleanup()

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
        thread.start()
        try:
            assert ready.wait(10)
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")

"""Claims about callers who leave, at every phase: whoever works for them stops, and it is told of once."""

import http.client
import json
import logging
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.types import Receive, Scope, Send

import serve.app
from serve.door.caller import Allowance
from serve.door.fetch import open_fetcher
from tests.fakes.scripted_engine import Scripted, ScriptedEngine
from tests.fakes.scripted_guard import ScriptedGuard, Told
from tests.serve.audited import Json, added_keys, audit, errors_in, headers_of, measured, only_row
from tests.serve.doors import running_app
from tests.serve.gateways import ALIAS, PATIENCE_S, ask, eventually, running_gateway, settings_for

CHAT, RESPONSES, MODERATIONS = PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/moderations")
STAGES = ("input", "reasoning", "answer")
MOST_BODY_BYTES = 4000
"""Of all bodies together; who comes after a leaving takes nearly everything."""
REPLY = Scripted(
    pieces=(
        "<think>\n[visual] It shows a cat.\n",
        "[textual] It asks what that is.\n",
        "Verdict: comply\n</think>\n",
        "A cat ",
        "on a sofa.",
    )
)
STEP, FINISH = 3, 6
"""Events after which the first step has left, and after which only the usage is missing."""


@dataclass
class PictureHost:
    """A web server that never sends its picture."""

    asked: int = 0
    left: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left += 1


@dataclass
class World:
    """A gateway with keys and everything around it; there is one place, and one more may wait for it."""

    client: httpx.Client
    engine: ScriptedEngine
    guards: dict[str, ScriptedGuard]
    pictures: PictureHost
    picture_url: str
    keys: dict[str, str]
    state_dir: Path

    @property
    def address(self) -> str:
        return self.client.base_url.netloc.decode()

    def count(self, name: str) -> float:
        return measured(self.client).get(name, 0)

    def forget(self) -> None:
        self.engine.replies.clear()
        self.engine.history.clear()
        for guard in self.guards.values():
            guard.replies.clear()
            guard.history.clear()


@pytest.fixture(scope="module")
def running(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    state_dir = tmp_path_factory.mktemp("leaving")
    pictures = PictureHost()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # The tests' own host stands for the public Internet.
        patch.setattr(serve.app, "open_fetcher", partial(open_fetcher, is_public=lambda _: True))
        engine = stack.enter_context(ScriptedEngine().running())
        guards = {stage: stack.enter_context(ScriptedGuard({"action": "NONE"}).running()) for stage in STAGES}
        picture_url = stack.enter_context(running_app(pictures))
        settings = settings_for(
            engine,
            bundle,
            gate={},
            state_dir=state_dir,
            ledger={},
            guards=[guard_settings(stage, guard.url) for stage, guard in guards.items()],
            images={"allowed_hosts": [urlsplit(picture_url).netloc], "allow_http": True},
            limits={
                "in_flight": 1,
                "queue": 1,
                "queue_s": PATIENCE_S,
                "bodies_in_flight_bytes": MOST_BODY_BYTES,
            },
        )
        keys = added_keys(settings, leaver={"allowance": Allowance(in_flight=1)}, other={})
        gateway = stack.enter_context(running_gateway(settings, engine))
        client = stack.enter_context(httpx.Client(base_url=gateway.url, timeout=PATIENCE_S))
        yield World(client, engine, guards, pictures, picture_url, keys, state_dir)


def guard_settings(stage: str, url: str) -> Json:
    names = {"kind": "endpoint", "name": f"{stage}-guard", "format": "litellm_generic"}
    return {**names, "url": url, "stages": [stage], "deadline_s": PATIENCE_S}


@pytest.fixture
def world(running: World) -> World:
    running.forget()
    return running


@dataclass(frozen=True)
class Phase:
    """When the caller leaves."""

    sends: int | None = None
    """Events of the engine, which then falls silent; None: it is never asked."""
    silent: str | None = None
    """The guard that has been asked and does not rule."""
    shows: bytes | None = None
    """What has reached the caller, if it is a stream."""
    has_picture: bool = False
    """And waits for it."""
    needs_turn: bool = False
    """Somebody else has the only place."""


PHASES = {
    "queue": Phase(needs_turn=True),
    "picture": Phase(has_picture=True),
    "engine": Phase(sends=0),
    "input guard": Phase(sends=FINISH, silent="input"),
    "guard on the reasoning": Phase(sends=STEP, silent="reasoning"),
    "guard on the answer": Phase(sends=FINISH, silent="answer"),
    "reply": Phase(sends=STEP, shows=b"It shows a cat."),
    "last bytes": Phase(sends=FINISH, shows=b"on a sofa."),
}


@dataclass
class Leaver:
    """A caller, and what has reached him."""

    world: World
    path: str
    stream: bool
    request_id: str
    received: bytes = b""

    @contextmanager
    def asking(self, phase: Phase) -> Iterator[None]:
        """Until the phase has come; then he leaves."""
        with closing(http.client.HTTPConnection(self.world.address)) as caller:
            headers = headers_of(self.world.keys["leaver"], self.request_id)
            caller.request("POST", self.path, json.dumps(self._body(phase)), headers)
            caller.sock.settimeout(0.01)
            eventually(lambda: self._has_come(phase, caller.sock))
            yield

    def _body(self, phase: Phase) -> Json:
        # What passed an input guard once is not shown to it again.
        text = f"What is {self.request_id}?"
        if self.path == MODERATIONS:
            return {"input": text}
        if self.path == RESPONSES:
            return {"model": ALIAS, "stream": self.stream, "input": text}
        url = {"url": f"{self.world.picture_url}/{self.request_id}.png"}
        picture = [{"type": "image_url", "image_url": url}] if phase.has_picture else []
        content = [{"type": "text", "text": text}, *picture]
        return ask(stream=self.stream, messages=[{"role": "user", "content": content}])

    def _has_come(self, phase: Phase, caller: socket.socket) -> bool:
        world = self.world
        with suppress(TimeoutError):
            self.received += caller.recv(65536)
        if phase.needs_turn:
            return world.count("groundrule_queue_depth") == 1
        if phase.has_picture:
            return world.pictures.asked > world.pictures.left
        if phase.silent and not world.guards[phase.silent].history:
            return False
        if phase.shows and self.stream:
            return phase.shows in self.received
        return bool(world.engine.history) and world.engine.history[-1].sent == phase.sends


CASES = [
    *((name, CHAT, stream) for name in PHASES for stream in (False, True)),
    *((name, RESPONSES, stream) for name in ("engine", "reply") for stream in (False, True)),
    ("engine", MODERATIONS, False),
]


def aborted(alias: str = ALIAS) -> str:
    """The series that counts them."""
    return f'groundrule_requests_total{{alias="{alias}",outcome="aborted"}}'


@pytest.mark.parametrize(("phase", "path", "stream"), CASES, ids=str)
def test_a_caller_who_leaves_is_worked_for_no_more_and_told_of_once(
    world: World, phase: str, path: str, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    at, leaver = PHASES[phase], Leaver(world, path, stream, uuid.uuid4().hex)
    before = measured(world.client)
    with ExitStack() as others:
        if at.needs_turn:
            others.enter_context(somebody_answered(world))
        elif at.sends is not None:
            world.engine.enqueue(replace(REPLY, stalls_after=at.sends))
        if at.silent:
            world.guards[at.silent].enqueue(Told({}, stalls=True))
        with leaver.asking(at):
            pass
        row = only_row(world.state_dir, leaver.request_id)
        assert_nobody_works(world, at)
    assert (row["outcome"], row["status"]) == ("aborted", 200 if leaver.received else 499)
    assert_nothing_is_held(world)
    assert len(audit(world.state_dir, leaver.request_id)) == 1
    after = measured(world.client)
    if path != MODERATIONS:  # which are no chat requests
        assert after[aborted()] - before.get(aborted(), 0) == 1 + at.needs_turn
    assert errors_in(after) == errors_in(before)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@contextmanager
def somebody_answered(world: World) -> Iterator[None]:
    """He has the only place, and leaves it at the end."""
    world.engine.enqueue(replace(REPLY, stalls_after=STEP))
    headers = headers_of(world.keys["other"], "other")
    body = ask("I was first.", stream=True)
    with world.client.stream("POST", CHAT, json=body, headers=headers) as response:
        lines = response.iter_lines()
        next(lines)
        yield
        assert not world.engine.history[0].aborted, "one caller's leaving is no other's"


def assert_nobody_works(world: World, at: Phase) -> None:
    if at.sends is None:
        assert len(world.engine.history) == at.needs_turn
    else:
        (asked,) = world.engine.history
        eventually(lambda: asked.aborted)
    if at.silent:
        eventually(lambda: world.guards[at.silent or ""].history[-1].left)
    eventually(lambda: world.pictures.asked == world.pictures.left)


def assert_nothing_is_held(world: World) -> None:
    """The caller's only place, the gateway's, and nearly all bytes of bodies can be had again."""
    eventually(lambda: world.count("groundrule_requests_in_flight") == 0)
    assert world.count("groundrule_queue_depth") == 0
    body = ask("x" * (MOST_BODY_BYTES - 200))
    answer = world.client.post(CHAT, json=body, headers=headers_of(world.keys["leaver"], "next"))
    assert answer.status_code == 200, answer.text


def test_a_caller_who_leaves_in_his_body_leaves_a_line_and_nothing_else(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no row: what he would have asked whom for is not known."""
    caplog.set_level(logging.INFO)
    before = measured(world.client)
    request_id = uuid.uuid4().hex
    headers = headers_of(world.keys["leaver"], request_id) | {"content-length": str(MOST_BODY_BYTES - 1)}
    for path in PATHS:
        with closing(http.client.HTTPConnection(world.address)) as caller:
            caller.putrequest("POST", path)
            for name, value in headers.items():
                caller.putheader(name, value)
            caller.endheaders(b"{" + b" " * (MOST_BODY_BYTES // 4))
            world.client.get("/healthz")  # by then it waits for the rest
    nameless = aborted("none")
    eventually(lambda: world.count(nameless) - before.get(nameless, 0) == len(PATHS))
    assert_nothing_is_held(world)
    assert world.engine.history[-1].body["messages"][0]["content"].startswith("xxx")
    assert len(world.engine.history) == 1
    assert audit(world.state_dir, request_id) == []
    assert errors_in(measured(world.client)) == errors_in(before)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

    def lines() -> list[tuple[int, str]]:
        fields = [getattr(record, "fields", {}) for record in caplog.records]
        return [(one["status"], one["outcome"]) for one in fields if one.get("request_id") == request_id]

    eventually(lambda: lines() == [(499, "aborted")] * len(PATHS))

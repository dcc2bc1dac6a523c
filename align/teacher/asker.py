"""One role's way to ask: the store first, then a turn at the endpoint, a reservation, an attempt, the store.

    ask ─► kept? ─► asked by another at this moment? ─► turn ─► reserve ─► send ─► settle ─► keep ─► reply

An attempt that went out is finished and kept, even where nobody waits for it any more. Knows nothing of
what is asked or what a reply is good for.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from align.errors import RecipeError
from align.recipe_tables import Role
from align.teacher.client import LONGEST_WAIT_S, Client, Transient, patiently
from align.teacher.ledger import Charge, Ledger
from align.teacher.pace import Pace, Turn
from align.teacher.reply import Reply, TeacherRejects, TeacherUnavailable
from align.teacher.request import Request
from align.teacher.store import Store
from align.teacher.store_file import StoreFailed
from align.teacher.tally import Counts
from policies.prompt import Message

STEPS_TO_THE_WIRE = 4
"""Of the event loop, from a turn to the first byte that goes out."""


@dataclass(frozen=True, slots=True)
class Line:
    """An open endpoint; roles may share it."""

    client: Client
    pace: Pace
    retries: int


@dataclass(frozen=True, slots=True)
class Books:
    """What all roles share."""

    store: Store
    ledger: Ledger
    running: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    """Requests that are being asked, by key."""
    under_way: set[asyncio.Task[Reply]] = field(default_factory=set)
    """Attempts that went out."""


@dataclass(slots=True)
class _Call:
    """A request on its way."""

    key: str
    body: bytes
    prompt_tokens: int
    """Estimated."""
    completion_tokens: int
    """At most."""
    sent: int = 0


class Asker:
    """A role of the recipe, ready to be asked."""

    def __init__(self, name: str, role: Role, line: Line, books: Books, counts: Counts) -> None:
        self.name = name
        self.role = role
        self._line = line
        self._books = books
        self._counts = counts

    async def ask(
        self, messages: Sequence[Message], *, seed: int = 0, schema: dict[str, Any] | None = None
    ) -> Reply:
        """The reply, kept before it is given; TeacherError where there is none.

        The seed tells requests apart that are otherwise equal. A schema is what the reply must be, where
        the role's endpoint can be held to it. RecipeError and StageAborted mean that no call is of use.
        """
        await _step_aside()
        request = self._request(messages, seed, schema)
        key = request.key
        while (reply := self._kept(key)) is None:
            asked = self._books.running.get(key)
            if asked is None:
                return await self._ask_first(key, request)
            await asyncio.wait([asked])
        self._counts.hits += 1
        return reply

    def _request(self, messages: Sequence[Message], seed: int, schema: dict[str, Any] | None) -> Request:
        role = self.role
        form: dict[str, Any] | None = None
        if schema is not None and role.structured != "none":
            form = {"type": role.structured}
            if role.structured == "json_schema":
                form["json_schema"] = {"name": "reply", "schema": schema, "strict": True}
        return Request(
            role.model,
            tuple(messages),
            role.temperature,
            role.max_tokens,
            seed,
            response_format=form,
            extra_body=role.extra_body,
            thoughts_inline=role.own_thinking == "inline",
        )

    def _kept(self, key: str) -> Reply | None:
        try:
            return self._books.store.find(key)
        except TeacherRejects:
            self._counts.hits += 1
            self._counts.rejected += 1
            raise

    async def _ask_first(self, key: str, request: Request) -> Reply:
        done = self._books.running[key] = asyncio.get_running_loop().create_future()
        prompt_tokens = request.prompt_tokens(self.role.image_tokens)
        call = _Call(key, request.encoded(), prompt_tokens, request.most_completion_tokens)
        try:
            return await patiently(partial(self._attempt, call), self._line.retries)
        except TeacherRejects:
            self._counts.rejected += 1
            raise
        except TeacherUnavailable:
            self._counts.unavailable += 1
            raise
        finally:
            del self._books.running[key]
            done.set_result(None)

    async def _attempt(self, call: _Call) -> Reply:
        ledger = self._books.ledger
        async with self._line.pace.turn(call.prompt_tokens + call.completion_tokens) as turn:
            charge = ledger.worst_case(
                call.key, self.name, self.role.model, call.prompt_tokens, call.completion_tokens
            )
            await ledger.reserve(charge)
            return await self._to_the_end(self._send(call, turn, charge))

    async def _to_the_end(self, attempt: Coroutine[Any, Any, Reply]) -> Reply:
        """What went out is paid for, so a cancellation does not reach it: the desk waits for it."""
        task = asyncio.create_task(attempt)
        self._books.under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Reply]) -> None:
        self._books.under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits has it; where nobody does, there is nobody to tell

    async def _send(self, call: _Call, turn: Turn, charge: Charge) -> Reply:
        ledger, store = self._books.ledger, self._books.store
        try:
            store.note(charge)
            self._count(call)
            reply = await self._line.client.send(call.body)
        except Transient as error:
            pause = error.retry_after_s
            too_long = pause is not None and pause > LONGEST_WAIT_S
            turn.failed(overloaded=error.overloaded, pause_s=None if too_long else pause)
            if error.uncertain:
                self._counts.charge(ledger.settle(charge, None))  # the store has it already
            else:
                self._free(charge)
            raise
        except TeacherRejects as error:
            ledger.release(charge)
            await store.keep_rejection(str(error), charge)
            raise
        except (RecipeError, StoreFailed):
            self._free(charge)
            raise
        final = ledger.settle(charge, reply.usage)
        turn.succeeded(final.tokens)
        self._counts.charge(final)
        await store.keep(reply, final)
        return reply

    def _count(self, call: _Call) -> None:
        if call.sent:
            self._counts.retries += 1
        else:
            self._counts.calls += 1
        call.sent += 1

    def _free(self, charge: Charge) -> None:
        self._books.ledger.release(charge)
        self._books.store.cancel(charge)


async def _step_aside() -> None:
    """Let requests whose turn has come go out before another is prepared: endpoints wait for nobody."""
    for _ in range(STEPS_TO_THE_WIRE):
        await asyncio.sleep(0)

"""One request being answered: it waits on its turn, the engine, the guards, the caller and the drain.

Before the first byte a failure is raised, and becomes a status; after it, it is the last event. Knows no
API's words: a writer spells what left the gate.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import suppress
from typing import Any

from starlette.types import Receive, Scope, Send

from serve.api.asked import Asked
from serve.api.asking import payload_of
from serve.api.attending import Attended
from serve.api.choice import Choice
from serve.api.inputs import Inputs
from serve.api.parts import Parts
from serve.api.records import course_of, without_pictures
from serve.api.safety import SafetyWriter
from serve.api.wire import dumps
from serve.api.writer import Head, Writer
from serve.door.body import let_go_of_body
from serve.door.presence import CallerStalled, patient, while_present
from serve.engine.call import Batch, Call
from serve.errors import EngineFailed, EngineRejected, EngineTimeout, GatewayError, InternalFailure
from serve.gate.gate import GateSizes
from serve.gate.observing import gate_for
from serve.gate.values import Conversation, Excerpt, Mode, Out, Ruling, Stage
from serve.observe.requests import RequestRecord

Json = dict[str, Any]

_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # Proxies in front (nginx) would collect the tokens otherwise.
    (b"x-accel-buffering", b"no"),
]
_LAST_EVENT_S = 1.0
_LEFT = 499
"""nginx's, for a caller who left before there was a status."""
_BUG = "the gateway failed; the request id finds it in the log"
_BROKE_OFF = "the engine broke off while answering; try again"
_REJECTED = "the engine refused the request; see its parameters and its length"
_UNREADABLE = "the engine sent what cannot be read; try again"


class Exchange:
    """One request and its reply; called once."""

    def __init__(self, body: Json, asked: Asked, writer: Writer, parts: Parts, record: RequestRecord) -> None:
        """`body`: as a chat request; it is let go of when the engine has it."""
        self._body = body
        self._asked = asked
        self._writer = writer
        self._parts = parts
        self._course = course_of(uuid.uuid4().hex, asked, record)
        self._about = Conversation("", (), asked.route.alias, record.request_id)
        """What guards are told of it, once it was read."""
        self._head = Head(self._course.id, int(self._course.at), asked.route.alias, asked.choices)
        self._is_headed = False
        """The writer has begun."""
        self._has_begun = False
        """The headers are out."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises a GatewayError before the first byte; nothing after it, unless we have a bug."""
        course, parts = self._course, self._parts
        self._check_room()
        try:
            work = self._answer(scope, patient(send, parts.limits.send_s))
            if await while_present(receive, work, parts.deadline):
                course.outcome = "ok"
            else:
                self._note_leaving()
        except CallerStalled:
            self._note_leaving()
        except asyncio.CancelledError:
            self._note_leaving()
            raise
        except GatewayError as error:
            course.outcome = error.code
            if not self._has_begun:
                course.status = error.status
                raise
            await self._tell_last(error, send)
        finally:
            try:
                if course.outcome == InternalFailure.code and self._has_begun:
                    await self._tell_last(InternalFailure(_BUG), send)
            finally:
                parts.records.close(course)

    def _check_room(self) -> None:
        try:
            self._parts.ledger.check_room()
        except GatewayError as error:
            self._course.status, self._course.outcome = error.status, error.code
            self._parts.records.turn_away(self._course)
            raise

    def _note_leaving(self) -> None:
        self._course.outcome = "aborted"
        if not self._has_begun:
            self._course.status = _LEFT

    async def _answer(self, scope: Scope, send: Send) -> None:
        async with self._parts.turns.admitted(self._asked.caller, self._asked.tokens) as place:
            self._course.queued_s = place.queued_s
            try:
                calls = await self._prepare()
                async with Attended(self._batches(calls, scope)) as attended:
                    if self._asked.stream:
                        await self._send_stream(attended, send)
                        return
                    async for _ in self._releases(attended):
                        pass
            finally:
                place.used_tokens = self._course.usage.spent
            # The engine is done with; only now is the body built and sent.
            await self._send_body(send)

    async def _prepare(self) -> list[Call]:
        """What the engine is asked; guards begin on it.

        In a list, from which it is taken: its pictures are not to be held for as long as the reply takes.
        """
        parts, asked, course = self._parts, self._asked, self._course
        body, self._body = self._body, {}
        request_id = course.record.request_id
        payload, admitted = await payload_of(body, asked, parts, request_id, course.usage)
        course.picture_digests = tuple(picture.digest for picture in admitted.pictures)
        if parts.records.keeps_content:
            course.messages = without_pictures(admitted.messages, course.picture_digests)
        inputs = Inputs.of(
            admitted,
            payload.get("chat_template_kwargs"),
            parts.limits.texts_per_request,
            shows_pictures=parts.panel.covers(Stage.IMAGE),
        )
        self._about = Conversation(inputs.asked, inputs.pictures, asked.route.alias, request_id)
        course.input_check = parts.inputs.begin(inputs, self._about)
        course.choices = [self._choice(index) for index in range(asked.choices)]
        whole = not asked.stream and not parts.guards_wait
        return [Call(asked.route, payload, whole, request_id, inputs.opening)]

    def _choice(self, index: int) -> Choice:
        parts, asked = self._parts, self._asked
        gate = parts.gate
        window = max(gate.window_chars, parts.panel.window_chars(Stage.ANSWER))
        sizes = GateSizes(window, gate.most_step_chars, gate.most_held_chars)
        return Choice(
            index,
            asked.route.version,
            gate_for(
                asked.handling,
                parts.panel,
                self._about,
                self._course.input_check.ruling,
                sizes,
                time.perf_counter,
            ),
            self._course.usage,
            SafetyWriter(parts.catalog, asked.route.version),
            asked.handling,
            asked.stops,
        )

    async def _batches(self, calls: list[Call], scope: Scope) -> AsyncGenerator[Batch, None]:
        """Begins when it is first asked: nothing is generated for a request that is blocked at once."""
        try:
            async with self._parts.engines.stream_chat(calls.pop()) as batches:
                let_go_of_body(scope)
                async for batch in batches:
                    yield batch
        except (EngineFailed, EngineTimeout) as error:
            # Without a cause it is the engine's own word; else only the end is missing, which says nothing.
            if error.__cause__ is None or not self._has_everything:
                raise
        except EngineRejected as error:
            if self._asked.handling.mode is not Mode.OBSERVE and await self._objects_to(error):
                raise EngineRejected(_REJECTED, status=error.status) from None
            raise

    @property
    def _has_everything(self) -> bool:
        """Whatever the engine may still do, it told every choice to its end, and then the sum."""
        course = self._course
        return course.usage.is_summed and not any(choice.is_waiting for choice in course.choices)

    async def _objects_to(self, error: EngineRejected) -> bool:
        """An engine's own words may quote the model's: guards look at them as at an answer."""
        words = Excerpt(Stage.ANSWER, f"{error.message}\n{error.param or ''}", 0, 0, final=True)
        ruling = self._parts.panel.examine(words, self._about)
        return (ruling if isinstance(ruling, Ruling) else await ruling).blocks

    async def _releases(self, attended: Attended) -> AsyncGenerator[bytes, None]:
        """Bytes for the caller, one piece for everything that may leave at a time."""
        choices = self._course.choices
        batch: Batch | None = []
        while batch is not None:
            if told := self._tell(self._take(batch)):
                yield told
                if all(choice.gate.blocked for choice in choices):
                    return
            batch = await self._next(attended)
        if not all(choice.gate.is_done for choice in choices):
            raise EngineFailed(_BROKE_OFF)

    async def _next(self, attended: Attended) -> Batch | None:
        """As `Attended.next`; where no guard has to be waited for, nobody is asked about rulings."""
        course = self._course
        pending: Collection[asyncio.Future[Ruling]] = ()
        may_read = True
        if self._rulings_may_come:
            pending = {ruling for choice in course.choices for ruling in choice.gate.pending}
            may_read = not any(choice.gate.is_full for choice in course.choices)
        began = time.perf_counter()
        batch = await attended.next(pending, may_read=may_read)
        course.waited_s += time.perf_counter() - began
        return batch

    def _take(self, batch: Batch) -> list[tuple[Choice, list[Out]]]:
        """What may leave after this batch, and after the rulings that are there by now."""
        pieces = self._by_choice(batch)
        for chunk in batch:
            self._course.usage.take(chunk)
        return [
            (choice, choice.gate.ruled() + choice.take(pieces.get(choice.index, ())))
            for choice in self._course.choices
        ]

    @property
    def _rulings_may_come(self) -> bool:
        """Whether there can be rulings that are not there at once."""
        return self._parts.guards_wait or self._course.input_check.ruling is not None

    def _by_choice(self, batch: Batch) -> dict[int, list[Json]]:
        pieces: dict[int, list[Json]] = {}
        for chunk in batch:
            for piece in chunk.get("choices") or ():
                index = piece.get("index") if isinstance(piece, dict) else None
                if type(index) is not int or not 0 <= index < self._asked.choices:
                    raise EngineFailed(_UNREADABLE)
                pieces.setdefault(index, []).append(piece)
        return pieces

    def _tell(self, released: Iterable[tuple[Choice, list[Out]]]) -> bytes:
        told = b"".join(self._told(choice, outs) for choice, outs in released)
        if told and self._course.first_text_s is None:
            self._course.first_text_s = self._course.record.elapsed_s
        return told

    def _told(self, choice: Choice, outs: list[Out]) -> bytes:
        ends = not choice.is_told and choice.gate.is_done
        if not outs and not ends:
            return b""
        choice.is_told = choice.is_told or ends
        if not self._asked.stream:
            # A plain body is built from what was delivered; that something was is all that counts here.
            return b"."
        begun = b"" if self._is_headed else self._writer.begin(self._head)
        self._is_headed = True
        written = self._writer.write(choice.index, outs)
        return begun + written + (self._writer.finish(choice.index, choice.ending()) if ends else b"")

    async def _send_stream(self, attended: Attended, send: Send) -> None:
        async for piece in self._releases(attended):
            if not self._has_begun:
                await self._begin(_STREAM_HEADERS, send)
            await self._send(piece, send, more=True)
        await self._send(self._writer.end(self._course.usage.told()), send, more=False)

    async def _send_body(self, send: Send) -> None:
        course = self._course
        choices = [choice.finished() for choice in course.choices]
        body = dumps(self._writer.body(self._head, choices, course.usage.told()))
        length = (b"content-length", str(len(body)).encode())
        await self._begin([(b"content-type", b"application/json"), length], send)
        await self._send(body, send, more=False)

    async def _begin(self, headers: list[tuple[bytes, bytes]], send: Send) -> None:
        self._has_begun = True
        self._course.status = 200
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _send(self, piece: bytes, send: Send, *, more: bool) -> None:
        began = time.perf_counter()
        await send({"type": "http.response.body", "body": piece, "more_body": more})
        self._course.waited_s += time.perf_counter() - began

    async def _tell_last(self, error: GatewayError, send: Send) -> None:
        self._parts.errors.count(error)
        piece = self._writer.failed(error)
        with suppress(CallerStalled):
            await self._send(piece, patient(send, _LAST_EVENT_S), more=False)

"""What a request brings to the model, shown to the guards while the model already works on it.

Exactly what is forwarded: every text in the messages, whoever is said to have written it, and every picture
as the engine gets it. Tools' definitions are the application's own, policies in context are ours: they are
not shown.
"""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from serve.door.messages import Admitted
from serve.errors import InvalidRequest
from serve.gate.calls import FRAME, decoded
from serve.gate.texts import texts_in
from serve.gate.values import PASS, Conversation, Excerpt, Panel, Ruling, Stage
from serve.ledger.interaction import GuardRun

Json = dict[str, Any]
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Inputs:
    """The parts of a request that a model reads."""

    texts: tuple[str, ...]
    asked: str
    """The last text of the user."""
    pictures: tuple[bytes, ...]
    """PNG; only where a guard looks at them."""
    seen_with: tuple[str, ...]
    """Digests of the pictures that guards are shown beside every text."""
    opening: bytes
    """Equal for equal beginnings of a conversation, up to the user's first message."""

    @classmethod
    def of(cls, admitted: Admitted, variables: Any, most_texts: int, *, shows_pictures: bool) -> "Inputs":
        """`variables`: of the chat template, through which text comes in as well.

        Raises InvalidRequest where there are more than `most_texts`."""
        messages, pictures = admitted.messages, admitted.pictures
        shown = pictures if shows_pictures else ()
        # Names of variables are the template's own.
        values = [*variables.values()] if isinstance(variables, dict) else variables
        texts = dict.fromkeys(text for text in (*_texts(messages), *texts_in(values)) if text.strip())
        check_count(texts, most_texts, "messages")
        return cls(
            texts=tuple(texts),
            asked=_asked(messages),
            pictures=tuple(picture.png for picture in shown),
            seen_with=tuple(picture.digest for picture in shown),
            opening=_opening(messages, [picture.digest for picture in pictures[:1]]),
        )


def check_count(texts: Sized, most: int, where: str) -> None:
    """Raises InvalidRequest, which names `where`, if there are more than guards are shown of a request."""
    if len(texts) > most:
        raise InvalidRequest(f"{where} may hold {most} different texts; send fewer", param=where)


class InputCheck:
    """What guards say of one request's inputs."""

    def __init__(self) -> None:
        self.ruling: asyncio.Future[Ruling] | None = None
        """The first block, or a pass when all have passed; None: everything has passed."""
        self.runs: list[GuardRun] = []
        """What each guard did, so far."""
        self.asked: list[asyncio.Future[Ruling]] = []
        """Whom it is waited for."""

    def end(self) -> None:
        """Nobody needs the rulings any more that are not there yet."""
        for asked in self.asked:
            asked.cancel()

    def note(self, ruling: Ruling) -> None:
        """One ruling is there."""
        self.runs += ruling.runs


class InputGuards:
    """Asks the panel about inputs; what passed once is not asked about again, as conversations grow.

    A text passes together with the pictures that it came with: a question that is harmless about one picture
    may be harmful about another.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._passed: OrderedDict[bytes, None] = OrderedDict()

    def begin(self, inputs: Inputs, about: Conversation) -> InputCheck:
        """Ask about all of them, beside one another."""
        check = InputCheck()
        waiting: list[tuple[bytes, asyncio.Future[Ruling]]] = []
        for digest, excerpt in self._unknown(inputs):
            ruling = self._panel.examine(excerpt, about)
            if not isinstance(ruling, Ruling):
                waiting.append((digest, ruling))
                check.asked.append(ruling)
                continue
            check.note(ruling)
            if ruling.blocks:
                check.ruling = _done(ruling)
                break
            self._remember(digest, ruling)
        if waiting and check.ruling is None:
            check.ruling = self._first_block(check, waiting)
        return check

    def _unknown(self, inputs: Inputs) -> Iterator[tuple[bytes, Excerpt]]:
        if self._panel.covers(Stage.INPUT):
            for text in inputs.texts:
                digest = _digest(text, inputs.seen_with)
                if digest in self._passed:
                    self._passed.move_to_end(digest)
                else:
                    yield digest, Excerpt(Stage.INPUT, text, 0, 0, final=True)
        for picture in inputs.pictures:
            # What a picture means depends on what is asked about it, so it is shown every time.
            yield b"", Excerpt(Stage.IMAGE, "", 0, 0, final=True, picture=picture)

    def _first_block(
        self, check: InputCheck, waiting: Sequence[tuple[bytes, asyncio.Future[Ruling]]]
    ) -> asyncio.Future[Ruling]:
        first: asyncio.Future[Ruling] = asyncio.get_running_loop().create_future()
        left = len(waiting)

        def on_ruling(digest: bytes, ruled: asyncio.Future[Ruling]) -> None:
            nonlocal left
            left -= 1
            ruling = _ruling_of(ruled)
            check.note(ruling)
            self._remember(digest, ruling)
            if not first.done() and (ruling.blocks or not left):
                first.set_result(ruling if ruling.blocks else PASS)

        for digest, ruled in waiting:
            ruled.add_done_callback(partial(on_ruling, digest))
        return first

    def _remember(self, digest: bytes, ruling: Ruling) -> None:
        if ruling.blocks or ruling.failed or not digest:
            return
        self._passed[digest] = None
        if len(self._passed) > _REMEMBERED:
            self._passed.popitem(last=False)


def _digest(text: str, seen_with: Sequence[str]) -> bytes:
    # As JSON, lest a text read like another one with its pictures.
    return hashlib.sha256(json.dumps((seen_with, text)).encode()).digest()


def _ruling_of(ruled: asyncio.Future[Ruling]) -> Ruling:
    """A panel's future does not fail; if one does, nobody judged."""
    if ruled.cancelled() or ruled.exception() is not None:
        return Ruling(blocks=True, failed=True)
    return ruled.result()


def _done(ruling: Ruling) -> asyncio.Future[Ruling]:
    future: asyncio.Future[Ruling] = asyncio.get_running_loop().create_future()
    future.set_result(ruling)
    return future


def _texts(messages: Iterable[Json]) -> Iterator[str]:
    """Every string of every message but roles, kinds and pictures: templates differ in what they use."""
    for message in messages:
        for name, value in message.items():
            if name == "content" and isinstance(value, list):
                # The door lets no other kinds of parts in.
                yield from (part[kind] for part in value for kind in ("text", "refusal") if kind in part)
            elif name == "tool_calls" and isinstance(value, list):
                yield from chain.from_iterable(map(_texts_of_call, value))
            elif name != "role":
                yield from texts_in(value)


def _texts_of_call(call: Any) -> Iterator[str]:
    """Arguments as the engine's template reads them, too: letters hide behind JSON's escapes."""
    for text in texts_in(call):
        if text not in FRAME:
            yield text
            if "\\" in text:
                yield "\n".join(texts_in(decoded(text)))


def _opening(messages: Sequence[Json], digests: Iterable[str]) -> bytes:
    first = next((n for n, message in enumerate(messages, start=1) if message.get("role") == "user"), 1)
    opening = "\0".join((*_texts(messages[:first]), *digests))
    return hashlib.blake2b(opening.encode(errors="surrogatepass"), digest_size=8).digest()


def _asked(messages: Sequence[Json]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return "\n".join(_texts([{"content": message.get("content")}]))
    return ""

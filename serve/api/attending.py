"""The engine's batches, waited for beside the rulings that decide whether they may leave.

While no ruling is pending a batch is awaited directly; a task for it costs 10 to 20 µs and is made only
where there is something else to wait for.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection
from types import TracebackType
from typing import Any, Self

from serve.engine.call import Batch
from serve.gate.values import Ruling


class Attended:
    """A context; when it is left, whatever was being read is ended, and so is the engine's generation."""

    def __init__(self, batches: AsyncGenerator[Batch, None]) -> None:
        self._batches = batches
        self._reading: asyncio.Task[Batch | None] | None = None
        self._is_over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._batches.aclose()

    async def next(self, pending: Collection[asyncio.Future[Ruling]], *, may_read: bool) -> Batch | None:
        """The next batch; an empty one if a ruling came first; None when there is nothing left to wait for.

        `may_read`: False keeps the engine waiting until a ruling is there.
        """
        if not pending and self._reading is None:
            return await self._read()
        if pending:
            if may_read and self._reading is None and not self._is_over:
                self._reading = asyncio.create_task(self._read())
            waited: set[asyncio.Future[Any]] = {*pending}
            if self._reading is not None:
                waited.add(self._reading)
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if self._reading is None or not self._reading.done():
                return []
        assert self._reading is not None
        reading, self._reading = self._reading, None
        batch = await reading
        return [] if batch is None and pending else batch

    async def _read(self) -> Batch | None:
        if self._is_over:
            return None
        try:
            return await anext(self._batches)
        except StopAsyncIteration:
            self._is_over = True
            return None

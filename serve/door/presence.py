"""Ends work as soon as the caller it is done for has left, or its time is over, waiting or streaming.

A second task listens meanwhile, as servers tell of a disconnect only to whoever receives;
`request.is_disconnected()` is unreliable behind middleware. The work itself stays in the task that asked for
it, which costs half of what a task of its own would, and is cancelled there, as `asyncio.timeout` does it.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Message, Receive, Send

from serve.errors import Stopping


class CallerStalled(Exception):
    """The caller has taken nothing for too long; whatever is still to be said, nobody reads it."""


async def while_present(
    receive: Receive, work: Coroutine[Any, Any, None], until: asyncio.Future[Any] | None = None
) -> bool:
    """Do the work; False if the caller left before it was done. The request's body must have been read.

    `until`: done when the gateway can wait no longer. The work is then ended, and Stopping raised.
    """
    here = asyncio.current_task()
    assert here is not None
    wanted_elsewhere = here.cancelling()
    leaving = asyncio.create_task(_disconnect(receive))
    endings: list[asyncio.Future[Any]] = [leaving] if until is None else [leaving, until]
    is_ended = False

    def end(_: asyncio.Future[Any]) -> None:
        nonlocal is_ended
        if not is_ended:
            is_ended = True
            here.cancel()

    for ending in endings:
        ending.add_done_callback(end)
    try:
        await work
        return True
    except asyncio.CancelledError:
        # Somebody else may have cancelled it, instead or as well.
        if not is_ended or here.cancelling() > wanted_elsewhere + 1:
            raise
        if leaving.done():
            leaving.result()
            return False
        raise Stopping("the gateway is being stopped; try again") from None
    finally:
        if is_ended:
            here.uncancel()
        for ending in endings:
            ending.remove_done_callback(end)
        leaving.cancel()


def patient(send: Send, most_s: float) -> Send:
    """The same `send`, which raises CallerStalled once the caller has taken nothing for so many seconds."""

    async def send_in_time(message: Message) -> None:
        try:
            async with asyncio.timeout(most_s):
                await send(message)
        except TimeoutError as error:
            raise CallerStalled(f"nothing was taken for {most_s:g} seconds") from error

    return send_in_time


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

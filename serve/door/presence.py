"""Ends work as soon as the caller it is done for has left, while waiting and while streaming.

Two tasks, one of them listening, as servers tell of a disconnect only to whoever receives;
`request.is_disconnected()` is unreliable behind middleware.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive


async def while_present(receive: Receive, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work; False if the caller left before it was done. The request's body must have been read."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return True
        return False
    finally:
        # Awaited, so that whatever the work had open is closed when this returns.
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

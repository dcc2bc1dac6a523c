"""The least that a gateway in Python can be: FastAPI in front, aiohttp behind, bytes in between.

python -m tests.serve.bench.passthrough PORT ENGINE_URL
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

PORT, ENGINE = int(sys.argv[1]), sys.argv[2]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as app.state.session:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    body, headers = await request.body(), {"content-type": "application/json"}
    reply = await app.state.session.post(f"{ENGINE}/v1/chat/completions", data=body, headers=headers)
    if reply.content_type == "text/event-stream":
        return StreamingResponse(reply.content.iter_any(), media_type="text/event-stream")
    return Response(await reply.read(), reply.status, media_type="application/json")


uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="error", access_log=False)

"""Claims about what the gateway holds while a reply is generated."""

import base64
import http.client
import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from serve.engine.launch import free_port
from tests.fakes.scripted_engine import ScriptedEngine
from tests.serve.gateways import PATIENCE_S, ask, eventually, running_gateway, settings_for
from tests.serve.programs import ROOT, listens


@pytest.fixture
def distant_engine() -> Iterator[str]:
    """A scripted engine in a process of its own, so that this process holds the gateway's memory only."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, str(ROOT / "tests/fakes/scripted_engine.py"), str(port)])
    try:
        eventually(lambda: listens(url))
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def noise_url(side: int) -> str:
    """A picture that no compression makes smaller."""
    out = io.BytesIO()
    bands = [Image.effect_noise((side, side), 100) for _ in range(3)]
    Image.merge("RGB", bands).save(out, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(out.getbuffer()).decode()


@pytest.mark.parametrize("stream", [False, True])
def test_no_picture_is_held_while_its_reply_is_generated(
    distant_engine: str, bundle: Path, stream: bool
) -> None:
    engine = ScriptedEngine()
    engine.url = distant_engine
    request = ask(stream=stream)
    request["messages"][0]["content"] = [{"type": "image_url", "image_url": {"url": noise_url(1200)}}]
    body = json.dumps(request)
    assert len(body) > 4_000_000
    httpx.post(f"{distant_engine}/script", json={"stalls_after": 6})
    with running_gateway(settings_for(engine, bundle, images={"cache_bytes": 0}), engine) as gateway:
        address = urlsplit(gateway.url)
        gateway.post(ask() | {"model": "nobody"})  # whatever a first request leaves behind for good
        tracemalloc.start()
        try:
            with closing(http.client.HTTPConnection(address.netloc, timeout=PATIENCE_S)) as caller:
                caller.request("POST", "/v1/chat/completions", body)
                eventually(lambda: tracemalloc.get_traced_memory()[1] > 2 * len(body))
                eventually(lambda: tracemalloc.get_traced_memory()[0] < 1_000_000)
                assert gateway.metric("groundrule_requests_in_flight") == 1
        finally:
            tracemalloc.stop()

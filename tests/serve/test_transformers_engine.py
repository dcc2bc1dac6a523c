"""Claims about merged weights of LLaVA-CoT's form: a real Mllama, served by `transformers serve`.

The checkpoint is tiny and learns two replies by heart, so what it says is known to the letter. Everything
between it and the reader is real: its template and picture processing, the server, the wire, the pool; and
between it and a caller the whole gateway.
"""

import asyncio
import base64
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from PIL import Image
from prometheus_client import CollectorRegistry
from transformers import AutoModelForImageTextToText, AutoProcessor

from policies.catalog import load_catalog
from policies.formats import FORMATS
from policies.reply import Trace
from policies.trace import TraceReader, read
from serve.adapters.registry import Registry, build_registry
from serve.engine.call import Call
from serve.engine.client import open_session
from serve.engine.fleet import open_engines
from serve.engine.launch import free_port
from serve.engine.pool import Pools
from serve.errors import UnsupportedParameter
from serve.observe.metrics import Metrics
from serve.settings import Settings
from tests.align.tiny_bases import tiny_base
from tests.fakes.scripted_engine import ScriptedEngine
from tests.serve.gateways import PATIENCE_S, Gateway, eventually, running_gateway
from tests.serve.guarded import FORBIDDEN, GUARD, Told, tell
from tests.serve.programs import listens

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:`hidden_state` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

COT = FORMATS["llava_cot"]
ALIAS = "llava-cot"
GOOD = "What is this?"
PLANTED = "What else is there?"
REPLIES = {
    GOOD: (
        "<SUMMARY>[textual] The request asks what it is.</SUMMARY>\n"
        "<CAPTION>[visual] The picture shows a square.</CAPTION>\n"
        "<REASONING>[visual+textual] Naming it harms nobody. [P01.G]\nVerdict: comply</REASONING>\n"
        "<CONCLUSION>It is a square.</CONCLUSION>"
    ),
    PLANTED: (
        "<SUMMARY>[textual] The request asks what else.</SUMMARY>\n"
        f"<CAPTION>[visual] The picture shows a {FORBIDDEN}.</CAPTION>\n"
        "<REASONING>[visual] Nothing else is there.\nVerdict: comply</REASONING>\n"
        "<CONCLUSION>Nothing else.</CONCLUSION>"
    ),
}
"""By question: each of LLaVA-CoT's four sections, with our traces inside."""
STEPS = 400
GOOD_LOSS = 0.005


def picture() -> Image.Image:
    image = Image.new("RGB", (60, 60), "teal")
    image.paste((240, 240, 20), (15, 15, 45, 45))
    return image


def messages(question: str) -> list[dict[str, Any]]:
    out = io.BytesIO()
    picture().save(out, "PNG")
    url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    return [{"role": "user", "content": parts}]


def learn_by_heart(base: Path) -> float:
    """Train until every token of both replies is certain; the loss that was reached."""
    torch.manual_seed(0)
    processor = AutoProcessor.from_pretrained(base)
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).train()
    batches = [lesson(processor, question, reply) for question, reply in REPLIES.items()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0)
    loss = float("inf")
    for _ in range(STEPS):
        losses = [model(**batch).loss for batch in batches]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss = max(one.item() for one in losses)
        if loss < GOOD_LOSS:
            break
    model.save_pretrained(base)
    return loss


def lesson(processor: Any, question: str, reply: str) -> dict[str, torch.Tensor]:
    """A conversation whose labels are its reply alone."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )

    def encoded(text: str) -> dict[str, torch.Tensor]:
        inputs = processor(images=[[picture()]], text=[text], add_special_tokens=False, return_tensors="pt")
        return dict(inputs)

    whole = encoded(prompt + reply + "<|eot_id|>")
    labels = whole["input_ids"].clone()
    labels[:, : encoded(prompt)["input_ids"].shape[1]] = -100
    return {**whole, "labels": labels}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` with that checkpoint, as a process; its root."""
    base = tiny_base("MllamaForConditionalGeneration", tmp_path_factory.mktemp("cot") / "merged")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert learn_by_heart(base) < GOOD_LOSS
    finally:
        torch.set_num_threads(threads)
    port = free_port()
    program = str(Path(sys.executable).with_name("transformers"))
    command = [program, "serve", str(base), "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--host", "127.0.0.1", "--device", "cpu"], env=environment)
    url = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        assert process.poll() is None, "transformers serve ended"
        return listens(url)

    try:
        eventually(is_up, 5 * PATIENCE_S)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@dataclass
class Opened:
    pools: Pools
    registry: Registry

    def call(self, question: str, *, whole: bool = False, **payload: Any) -> Call:
        fields = {"messages": messages(question), "temperature": 0, "max_tokens": 400, **payload}
        return Call(self.registry.resolve(ALIAS), fields, whole, "req-1", b"")


def settings_for(server: str, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "engine": {"pools": [{"name": "cot", "kind": "transformers", "urls": [server]}]},
        "models": [{"alias": ALIAS, "pool": "cot", "reasoning_format": "llava_cot"}],
        "ledger": {"enabled": False},
    }
    return Settings(**(values | changes))


@asynccontextmanager
async def opened(server: str) -> AsyncIterator[Opened]:
    settings = settings_for(server)
    registry = build_registry(settings, load_catalog())
    metrics = Metrics(CollectorRegistry())
    async with (
        open_session(settings.engine) as session,
        open_engines(settings, registry, session, metrics, pytest.fail) as pools,
    ):
        async with asyncio.timeout(PATIENCE_S):
            while not pools.readiness().is_ready:
                await asyncio.sleep(0.05)
        yield Opened(pools, registry)


@dataclass
class Heard:
    """One reply, as it came."""

    trace: Trace
    chunks: list[dict[str, Any]]
    texts: list[str]


async def hear(it: Opened, call: Call) -> Heard:
    reader = TraceReader(call.route.version.format, call.route.version.clauses)
    chunks, texts = [], []
    async with it.pools.stream_chat(call) as batches:
        async for batch in batches:
            for chunk in batch:
                chunks.append(chunk)
                texts += [choice["delta"].get("content") or "" for choice in chunk["choices"]]
                reader.feed(texts[-1])
    reader.close()
    return Heard(reader.trace, chunks, texts)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("question", [GOOD, PLANTED])
async def test_llava_cots_four_sections_are_read_from_a_real_mllama(
    server: str, question: str, whole: bool
) -> None:
    async with opened(server) as it:
        heard = await hear(it, it.call(question, whole=whole))
        assert "".join(heard.texts) == REPLIES[question]
        assert heard.trace == read(REPLIES[question], COT, load_catalog().citable)
        assert heard.trace.well_formed
        assert [step.source for step in heard.trace.steps][:2] == ["textual", "visual"]
        assert heard.trace.verdict == "comply"
        # It cannot stop a whole reply when its caller leaves, so it is always asked for a stream.
        assert len([text for text in heard.texts if text]) > 10
        assert heard.chunks[-1]["choices"][0]["finish_reason"] == "stop"
        assert heard.chunks[-1]["usage"]["completion_tokens"] > 50


@pytest.fixture(scope="module")
def gateway(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The whole gateway, with a forbidden word."""
    settings = settings_for(server, guards=[GUARD], state_dir=tmp_path_factory.mktemp("state"))
    with running_gateway(settings, ScriptedEngine()) as gateway:
        yield gateway


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_real_mllama_must_not_say_is_withheld_and_the_rest_arrives(
    gateway: Gateway, stream: bool
) -> None:
    def ask(question: str) -> Told:
        sampling: dict[str, Any] = {"temperature": 0, "max_tokens": 400}
        return tell(gateway, stream=stream, model=ALIAS, messages=messages(question), **sampling)

    withheld, passed = ask(PLANTED), ask(GOOD)
    assert withheld.is_withheld
    assert not withheld.holds(FORBIDDEN)
    assert "The picture shows" not in withheld.reasoning, "the step that holds it stays whole behind the gate"
    assert withheld.answer == ""
    assert (passed.answer, passed.refusal, passed.error) == ("It is a square.", "", None)
    assert "[visual] The picture shows a square." in passed.reasoning


async def test_every_parameter_that_is_said_to_work_is_taken_by_the_server(server: str) -> None:
    taken: dict[str, Any] = {
        "chat_template_kwargs": {},
        "frequency_penalty": 0.0,
        "logit_bias": {"1": -1.0},
        "max_completion_tokens": 5,
        "max_tokens": None,
        "seed": 1,
        "tools": [],
        "top_p": 1.0,
        "user": "somebody",
        "n": 1,
    }
    async with opened(server) as it:
        heard = await hear(it, it.call(GOOD, **taken))
        assert heard.chunks[-1]["choices"][0]["finish_reason"] == "length"
        assert heard.chunks[-1]["usage"]["completion_tokens"] == 5


async def test_parameters_it_would_ignore_or_fail_on_are_refused_by_name(server: str) -> None:
    ignored: dict[str, Any] = {"n": 2, "logprobs": True, "response_format": {"type": "json_object"}}
    plain = {"messages": messages(GOOD), "max_tokens": 1, "temperature": 0}
    url = f"{server}/v1/chat/completions"
    said = httpx.post(url, json=plain | ignored, timeout=PATIENCE_S)
    (choice,) = said.json()["choices"]  # as many as if nothing had been asked: this is why
    assert choice.get("logprobs") is None
    assert httpx.post(url, json=plain | {"top_k": 3}, timeout=PATIENCE_S).status_code == 422
    failed = httpx.post(url, json=plain | {"stop": ["x"], "stream": True}, timeout=PATIENCE_S)
    assert '"error"' in failed.text  # its processor of pictures is no tokenizer
    async with opened(server) as it:
        others: dict[str, Any] = {"top_k": 3, "stop": ["x"], "structured_outputs": {"grammar": "x"}}
        for name, value in {**ignored, **others}.items():
            with pytest.raises(UnsupportedParameter, match=rf"^{name}: ") as refusal:
                await hear(it, it.call(GOOD, whole=False, **{name: value}))
            assert refusal.value.param == name

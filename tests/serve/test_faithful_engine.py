"""Claims about source-tag faithfulness on real vLLM: its log-probabilities, and what a blank picture costs.

Asked of the engine itself: the gateway takes no reply to be continued.
"""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from align.evaluate.endpoint import Endpoint
from align.evaluate.faithful import STEPS_FILE, How, measure
from align.evaluate.likelihood import Scored, scored
from align.evaluate.mini import image_part
from align.evaluate.replies_said import Said
from align.mini.scenes import render
from align.mini.world import Situation, situations
from policies.formats import THINK
from policies.prompt import student_messages
from tests.serve.gateways import PATIENCE_S
from tests.serve.programs import Program

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    # Building the base model runs the training libraries, whose warnings are not ours to mend.
    pytest.mark.filterwarnings("default"),
]

SPLIT = "tests-faithful"
"""Seeds that no training used."""


@pytest.fixture(scope="module")
def engine(live_gateway: Program) -> Endpoint:
    """The engine's own address, and its name for the repository's PST adapter."""
    root = f"{live_gateway.engine_url}/v1"
    served = [model["id"] for model in httpx.get(f"{root}/models", timeout=PATIENCE_S).json()["data"]]
    (name,) = (one for one in served if "@" in one)
    return Endpoint(root, name)


@pytest.fixture(scope="module")
def replies(engine: Endpoint) -> list[tuple[Situation, Said]]:
    """The adapter's own, written greedily."""
    client = openai.OpenAI(base_url=engine.base_url, api_key="none", timeout=600)

    def said(situation: Situation) -> Said:
        asked: Any = student_messages(situation.instruction, [image_part(situation.scene)])
        reply = client.chat.completions.create(
            model=engine.model, messages=asked, temperature=0, max_tokens=400
        )
        return Said(situation.seed, tuple(asked), reply.choices[0].message.content)

    return [(situation, said(situation)) for situation in situations(SPLIT, 4)]


def test_the_engine_and_transformers_find_the_same_reply_equally_likely(
    engine: Endpoint, replies: list[tuple[Situation, Said]], mini_base: Path, mini_bundle: Path
) -> None:
    situation, said = replies[0]
    assert said.text
    told = asyncio.run(ask(engine, said))
    expected = by_transformers(mini_base, mini_bundle, situation, said.text)
    assert "".join(told.pieces) == said.text
    assert len(told.logprobs) == len(expected)
    assert sum(told.logprobs) == pytest.approx(sum(expected), abs=1e-3)
    assert list(told.logprobs) == pytest.approx(expected, abs=1e-4)


def test_visual_steps_need_the_picture_and_textual_ones_do_not(
    engine: Endpoint, replies: list[tuple[Situation, Said]], tmp_path: Path
) -> None:
    found = measure(engine, [said for _, said in replies], How(THINK, max_unscored=0), tmp_path)
    means = {one.source: one.mean for one in found}
    # Measured on six other replies: 2.6 and 0.003 nats per token.
    assert means["visual"] > 0.5
    assert abs(means["textual"]) < 0.1
    assert len((tmp_path / STEPS_FILE).read_text().splitlines()) == len(replies)


async def ask(engine: Endpoint, said: Said) -> Scored:
    async with openai.AsyncOpenAI(base_url=engine.base_url, api_key="none", timeout=600) as client:
        return await scored(client, engine.model, said.messages, said.text or "")


def by_transformers(base: Path, bundle: Path, situation: Situation, text: str) -> list[float]:
    """The same reply behind the same prompt, token by token, through transformers and PEFT."""
    import torch
    from peft import PeftModel

    from align.train.bases import load_base, load_processor

    processor = load_processor(base)
    messages = student_messages(situation.instruction, [{"type": "image"}])
    prompt = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = processor(
        images=[[render(situation.scene)]],
        text=[prompt + text],
        add_special_tokens=False,
        return_tensors="pt",
    )
    model = PeftModel.from_pretrained(load_base(base, torch.float32), bundle).eval()
    with torch.inference_mode():
        logits = model(**inputs).logits[0, :-1].double()
    tokens = inputs["input_ids"][0, 1:]
    told = logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0].tolist()
    reply = len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])
    logprobs: list[float] = told[-reply:]
    return logprobs

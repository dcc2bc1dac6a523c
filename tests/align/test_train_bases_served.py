"""Claims about adapters of every servable architecture: real vLLM says what transformers and PEFT say."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image

from align.train.bases import BASE_KINDS, kind_of, load_base, load_processor
from tests.align import vllm_tokens
from tests.align.tiny_bases import tiny_base

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

SERVED = [kind.architecture for kind in BASE_KINDS.values() if kind.served_as == "adapter"]
TOKENS = 16
Tokens = dict[str, list[int]]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Tokens, Path]]:
    """By architecture: what transformers generates, and where vLLM's tokens are if it gave any."""
    root = tmp_path_factory.mktemp("served")
    picture = Image.new("RGB", (60, 110), "teal")
    picture.paste((240, 240, 20), (5, 5, 25, 30))
    picture.save(root / "picture.png")
    expected, requests = {}, []
    for architecture in SERVED:
        base = tiny_base(architecture, root / architecture / "base")
        prompt, expected[architecture] = generated(base, root / architecture / "adapter", picture)
        request = {"base": base, "adapter": base.parent / "adapter", "out": base.parent / "tokens.json"}
        requests.append(
            {name: str(path) for name, path in request.items()}
            | {"prompt": prompt, "picture": str(root / "picture.png"), "tokens": TOKENS}
        )
    (root / "requests.json").write_text(json.dumps(requests))
    # Its warnings and a failing engine's traceback go to this test's own standard error, which pytest shows.
    subprocess.run([sys.executable, vllm_tokens.__file__, root / "requests.json"], check=True, timeout=500)
    return {name: (expected[name], root / name / "tokens.json") for name in SERVED}


def generated(base: Path, adapter: Path, picture: Image.Image) -> tuple[str, Tokens]:
    """A prompt, and its greedy tokens with and without a random adapter, which is left at `adapter`."""
    torch.manual_seed(0)
    lora = LoraConfig(
        r=8, lora_alpha=16, init_lora_weights=False, target_modules=kind_of(base).target_modules
    )
    model = get_peft_model(load_base(base, torch.float32), lora).eval()
    model.save_pretrained(adapter)
    processor = load_processor(base)
    content = [{"type": "image"}, {"type": "text", "text": "Which object is larger?"}]
    prompt: str = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    inputs = processor(images=[[picture]], text=[prompt], add_special_tokens=False, return_tensors="pt")
    with model.disable_adapter():
        bare = greedy(model, inputs)
    return prompt, {"base": bare, "adapter": greedy(model, inputs)}


def greedy(model: PeftModel, inputs: Mapping[str, Any]) -> list[int]:
    output = model.generate(**inputs, max_new_tokens=TOKENS)
    tokens: list[int] = output[0, inputs["input_ids"].shape[1] :].tolist()
    return tokens


@pytest.mark.parametrize("architecture", SERVED)
def test_vllm_generates_what_transformers_and_peft_generate(
    architecture: str, spoken: Mapping[str, tuple[Tokens, Path]]
) -> None:
    expected, file = spoken[architecture]
    assert file.exists(), "vLLM failed; its traceback is in the captured standard error"
    assert json.loads(file.read_text()) == expected
    assert len(expected["adapter"]) == TOKENS
    assert expected["adapter"] != expected["base"]

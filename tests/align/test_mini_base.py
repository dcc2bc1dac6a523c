"""The lab's base model: assembled once, whole, and read the same way by everybody."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from transformers import AutoProcessor

from align.mini.base import KEPT_LAYERS, STAMP_FILE, save_base
from align.mini.trained import BASE_ADAPTER, PST_BUNDLE, TOWER
from policies.bundle import model_config_digest, read_bundle
from policies.catalog import load_catalog

pytestmark = pytest.mark.filterwarnings("default")


def test_an_up_to_date_base_is_not_built_again(mini_base: Path) -> None:
    before = (mini_base / "model.safetensors").stat().st_mtime_ns
    assert save_base(mini_base, TOWER, BASE_ADAPTER) is False
    assert (mini_base / "model.safetensors").stat().st_mtime_ns == before


def test_the_base_is_qwen25_vl_with_the_kept_layers(mini_base: Path) -> None:
    config = json.loads((mini_base / "config.json").read_text())
    assert config["architectures"] == ["Qwen2_5_VLForConditionalGeneration"]
    assert config["text_config"]["num_hidden_layers"] == len(KEPT_LAYERS)
    assert json.loads((mini_base / STAMP_FILE).read_text())["layers"] == list(KEPT_LAYERS)
    with safe_open(mini_base / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
    assert not any("lora" in name for name in names)


@pytest.mark.parametrize("picture_first", [True, False])
def test_a_prompt_is_the_same_whichever_part_comes_first(mini_base: Path, picture_first: bool) -> None:
    picture, text = {"type": "image"}, {"type": "text", "text": "What is this?"}
    parts = [picture, text] if picture_first else [text, picture]
    processor = AutoProcessor.from_pretrained(mini_base)
    assert processor.apply_chat_template(
        [{"role": "user", "content": parts}], add_generation_prompt=True
    ) == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What is this?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_kept_adapter_belongs_to_this_base_and_these_policies(mini_base: Path) -> None:
    manifest = read_bundle(PST_BUNDLE)
    assert manifest.base.config_digest == model_config_digest(mini_base)
    assert manifest.policy_digest == load_catalog().digest
    assert manifest.report_card is not None
    assert manifest.report_card.n >= 200

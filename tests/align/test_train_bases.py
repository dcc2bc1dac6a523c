"""Claims about the base architectures that are trained, each on a tiny random checkpoint of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from align.train.bases import (
    BASE_KINDS,
    completion_collator,
    kind_of,
    load_base,
    load_processor,
    preference_collator,
)
from align.train.errors import TrainingFailed
from align.train.template import check_template
from policies.bundle import touches_tower
from policies.formats import FORMATS
from tests.align.tiny_bases import TINY, tiny_base

pytestmark = [
    pytest.mark.usefixtures("one_thread"),  # transformers' own, in Mllama's tower and GLM's processor
    pytest.mark.filterwarnings("ignore:`hidden_state` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

MLLAMA = "MllamaForConditionalGeneration"
WIDE, TALL = (130, 60), (50, 60)
Batch = dict[str, torch.Tensor]


@pytest.fixture(scope="module", params=sorted(TINY))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(request.param, tmp_path_factory.mktemp("bases") / request.param)


@pytest.fixture(scope="module")
def mllama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(MLLAMA, tmp_path_factory.mktemp("bases") / MLLAMA)


def picture(size: tuple[int, int], colour: str = "teal") -> Image.Image:
    image = Image.new("RGB", size, colour)
    image.paste((240, 240, 20), (5, 5, 25, 30))
    return image


def asked(text: str, image: Image.Image) -> dict[str, Any]:
    content = [{"type": "image"}, {"type": "text", "text": text}]
    return {"prompt": [{"role": "user", "content": content}], "images": [image]}


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def completions() -> list[dict[str, Any]]:
    """Two rows that differ in the length of either part and in their pictures' shapes."""
    return [
        {**asked("What is it?", picture(WIDE)), "completion": said("A yellow square on teal, well lit.")},
        {**asked("Which object is larger, the circle?", picture(TALL)), "completion": said("The square.")},
    ]


def collated(base: Path, rows: list[dict[str, Any]]) -> Batch:
    processor = load_processor(base)
    collator = completion_collator(kind_of(base), processor) or DataCollatorForVisionLanguageModeling(
        processor, completion_only_loss=True
    )
    batch: Batch = dict(collator(rows))
    return batch


@torch.no_grad()
def logits(model: PreTrainedModel | PeftModel, batch: Batch) -> torch.Tensor:
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", "completion_mask")}
    scores: torch.Tensor = model.eval()(**inputs).logits
    return scores


def with_random_lora(base: Path, **options: Any) -> PeftModel:
    """Every A and B non-zero, as after training."""
    torch.manual_seed(0)
    settings = {"target_modules": kind_of(base).target_modules, **options}
    lora = LoraConfig(r=4, lora_alpha=8, init_lora_weights=False, **settings)
    return get_peft_model(load_base(base, torch.float32), lora)


def test_every_kind_has_a_tiny_base_and_a_reasoning_format() -> None:
    assert set(BASE_KINDS) == set(TINY)
    assert {kind.reasoning_format for kind in BASE_KINDS.values()} <= set(FORMATS)


def test_a_base_is_known_by_its_config(base: Path) -> None:
    assert kind_of(base).architecture == base.name
    assert type(load_base(base, torch.float32)).__name__ == base.name


def test_an_unknown_architecture_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["OtherForCausalLM"]}))
    with pytest.raises(TrainingFailed, match=r"OtherForCausalLM.*Qwen2\.5-VL.*Mllama"):
        kind_of(tmp_path)


@pytest.mark.parametrize("config", [None, "{", "[]", "{}", '{"architectures": null}'])
def test_what_is_no_checkpoint_is_refused(config: str | None, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(TrainingFailed, match="must be a checkpoint directory"):
        kind_of(tmp_path)


def test_a_base_with_weights_missing_is_refused(tmp_path: Path) -> None:
    base = tiny_base(MLLAMA, tmp_path)
    file = base / "model.safetensors"
    tensors = load_file(file)
    del tensors[next(name for name in tensors if "cross_attn.q_proj" in name)]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(TrainingFailed, match=r"no weights for .*cross_attn\.q_proj\.weight"):
        load_base(base, torch.float32)


def test_the_default_targets_are_all_projections_of_the_language_layers_and_nothing_else(base: Path) -> None:
    model = load_base(base, torch.float32)
    layers = model.model.language_model.layers
    projections = {module for module in layers.modules() if isinstance(module, torch.nn.Linear)}
    expected = {name for name, module in model.named_modules() if module in projections}
    targeted = get_peft_model(model, LoraConfig(target_modules=kind_of(base).target_modules))
    assert set(targeted.targeted_module_names) == expected
    assert touches_tower(name for name, _ in targeted.named_parameters() if "lora_" in name) == []


def test_lora_tensors_on_the_tower_are_found(base: Path) -> None:
    everywhere = with_random_lora(base, target_modules="all-linear")
    names = [name for name, _ in everywhere.named_parameters() if "lora_" in name]
    outside = {name for name in names if "language_model" not in name}
    assert outside
    assert set(touches_tower(names)) == outside


def test_language_layers_as_older_libraries_name_them_are_not_taken_for_a_tower() -> None:
    old = "base_model.model.model.layers.3.mlp.up_proj.lora_A.weight"
    tower = "base_model.model.visual.blocks.3.mlp.up_proj.lora_A.weight"
    assert touches_tower([old, tower]) == [tower]


def test_the_picture_matters(base: Path) -> None:
    model = load_base(base, torch.float32)
    red, blue = (
        logits(
            model, collated(base, [{**asked("What is it?", picture(TALL, colour)), "completion": said("A.")}])
        )
        for colour in ("red", "blue")
    )
    assert (red[0, -1] - blue[0, -1]).abs().max() > 0.1


def test_a_saved_adapter_gives_the_same_logits_again(base: Path, tmp_path: Path) -> None:
    batch = collated(base, completions())
    adapted = with_random_lora(base)
    wanted = logits(adapted, batch)
    adapted.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(load_base(base, torch.float32), tmp_path)
    torch.testing.assert_close(logits(again, batch), wanted)
    with again.disable_adapter():
        assert (logits(again, batch) - wanted).abs().max() > 1


@pytest.mark.parametrize("base", [a for a, k in BASE_KINDS.items() if k.served_as == "merged"], indirect=True)
def test_merged_weights_give_the_adapters_logits_from_a_plain_checkpoint(base: Path, tmp_path: Path) -> None:
    batch = collated(base, completions())
    adapted = with_random_lora(base)
    wanted = logits(adapted, batch)
    adapted.merge_and_unload().save_pretrained(tmp_path)
    assert kind_of(tmp_path) == kind_of(base)
    merged = load_base(tmp_path, torch.float32)
    torch.testing.assert_close(logits(merged, batch), wanted, rtol=1e-4, atol=1e-4)


def test_a_rows_logits_are_the_same_alone_and_in_a_batch(base: Path) -> None:
    model = load_base(base, torch.float32)
    together = collated(base, completions())
    batched = logits(model, together)
    for number, row in enumerate(completions()):
        alone = collated(base, [row])
        kept = batched[number][together["attention_mask"][number].bool()]
        torch.testing.assert_close(kept, logits(model, alone)[0], rtol=1e-4, atol=1e-4)


def test_labels_are_the_completion_and_its_end(base: Path) -> None:
    batch = collated(base, completions())
    tokenizer = load_processor(base).tokenizer
    spelling = TINY[base.name].spelling
    for labels, row in zip(batch["labels"], completions(), strict=True):
        end = spelling.end.replace("\\n", "\n")
        assert tokenizer.decode(labels[labels != -100]) == row["completion"][0]["content"] + end


def test_mllamas_cross_attention_covers_the_completion_as_in_one_conversation(mllama: Path) -> None:
    """The processor, given the whole conversation at once, is the judge."""
    processor = load_processor(mllama)
    for row in completions():
        batch = collated(mllama, [dict(row)])
        text = processor.apply_chat_template([*row["prompt"], *row["completion"]], tokenize=False)
        whole = processor(images=[row["images"]], text=[text], add_special_tokens=False, return_tensors="pt")
        assert torch.equal(batch["input_ids"], whole["input_ids"])
        assert torch.equal(batch["cross_attention_mask"], whole["cross_attention_mask"])


def test_mllamas_pairs_are_masked_like_its_completions(mllama: Path) -> None:
    chosen, rejected = said("A yellow square."), said("A square, and a great deal more besides it.")
    row = asked("What is it?", picture(WIDE))
    collator = preference_collator(kind_of(mllama), load_processor(mllama))
    assert collator is not None
    pairs = collator([{**row, "chosen": chosen, "rejected": rejected}])
    model = load_base(mllama, torch.float32)
    scores = logits(model, pairs)
    for number, completion in enumerate((chosen, rejected)):
        single = collated(mllama, [{**asked("What is it?", picture(WIDE)), "completion": completion}])
        kept = pairs["attention_mask"][number].bool()
        assert torch.equal(pairs["input_ids"][number][kept], single["input_ids"][0])
        assert int(pairs["completion_mask"][number].sum()) == int((single["labels"] != -100).sum())
        torch.testing.assert_close(scores[number][kept], logits(model, single)[0], rtol=1e-4, atol=1e-4)


def test_the_other_bases_keep_trls_own_collators(base: Path) -> None:
    kind, processor = kind_of(base), load_processor(base)
    own = kind.architecture == MLLAMA
    made = completion_collator(kind, processor), preference_collator(kind, processor)
    kinds = (DataCollatorForVisionLanguageModeling, DataCollatorForVisionPreference)
    assert [isinstance(collator, type_) for collator, type_ in zip(made, kinds, strict=True)] == [own, own]


def test_every_familys_template_fits_its_reasoning_format(base: Path) -> None:
    check_template(base, load_processor(base), FORMATS[kind_of(base).reasoning_format])


@pytest.mark.parametrize(
    ("base", "reasoning_format", "fault"),
    [
        ("Qwen3VLForConditionalGeneration", "think", "begins every reply with <think>"),
        ("Qwen2_5_VLForConditionalGeneration", "think_prefilled", "does not begin every reply with <think>"),
        # Only the wrapper of an answer stops GLM: the template writes nothing after a reply.
        ("Glm4vForConditionalGeneration", "think", "would never stop"),
    ],
    indirect=["base"],
)
def test_a_format_that_does_not_fit_the_template_is_refused(
    base: Path, reasoning_format: str, fault: str
) -> None:
    with pytest.raises(TrainingFailed, match=fault):
        check_template(base, load_processor(base), FORMATS[reasoning_format])

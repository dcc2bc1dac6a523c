"""The attention instrument: its numbers against plain eager attention, and against models known by design."""

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    MllamaConfig,
    MllamaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from align.attention import command
from align.attention.cross import CrossProbe
from align.attention.measure import Measured, image_tokens, measured, probe_of
from align.attention.metric import Metric
from align.attention.probe import Probe, run_layers
from align.attention.questions import Question, lab_questions
from align.attention.replies import Reply, prompt_inputs, with_reply
from align.attention.sections import Section, Split, sections_of, split_of
from align.attention.sinks import find_sink_dimensions
from align.attention.summary import curve_widths, differences, estimate, summary
from align.attention.table import tables
from align.attention.written import Measurement, write
from align.errors import RecipeError
from align.train.bases import BASE_KINDS, load_base, load_processor
from policies.bundle import BundleError
from policies.formats import FORMATS, THINK
from tests.align.tiny_bases import tiny_base

pytestmark = [  # transformers' own, in Mllama's tower and GLM's processor
    pytest.mark.filterwarnings("ignore:`hidden_state` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

IMAGE, START, END = 60, 61, 62
WIDTH = 32
VISION = {
    "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "in_channels": 3,
    "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 56,
    "fullatt_block_indexes": [0], "out_hidden_size": WIDTH,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Products this small take longer on two threads, much longer where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(**text: Any) -> Qwen2_5_VLForConditionalGeneration:
    """A random Qwen2.5-VL with grouped queries: four heads on two key heads."""
    torch.manual_seed(3)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 64, "hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **text,
        },
        vision_config=VISION, image_token_id=IMAGE, video_token_id=63,
        vision_start_token_id=START, vision_end_token_id=END,
    )  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    for name, weights in model.named_parameters():
        if "q_proj" in name or "k_proj" in name:
            torch.nn.init.normal_(weights, std=0.5)  # else attention is all but even
    return model


def asked(side: int = 2) -> dict[str, Any]:
    """A prompt whose picture has `side` times `side` tokens."""
    patches = 2 * side
    ids = torch.tensor([[5, 6, START, *[IMAGE] * side**2, END, 7, 8, 9]])
    torch.manual_seed(4)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == IMAGE).int(),
        "pixel_values": torch.randn(patches**2, 1176),
        "image_grid_thw": torch.tensor([[1, patches, patches]]),
    }


REPLY = (10, 11, 12, 13, 14, 15, 16, 17)


def looked(model: Any, prompt: dict[str, Any], dimensions: tuple[int, ...] = (), tau: float = 20.0) -> Any:
    inputs = with_reply(prompt, REPLY)
    probe = Probe(model, dimensions, tau)
    return probe.look(inputs, inputs["input_ids"][0] == IMAGE, prompt["input_ids"].shape[1])


def eager(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Every weight of every layer, as transformers gives them: layers x heads x T x T."""
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        weights = torch.stack(model(**inputs, output_attentions=True).attentions)[:, 0]
    model.set_attn_implementation("sdpa")
    return weights


def even(model: Any) -> Any:
    """The model with queries that ask for nothing, so that it attends evenly to all it sees."""
    for layer in model.get_decoder().layers:
        torch.nn.init.zeros_(layer.self_attn.q_proj.weight)
        torch.nn.init.zeros_(layer.self_attn.q_proj.bias)
    return model


@pytest.mark.parametrize("window", [None, 6])
def test_the_mass_is_that_of_plain_eager_attention(window: int | None) -> None:
    text = {"use_sliding_window": True, "sliding_window": window, "max_window_layers": 1} if window else {}
    model, prompt = tiny(**text), asked()
    inputs = with_reply(prompt, REPLY)
    image, first = inputs["input_ids"][0] == IMAGE, prompt["input_ids"].shape[1]
    weights = eager(model, inputs)
    found = looked(model, prompt)
    assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5)
    expected = weights[:, :, first:, image].sum(-1).mean(1)
    assert expected.std() > 0.01
    assert torch.allclose(found[Metric.MASS], expected, atol=1e-5)
    if window:
        seen = (weights > 0).all(1)[:, first:]
        share = seen[..., image].sum(-1) / seen.sum(-1)
        assert (share[1] == 0).any(), "the window leaves the picture out of some rows' sight"
        blind = share == 0
        assert torch.equal(found[Metric.LIFT].isnan(), blind)
        assert torch.allclose(found[Metric.LIFT][~blind], (expected / share)[~blind], atol=1e-4)


IN_SEQUENCE = sorted(set(BASE_KINDS) - {"MllamaForConditionalGeneration"})


def question() -> Question:
    return lab_questions("test", 1)[0]


@pytest.mark.parametrize("architecture", IN_SEQUENCE)
def test_the_mass_is_eager_attentions_for_every_family(architecture: str, tmp_path: Path) -> None:
    check_against_eager(tiny_base(architecture, tmp_path / "base"))


def test_the_mass_is_eager_attentions_on_the_labs_base(mini_base: Path) -> None:
    assert check_against_eager(mini_base) == 16


def check_against_eager(base: Path) -> int:
    """From the checkpoint on disk to the mass; returns how many tokens the picture has."""
    model, processor = load_base(base, torch.float32).eval(), load_processor(base)
    prompt = prompt_inputs(processor, question(), model)
    tokens = processor.tokenizer("I see a red circle. Which object?", add_special_tokens=False)["input_ids"]
    inputs, first = with_reply(prompt, tokens), prompt["input_ids"].shape[1]
    image = image_tokens(model, prompt, inputs)
    expected = eager(model, inputs)[:, :, first:, image].sum(-1).mean(1)
    found = probe_of(model, (), 20.0).look(inputs, image, first)
    assert expected.std() > 0
    assert torch.allclose(found[Metric.MASS], expected, atol=1e-5)
    return int(image.sum())


def test_mllama_is_measured_from_checkpoint_to_files(tmp_path: Path) -> None:
    base, out = tiny_base("MllamaForConditionalGeneration", tmp_path / "base"), tmp_path / "out"
    ran("--base", str(base), "--count", "2", "--max-tokens", "4", "--out", str(out))
    told = json.loads((out / "attention.json").read_text())
    assert told["method"]["format"] == "llava_cot"
    assert set(told["models"]["base"]["overall"]["all"]) == {"pull"}
    assert told["models"]["base"]["overall"]["all"]["pull"]["value"] > 0


def test_all_columns_together_weigh_one() -> None:
    prompt = asked()
    inputs = with_reply(prompt, REPLY)
    everything = torch.ones(inputs["input_ids"].shape[1], dtype=torch.bool)
    found = Probe(tiny(), (), 20.0).look(inputs, everything, prompt["input_ids"].shape[1])
    for metric in (Metric.MASS, Metric.LIFT):
        assert torch.allclose(found[metric], torch.ones(()), atol=1e-5)


def test_rows_a_few_at_a_time_are_rows_at_once() -> None:
    model, prompt = tiny(), asked()
    inputs, first = with_reply(prompt, REPLY), prompt["input_ids"].shape[1]
    image = inputs["input_ids"][0] == IMAGE
    one, all_ = (Probe(model, (), 20.0, size).look(inputs, image, first) for size in (1, 1 << 20))
    assert torch.allclose(one[Metric.MASS], all_[Metric.MASS], atol=1e-7)


def test_a_model_that_cannot_look_at_the_picture_has_no_mass() -> None:
    model = even(tiny())
    with torch.no_grad():
        model.model.visual.merger.mlp[2].weight.zero_()
        model.model.visual.merger.mlp[2].bias.copy_(10 * torch.eye(WIDTH)[0])
        model.get_input_embeddings().weight[:, 0] = 0
        for layer in model.get_decoder().layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
            # Each head asks in its slowest dimension, which position hardly turns; there image keys repel.
            layer.self_attn.q_proj.bias[3::8] = 1
            layer.self_attn.k_proj.weight[3::8, 0] = -1000
    found = looked(model, asked())
    for metric in (Metric.MASS, Metric.LIFT, Metric.MASS_NO_SINKS):
        assert torch.equal(found[metric], torch.zeros(3, len(REPLY)))


def test_a_longer_picture_has_more_mass_and_the_same_lift_where_attention_is_even() -> None:
    model = even(tiny())
    small, large = looked(model, asked(2)), looked(model, asked(4))
    places = torch.arange(len(REPLY))
    assert torch.allclose(small[Metric.MASS], 4 / (12 + places).expand(3, -1), atol=1e-6)
    assert torch.allclose(large[Metric.MASS], 16 / (24 + places).expand(3, -1), atol=1e-6)
    for found in (small, large):
        assert torch.allclose(found[Metric.LIFT], torch.ones(3, len(REPLY)), atol=1e-5)


def test_the_sink_dimension_is_found_and_sinks_leave_both_sides() -> None:
    model, prompt = even(tiny()), asked()
    with torch.no_grad():
        model.get_input_embeddings().weight[6, 9] = 1000  # one text token of the prompt
    layers = list(model.get_decoder().layers)
    dimensions = find_sink_dimensions(lambda inputs: run_layers(model, inputs), layers, [prompt], tau=5)
    assert dimensions == (9,)
    found = looked(model, prompt, dimensions, tau=5)
    seen = 12 + torch.arange(len(REPLY))
    assert torch.allclose(found[Metric.SINKS], (1 / seen).expand(3, -1), atol=1e-6)
    assert torch.allclose(found[Metric.MASS_NO_SINKS], (4 / (seen - 1)).expand(3, -1), atol=1e-6)
    assert torch.allclose(found[Metric.LIFT_NO_SINKS], torch.ones(()), atol=1e-5)
    assert torch.equal(found[Metric.IMAGE_SINKS], torch.zeros(3, len(REPLY)))


def test_where_every_image_token_is_a_sink_lift_without_sinks_is_unknown_not_zero() -> None:
    model = even(tiny())
    with torch.no_grad():
        model.model.visual.merger.mlp[2].bias[9] = 1000
    found = looked(model, asked(), (9,), tau=5)
    assert torch.allclose(found[Metric.IMAGE_SINKS], found[Metric.MASS], atol=1e-6)
    assert found[Metric.LIFT_NO_SINKS].isnan().all()


def test_the_model_is_left_as_it_was() -> None:
    model, prompt = tiny(), asked()
    before = model(**prompt).logits
    looked(model, prompt)
    assert torch.equal(model(**prompt).logits, before)
    assert model.config.get_text_config()._attn_implementation == "sdpa"
    assert not any(layer._forward_pre_hooks for layer in model.get_decoder().layers)


def test_attention_with_a_soft_cap_is_refused_not_measured_wrongly() -> None:
    prompt = asked() | {"softcap": 30.0}  # transformers hands such options down to the attention function
    with pytest.raises(RecipeError, match="softcap"):
        looked(tiny(), prompt)


def test_a_reply_that_spells_an_image_token_is_refused() -> None:
    model, prompt = tiny(), asked()
    reply = Reply("one", "", (10, IMAGE, 11), (Section.ANSWER,) * 3, False)
    with pytest.raises(RecipeError, match="no picture"):
        measured(probe_of(model, (), 20.0), model, prompt, reply)


SPLITS = [
    ("<think>\n[visual] A cup.\n</think>\nIt is a cup.", Split.WHOLE),
    ("It is a cup.", Split.NO_THINKING),
    ("<think></think>It is a cup.", Split.NO_THINKING),
    ("<think>\n[visual] A cup", Split.NO_ANSWER),
    ("", Split.EMPTY),
]


@pytest.mark.parametrize(("text", "split"), SPLITS)
def test_a_reply_without_both_parts_is_counted_as_such(text: str, split: Split) -> None:
    sections = sections_of(list(text), THINK)
    assert split_of(sections) is split
    for character, section in zip(text, sections, strict=True):
        assert section is None or character not in "\n<>"


def test_the_parts_are_those_of_the_readers_format() -> None:
    text = "<SUMMARY>\nI look.\n</SUMMARY>\n<REASONING>So t.</REASONING><CONCLUSION>A cup.</CONCLUSION>"
    found = sections_of(list(text), FORMATS["llava_cot"])
    by_section = {
        section: "".join(one for one, at in zip(text, found, strict=True) if at is section)
        for section in (Section.THINK, Section.ANSWER)
    }
    assert by_section == {Section.THINK: "I look.So t.", Section.ANSWER: "A cup."}


def test_letters_of_a_tag_are_no_place_to_look_for_words() -> None:
    found = sections_of(["<think>", "t", "</think>", "n"], THINK)
    assert found == [None, Section.THINK, None, Section.ANSWER]


def test_a_token_across_a_border_or_inside_a_character_is_not_guessed() -> None:
    pieces = ["<think>Look", " here", None, "é", ".</", "think>", "Yes", None]
    expected = [None, Section.THINK, Section.THINK, Section.THINK, None, None, Section.ANSWER, None]
    assert sections_of(pieces, THINK) == expected


def measured_replies() -> tuple[list[Reply], list[Measured]]:
    """One reply with thinking, one without, one with nothing, over the same random model."""
    model, prompt = tiny(), asked()
    probe = probe_of(model, (), 20.0)
    think, answer = Section.THINK, Section.ANSWER
    whole: tuple[Section | None, ...] = (None, think, think, think, None, answer, answer, answer)
    replies = [
        Reply("one", "", REPLY, whole, False),
        Reply("two", "", REPLY, (answer,) * 8, False),
        Reply("three", "", (), (), True),
    ]
    return replies, [measured(probe, model, prompt, reply) for reply in replies]


def test_sections_are_means_over_their_own_tokens() -> None:
    _, found = measured_replies()
    rows = looked(tiny(), asked())[Metric.MASS].numpy()
    by_layer = found[0].by_layer
    assert np.allclose(by_layer[Section.ALL][Metric.MASS], rows.mean(1), atol=1e-6)
    assert np.allclose(by_layer[Section.THINK][Metric.MASS], rows[:, 1:4].mean(1), atol=1e-6)
    assert np.allclose(by_layer[Section.ANSWER][Metric.MASS], rows[:, 5:].mean(1), atol=1e-6)
    assert np.allclose(found[0].by_position[Section.ANSWER][Metric.MASS], rows[:, 5:].mean(0), atol=1e-6)


def test_replies_without_thinking_weigh_nothing_in_it() -> None:
    replies, found = measured_replies()
    seen = summary(replies, found, curve_widths(found))
    assert seen.replies == {Split.WHOLE: 1, Split.NO_THINKING: 1, Split.EMPTY: 1}
    assert seen.cut == 1
    assert seen.overall[Section.THINK][Metric.MASS].n == 1
    assert seen.overall[Section.ALL][Metric.MASS].n == 2
    alone = float(found[0].by_layer[Section.THINK][Metric.MASS].mean())
    assert seen.overall[Section.THINK][Metric.MASS].value == pytest.approx(alone, rel=1e-5)


def test_files_and_tables_say_what_was_measured_and_nothing_else(tmp_path: Path) -> None:
    replies, found = measured_replies()
    one = summary(replies[1:], found[1:], curve_widths(found))
    change = {"PST": differences(found, found[1:])}
    measurement = Measurement({"tau": 20.0}, (0, 1, 2), {"base": one, "PST": one}, change)
    write(measurement, tmp_path)
    told = json.loads((tmp_path / "attention.json").read_text())
    assert told["models"]["base"]["replies"] == {"no_thinking": 1, "empty": 1}
    assert set(told["models"]["base"]["overall"]) == {"all"}
    assert told["models"]["base"]["overall"]["all"]["mass"]["low"] is None, "one reply has no interval"
    lines = list(csv.DictReader((tmp_path / "attention.csv").read_text().splitlines()))
    assert {line["section"] for line in lines} == {"all"}
    by_layer = [
        line for line in lines if (line["model"], line["metric"], line["over"]) == ("PST", "mass", "layer")
    ]
    assert [line["at"] for line in by_layer] == ["0", "1", "2"]
    difference = next(line for line in lines if line["model"] == "PST less base")
    assert float(difference["value"]) == 0
    assert len(list(tables(measurement))) == 3


def test_the_interval_is_the_normal_one_where_the_sample_is_large() -> None:
    sample = np.random.default_rng(1).normal(0.3, 0.1, 400).astype(np.float32)
    found = estimate(np.append(sample, np.float32("nan")))
    assert found is not None
    assert found.n == 400
    half, mean = float(1.96 * sample.std() / 20), float(sample.mean())
    assert found.low == pytest.approx(mean - half, abs=half / 5)
    assert found.high == pytest.approx(mean + half, abs=half / 5)
    assert estimate(np.array([], np.float32)) is None


def mllama(gate: float) -> MllamaForConditionalGeneration:
    """A random Mllama whose second layer of three is the cross-attention layer."""
    torch.manual_seed(5)
    config = MllamaConfig(
        text_config={
            "vocab_size": 64, "hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "cross_attention_layers": [1],
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 16, "attention_heads": 2, "num_hidden_layers": 2, "num_global_layers": 1,
            "intermediate_size": 16, "intermediate_layers_indices": [0], "vision_output_dim": 32,
            "image_size": 28, "patch_size": 14, "max_num_tiles": 1, "supported_aspect_ratios": [[1, 1]],
        },
        image_token_index=IMAGE,
    )  # fmt: skip
    model = MllamaForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.get_decoder().layers[1].cross_attn_attn_gate.fill_(gate)
    return model


def pulled(gate: float) -> torch.Tensor:
    ids = torch.tensor([[1, IMAGE, 7, 8]])
    torch.manual_seed(6)
    prompt = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.randn(1, 1, 1, 3, 28, 28),
        "aspect_ratio_ids": torch.tensor([[1]]),
        "aspect_ratio_mask": torch.tensor([[[1]]]),
        "cross_attention_mask": torch.ones(1, 4, 1, 1, dtype=torch.long),
    }
    model = mllama(gate)
    probe = probe_of(model, (), 20.0)
    assert isinstance(probe, CrossProbe)
    assert probe.layers == (1,)
    reply = Reply("one", "", REPLY, (Section.ANSWER,) * 8, False)
    found = measured(probe, model, prompt, reply)
    return torch.tensor(found.by_position[Section.ALL][Metric.PULL])


def test_of_mllama_the_pull_of_its_cross_attention_is_measured() -> None:
    closed, half, open_ = pulled(0.0), pulled(0.5), pulled(1.5)
    assert torch.equal(closed, torch.zeros(8))
    assert (half > 0).all()
    gates = torch.tensor([0.5, 1.5]).tanh()
    assert torch.allclose(open_ / half, gates[1] / gates[0], rtol=1e-4)


def ran(*words: str) -> None:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["attention", *words])
    arguments.command(arguments)


def test_the_command_measures_base_and_adapter(
    mini_base: Path, mini_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapters = ("--adapter", f"PST={mini_bundle}", "--adapter", f"twin={mini_bundle}")
    words = ("--base", str(mini_base), *adapters, "--count", "1", "--max-tokens", "8")
    ran(*words, "--text", "base", "--out", str(tmp_path))
    told = json.loads((tmp_path / "attention.json").read_text())
    assert told["models"]["base"]["replies"] == {"no_answer": 1}
    assert told["models"]["base"]["cut"] == 1
    assert told["method"]["sink_dimensions"] == [17, 507]
    assert told["differences"]["PST"]["all"]["mass"]["value"] != 0, "the same words, another model"
    assert told["models"]["twin"] == told["models"]["PST"]
    suffixes = {path.suffix for path in tmp_path.iterdir()}
    assert suffixes == {".json", ".jsonl", ".csv", ".svg", ".png"}
    assert not (tmp_path / "replies-PST.jsonl").exists()
    assert "image mass" in capsys.readouterr().out


def test_rows_with_replies_are_measured_as_they_are(mini_base: Path, tmp_path: Path) -> None:
    from align.mini.recipe import load_lab_recipe
    from align.mini.train import reasoner_rows
    from align.records import write_rows

    rows = reasoner_rows(load_lab_recipe(), tmp_path, 2)
    write_rows(tmp_path / "rows.jsonl", rows)
    out = tmp_path / "out"
    ran(
        "--base", str(mini_base), "--rows", str(tmp_path / "rows.jsonl"), "--text", "given", "--out", str(out)
    )
    kept = [json.loads(line) for line in (out / "replies-given.jsonl").read_text().splitlines()]
    assert [one["text"] for one in kept] == [row.completion for row in rows]
    assert json.loads((out / "attention.json").read_text())["models"]["base"]["replies"] == {"whole": 2}


WRONG = [
    (("--adapter", "PST"), "NAME=DIR"),
    (("--adapter", "own=here"), "taken"),
    (("--adapter", "../a=here"), "not an adapter name"),
    (("--adapter", "a=here", "--adapter", "a=there"), "taken"),
    (("--text", "nobody"), "nobody here"),
    (("--text", "given"), "--rows"),
    (("--count", "0"), "--count"),
    (("--adapter", "a=here"), "adapter_config.json"),
]


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_what_cannot_be_measured_is_said_before_anything_is_loaded(
    words: tuple[str, ...], said: str, mini_base: Path, tmp_path: Path
) -> None:
    with pytest.raises((RecipeError, BundleError), match=said):
        ran("--base", str(mini_base), "--out", str(tmp_path), *words)


def test_an_adapter_of_another_base_is_refused(mini_base: Path, mini_bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    config = json.loads((mini_base / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"image_token_id": 3}))
    with pytest.raises(RecipeError, match="another model"):
        ran("--base", str(other), "--adapter", f"PST={mini_bundle}", "--out", str(tmp_path / "out"))

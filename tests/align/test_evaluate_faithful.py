"""Claims about source-tag faithfulness: what a step is, what a blank picture costs it, what is unscored."""

import base64
import io
import json
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalSample
from inspect_ai.model import ContentReasoning, ContentText, ModelOutput
from inspect_ai.solver import generate
from PIL import Image

from align.errors import RecipeError, StageAborted
from align.evaluate.endpoint import Endpoint
from align.evaluate.faithful import STEPS_FILE, SUMMARY_FILE, How, measure
from align.evaluate.faithful_command import add_parser
from align.evaluate.replies_said import CannotBlank, Said, blanked, replies_of, said_in
from align.evaluate.results import Faithfulness
from align.evaluate.samples import messages
from align.evaluate.step_tokens import tagged_steps, tokens_of
from policies.formats import FORMATS, THINK
from policies.reply import Source
from tests.align.judging import evaluated, fake_model
from tests.align.scripted_vllm import LIKELY, UNLIKELY, ScriptedVllm

REPLY = (
    "<think>\n[visual] The picture shows a dog. [P01.D1]\n[textual] The user asks for a song.\n"
    "[visual+textual] A song about a dog hurts nobody.\nVerdict: comply [P01.R5]\n</think>\nLa la."
)


def picture() -> str:
    image = Image.new("RGB", (30, 20), (200, 100, 0))
    image.paste((0, 0, 250), (0, 0, 15, 20))
    out = io.BytesIO()
    image.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def said(number: int = 0, text: str | None = REPLY, url: str | None = None) -> Said:
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url or picture()}}]
    parts.append({"type": "text", "text": f"Sing about this, number {number}."})
    return Said(f"reply-{number}", ({"role": "user", "content": parts},), text)


@pytest.fixture
def vllm() -> Iterator[ScriptedVllm]:
    with ScriptedVllm(seen=frozenset({"dog"})).running() as scripted:
        yield scripted


def measured(vllm: ScriptedVllm, replies: list[Said], out: Path, **how: Any) -> list[Faithfulness]:
    return measure(Endpoint(vllm.url, "pst@1"), replies, How(THINK, **how), out)


def summed_up(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / SUMMARY_FILE).read_text())
    return told


def test_a_step_is_its_words_without_tag_and_closing_citations() -> None:
    steps = tagged_steps(REPLY, THINK)
    assert [(step.source, REPLY[step.start : step.stop]) for step in steps] == [
        (Source.VISUAL, "The picture shows a dog."),
        (Source.TEXTUAL, "The user asks for a song."),
        (Source.BOTH, "A song about a dog hurts nobody."),
    ]


def test_steps_with_the_same_words_are_told_apart_and_untagged_ones_passed_over() -> None:
    text = "<think>\nA dog.\n[visual]  A dog.\nAnd [P01.D1] more.\n\n[textual] A dog. [P02.B1]\n</think>x"
    steps = tagged_steps(text, THINK)
    assert [(step.number, step.source, text[step.start : step.stop]) for step in steps] == [
        (1, Source.VISUAL, "A dog.\nAnd [P01.D1] more."),
        (2, Source.TEXTUAL, "A dog."),
    ]
    assert steps[1].start == text.index("A dog. [P02.B1]")


def test_steps_of_several_sections_are_found() -> None:
    text = (
        "<SUMMARY>\nI look.\n</SUMMARY>\n<CAPTION>\n[visual] A cat.\n</CAPTION>\n<REASONING>\n[textual] Ok.\n"
    )
    steps = tagged_steps(text, FORMATS["llava_cot"])
    assert [text[step.start : step.stop] for step in steps] == ["A cat.", "Ok."]


@pytest.mark.parametrize(
    ("pieces", "own"),
    [
        (["[", "visual", "]", " A", " dog", ".", "\n", "["], [3, 4, 5]),
        (["[visual] ", "A dog", ".\n", "[P01.D1]"], [1, 2]),  # the line's end is nobody's
        (["[visual] A", " dog", "."], [1, 2]),  # a tag's sign and a word: neither's
        (["[visual]", " A dog", ".["], [1]),
        (["[visual]", " A ", "", "", "dog", "."], [1, 2, 3, 4, 5]),  # bytes go with their character
        (["[visual]", "", " A dog.", ""], [1, 2]),
    ],
)
def test_a_token_across_a_border_counts_where_all_its_letters_are(pieces: list[str], own: list[int]) -> None:
    (step,) = tagged_steps("<think>[visual] A dog.\n</think>", THINK)
    assert tokens_of(step, ["<think>", *pieces]) == [place + 1 for place in own]


def test_a_first_token_may_begin_before_the_reply() -> None:
    (step,) = tagged_steps("[visual] A dog.", FORMATS["think_prefilled"])
    assert tokens_of(step, ["\n[visual]", " A", " dog."], begin=-1) == [1, 2]


def test_what_needs_the_picture_loses_without_it_and_what_does_not_keeps(
    vllm: ScriptedVllm, tmp_path: Path
) -> None:
    visual, textual, both = measured(vllm, [said(number) for number in range(4)], tmp_path)
    lost = LIKELY - UNLIKELY
    # One token of six, none of seven, one of eight.
    assert (visual.source, visual.steps, visual.mean) == ("visual", 4, pytest.approx(lost / 6))
    assert (textual.source, textual.steps, textual.mean) == ("textual", 4, 0.0)
    assert (both.source, both.steps, both.mean) == ("visual+textual", 4, pytest.approx(lost / 8))
    assert visual.low == pytest.approx(visual.high)  # every reply alike
    survive = {one.source: (one.survives.value, one.threshold) for one in (visual, textual, both)}
    assert survive == {"visual": (0.0, 0.1), "textual": (1.0, 0.1), "visual+textual": (0.0, 0.1)}


def test_only_the_picture_differs_between_the_two_requests(vllm: ScriptedVllm, tmp_path: Path) -> None:
    measured(vllm, [said(0), said(1)], tmp_path, concurrency=1)
    pictured, blank = vllm.asked[-2:]
    assert pictured["messages"][-1] == {"role": "assistant", "content": REPLY}
    assert (pictured["continue_final_message"], pictured["add_generation_prompt"]) == (True, False)
    assert (pictured["prompt_logprobs"], pictured["max_tokens"], pictured["model"]) == (0, 1, "pst@1")
    url = blank["messages"][0]["content"][0]["image_url"].pop("url")
    assert pictured["messages"][0]["content"][0]["image_url"].pop("url") == picture()
    assert pictured == blank
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as grey:
        assert grey.size == (30, 20)
        ((count, (red, green, blue)),) = grey.getcolors() or ()
        assert (count, red, green) == (600, green, blue)
        # ITU-R 601: orange 118, blue 29 in equal parts.
        assert red == pytest.approx(74, abs=2)


def test_an_interval_comes_from_resampling_replies(vllm: ScriptedVllm, tmp_path: Path) -> None:
    other = REPLY.replace("dog", "cat")
    visual, *_ = measured(vllm, [said(n, REPLY if n % 2 else other) for n in range(20)], tmp_path)
    whole = (LIKELY - UNLIKELY) / 6
    assert visual.mean == pytest.approx(whole / 2)
    assert 0 < visual.low < visual.mean < visual.high < whole
    # Half of 20: the normal approximation says 0.5 ± 0.22.
    assert visual.high / whole == pytest.approx(0.72, abs=0.06)


def test_one_reply_gives_no_interval_and_so_no_result(vllm: ScriptedVllm, tmp_path: Path) -> None:
    assert measured(vllm, [said()], tmp_path) == []
    visual = summed_up(tmp_path)["sources"][0]
    assert (visual["source"], visual["steps"], visual["gap"]) == ("visual", 1, None)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (float("nan"), "a token without a finite log-probability"),
        (-9999.0, "a token without a finite log-probability"),
        (0.5, "a token without a finite log-probability"),
        (None, "a token without a finite log-probability"),
        ("drop", "no prompt_logprobs"),
        ("lose", "the prompt does not end with the reply"),
        ("refuse", "Error code: 400"),
    ],
)
def test_a_bad_answer_is_unscored_and_counted_never_a_gap_of_nothing(
    fault: Any, reason: str, vllm: ScriptedVllm, tmp_path: Path
) -> None:
    vllm.faults = {"song": fault}
    replies = [said(0, REPLY.replace("song", "poem")), said(1), said(2, REPLY.replace("song", "tune"))]
    visual, *_ = measured(vllm, replies, tmp_path, max_unscored=0.5)
    assert visual.steps == 2
    ((told, count),) = summed_up(tmp_path)["unscored"].items()
    assert told.startswith(reason)
    assert count == 1


def test_too_many_unscored_replies_give_no_result(vllm: ScriptedVllm, tmp_path: Path) -> None:
    vllm.faults = {"song": "drop"}
    replies = [said(0), *(said(n, REPLY.replace("song", "poem")) for n in range(1, 5))]
    measured(vllm, replies[1:], tmp_path)
    with pytest.raises(StageAborted, match=r"1 of 5 replies are unscored: no prompt_logprobs \(1\)"):
        measured(vllm, replies, tmp_path)
    assert not (tmp_path / SUMMARY_FILE).exists(), "not even the one of before, which was of fewer replies"
    assert len((tmp_path / STEPS_FILE).read_text().splitlines()) == 5


def test_replies_without_tags_are_scored_and_say_nothing(vllm: ScriptedVllm, tmp_path: Path) -> None:
    replies = [said(n, "<think>\nIt is a dog.\n</think>\nA dog.") for n in range(3)]
    assert measured(vllm, replies, tmp_path) == []
    told = summed_up(tmp_path)
    assert (told["without_steps"], told["unscored"], told["sources"]) == (3, {}, [])


def test_a_template_that_opens_the_reasoning_again_is_refused(vllm: ScriptedVllm, tmp_path: Path) -> None:
    vllm.opening = "<think>\n\n</think>\n"
    with pytest.raises(RecipeError, match="does not continue a given reply as one to come"):
        measured(vllm, [said(0), said(1)], tmp_path)


def test_an_engine_that_is_not_there_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("align.evaluate.faithful.RETRIES", 0)
    with pytest.raises(RecipeError, match="no engine answers at http://127"):
        measure(Endpoint("http://127.0.0.1:9/v1", "pst"), [said()], How(THINK), tmp_path)


def test_what_was_measured_is_not_asked_again_and_what_was_unscored_is(
    vllm: ScriptedVllm, tmp_path: Path
) -> None:
    vllm.faults = {"song": "drop"}
    replies = [said(0, REPLY.replace("song", "poem")), said(1), said(2, REPLY.replace("song", "tune"))]
    measured(vllm, replies, tmp_path, max_unscored=1.0)
    with (tmp_path / STEPS_FILE).open("a") as file:
        file.write('{"id": "reply-9", "dig')  # torn by a kill
    vllm.faults.clear()
    vllm.asked.clear()
    (visual, *_) = measured(vllm, replies, tmp_path)
    assert visual.steps == 3
    # Two requests for the template's check, then one for each picture.
    assert ["number 1" in body["messages"][0]["content"][1]["text"] for body in vllm.asked] == [True] * 4
    lines = [json.loads(line) for line in (tmp_path / STEPS_FILE).read_text().splitlines()]
    assert [line["id"] for line in lines] == ["reply-0", "reply-1", "reply-2"]
    assert measured(vllm, replies, tmp_path)[0] == visual
    assert len(vllm.asked) == 4  # all is there, so no engine is needed


def test_two_replies_with_one_id_are_refused(vllm: ScriptedVllm, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="same id"):
        measured(vllm, [said(), said()], tmp_path)


@pytest.mark.parametrize("url", ["http://example.org/a.png", "data:image/png;base64,AAAA"])
def test_a_picture_that_cannot_be_blanked_is_unscored(url: str, vllm: ScriptedVllm, tmp_path: Path) -> None:
    with pytest.raises(CannotBlank):
        blanked(said(url=url).messages)
    with pytest.raises(CannotBlank, match="no picture"):
        blanked([{"role": "user", "content": "Sing."}])
    measured(vllm, [said(0), said(1), said(2, url=url)], tmp_path, max_unscored=0.5)
    assert sum(summed_up(tmp_path)["unscored"].values()) == 1


def test_a_reply_that_never_came_is_unscored(vllm: ScriptedVllm, tmp_path: Path) -> None:
    measured(vllm, [said(0, None), said(1), said(2)], tmp_path, max_unscored=0.5)
    assert summed_up(tmp_path)["unscored"] == {"no text to score": 1}


def test_replies_are_read_from_lines_of_json(tmp_path: Path) -> None:
    (tmp_path / "dog.png").write_bytes(base64.b64decode(picture().partition(",")[2]))
    reasoning, answer = REPLY.removeprefix("<think>\n").split("\n</think>\n")
    lines = [
        {"id": "a", "instruction": "Sing.", "image": "dog.png", "text": REPLY, "more": 1},
        {"id": "b", "messages": list(said().messages), "reasoning": reasoning, "answer": answer},
    ]
    path = tmp_path / "replies.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    first, second = replies_of(path, THINK)
    assert first.messages[0]["content"] == [
        {"type": "image_url", "image_url": {"url": picture()}},
        {"type": "text", "text": "Sing."},
    ]
    assert (first.text, second.text) == (REPLY, REPLY)
    assert second.messages == said().messages


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({"id": "a", "text": "x"}, "give messages, or instruction and image"),
        ({"id": "a", "instruction": "x", "image": picture()}, "give text, or reasoning and answer"),
        ({"instruction": "x", "image": picture(), "text": "x"}, "id: Field required"),
    ],
)
def test_a_line_that_says_too_little_is_named(line: dict[str, str], fault: str, tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps(line))
    with pytest.raises(RecipeError, match=rf"replies.jsonl:1: .*{fault}"):
        replies_of(path, THINK)


# Inspect's own call of tenacity, and its log's streams.
@pytest.mark.filterwarnings("ignore:The 'initial' parameter:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")
@pytest.mark.parametrize("apart", [False, True])
def test_replies_are_read_from_a_log_of_the_harness(apart: bool, tmp_path: Path) -> None:
    """Whether the reasoning came in a field of its own or inside the text, the model wrote the same."""
    reasoning, answer = REPLY.removeprefix("<think>\n").split("\n</think>\n")
    parts = [ContentReasoning(reasoning=reasoning), ContentText(text=answer)]
    model = fake_model(lambda asked: ModelOutput(model="m") if "1" in asked else parts if apart else REPLY)
    rows = [Sample(id=f"s{n}", input=messages(list(map(dict, said(n).messages)))) for n in range(2)]
    log = evaluated(Task(MemoryDataset(rows), solver=generate()), model, None, tmp_path)
    found = replies_of(Path(log.location.removeprefix("file://")), THINK)
    # Where nothing came there is nothing to score, which is not the same as nobody having been asked.
    assert found == [Said("s0:1", said(0).messages, REPLY), Said("s1:1", said(1).messages, None)]


@pytest.mark.parametrize(
    "output",
    [
        ModelOutput.from_content("m", "The question is too long.", stop_reason="model_length"),
        ModelOutput.from_content(
            "m", [ContentText(text="Withheld.", refusal=True)], stop_reason="content_filter"
        ),
    ],
)
def test_an_errors_text_and_a_gateways_words_are_not_the_models(output: ModelOutput) -> None:
    sample = EvalSample(id="s", epoch=1, input="Sing.", target="", output=output)
    assert said_in(sample, THINK).text is None


def test_the_command_prints_a_table_and_leaves_its_files(
    vllm: ScriptedVllm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commanded(vllm.url, tmp_path)
    shown = capsys.readouterr().out
    assert "pst@1: 3 replies, 0 unscored" in shown
    assert "0.333 [0.333, 0.333]" in shown
    assert len((tmp_path / "out" / STEPS_FILE).read_text().splitlines()) == 3


def test_other_weights_under_the_same_name_are_measured_anew(vllm: ScriptedVllm, tmp_path: Path) -> None:
    vllm.roots = {"base": "/models/base", "pst@1": "/bundles/first"}
    commanded(vllm.url, tmp_path)
    asked = len(vllm.asked)
    assert asked > 0
    commanded(vllm.url, tmp_path)
    assert len(vllm.asked) == asked
    vllm.roots["pst@1"] = "/bundles/second"
    commanded(vllm.url, tmp_path)
    assert len(vllm.asked) == 2 * asked
    assert summed_up(tmp_path / "out")["version"] == "/bundles/second"


def commanded(url: str, place: Path) -> None:
    """Measure three replies as from the command line, into `out`."""
    lines = [{"id": str(n), "messages": list(said(n).messages), "text": REPLY} for n in range(3)]
    (place / "r.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    parser = ArgumentParser()
    add_parser(parser.add_subparsers())
    flags = ["--base-url", url, "--model", "pst@1", "--replies", str(place / "r.jsonl")]
    arguments = parser.parse_args(["faithful", *flags, "--out", str(place / "out")])
    arguments.command(arguments)

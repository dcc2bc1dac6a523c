"""A model's reply as the evaluation reads it: the same whichever way the harness hands it over."""

import json

import pytest
from inspect_ai.model import Content, ContentReasoning, ContentText, ModelOutput, get_model

from align.evaluate.reply import Reply, View, format_named, reply_of
from policies.formats import FORMATS
from policies.reply import Flag, Verdict
from tests.align.scripted_teacher import Scripted, scripted

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings(
        "ignore:The 'initial' parameter is deprecated:DeprecationWarning"
    ),  # Inspect's
]

THINKING = (
    "[visual] The picture shows a knife. [P19.D2]\n[textual] It asks for a recipe.\nVerdict: comply [P19.R5]"
)
ANSWER = "Cut the bread into slices."
RAW = {
    "think": f"<think>\n{THINKING}\n</think>\n{ANSWER}",
    "think_prefilled": f"{THINKING}\n</think>\n{ANSWER}",
    "llava_cot": f"<REASONING>\n{THINKING}\n</REASONING>\n<CONCLUSION>\n{ANSWER}\n</CONCLUSION>",
    "kimi_triangle": f"◁think▷\n{THINKING}\n◁/think▷\n{ANSWER}",
    "glm_box": f"<think>\n{THINKING}\n</think>\n<answer><|begin_of_box|>{ANSWER}<|end_of_box|></answer>",
    "gemma_channel": f"<|channel>thought\n{THINKING}\n<channel|>{ANSWER}",
}


def read(content: str | list[Content], form: str = "think") -> Reply:
    return reply_of(ModelOutput.from_content("model", content), FORMATS[form])


def apart(reasoning: str, text: str) -> list[Content]:
    return [ContentReasoning(reasoning=reasoning), ContentText(text=text)]


async def over_the_wire(*, finish: str = "stop", **message: str | None) -> ModelOutput:
    """What the harness makes of a message of an OpenAI-compatible endpoint."""
    whole = {"role": "assistant", "content": None, **message}
    body = {
        "id": "1",
        "model": "m",
        "choices": [{"index": 0, "message": whole, "finish_reason": finish}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    }
    return await answered(Scripted(body=json.dumps(body).encode()))


async def answered(answer: Scripted) -> ModelOutput:
    """What the harness makes of an HTTP answer."""
    with scripted(answer) as (_, url):
        async with get_model("openai-api/gateway/model", base_url=url, api_key="none") as model:
            return await model.generate("?")


@pytest.mark.parametrize("form", FORMATS)
def test_raw_or_with_the_reasoning_apart_a_reply_is_the_same(form: str) -> None:
    raw, separate = read(RAW[form], form), read(apart(THINKING, ANSWER), form)
    assert raw == separate
    assert (raw.reasoning, raw.answer) == (THINKING, ANSWER)
    assert raw.trace.verdict is Verdict.COMPLY
    assert raw.trace.well_formed


def test_four_sections_of_llava_cot_are_one_reasoning_and_one_answer() -> None:
    text = (
        "<SUMMARY>First the plan.</SUMMARY><CAPTION>A knife.</CAPTION>"
        "<REASONING>It is for bread.</REASONING><CONCLUSION>Slice it.</CONCLUSION>"
    )
    reply = read(text, "llava_cot")
    assert reply.reasoning == "First the plan.\nA knife.\nIt is for bread."
    assert reply.answer == "Slice it."


def test_a_reply_that_was_cut_off_in_its_reasoning_has_no_answer() -> None:
    reply = read("<think>\nThe picture shows")
    assert reply.answer is None
    assert reply.view(View.ANSWER) == ""
    assert reply.view(View.WHOLE) == reply.reasoning == "The picture shows"
    assert Flag.UNCLOSED_REASONING in reply.trace.flags


@pytest.mark.parametrize("text", ["", " \n "])
def test_an_answer_of_blanks_is_none(text: str) -> None:
    assert read(apart(THINKING, text)).answer is None
    assert read(f"<think>{THINKING}</think>{text}").answer is None


def test_no_output_at_all_is_a_reply_without_anything() -> None:
    reply = reply_of(ModelOutput(model="model"), FORMATS["think"])
    assert (reply.reasoning, reply.answer, reply.view(View.WHOLE)) == ("", None, "")


def test_a_model_that_does_not_reason_has_an_answer_alone() -> None:
    reply = read(ANSWER)
    assert (reply.reasoning, reply.answer, reply.view(View.WHOLE)) == ("", ANSWER, ANSWER)


def test_the_whole_is_reasoning_and_answer_without_tags() -> None:
    assert read(RAW["think"]).view(View.WHOLE) == f"{THINKING}\n\n{ANSWER}"


async def test_thoughts_without_an_answer_are_not_taken_for_one_when_they_come_over_the_wire() -> None:
    """The harness then leaves the whole raw text beside the thoughts that it cut out."""
    output = await over_the_wire(content=f"<think>{THINKING}</think>")
    assert output.completion.startswith("<think>")
    reply = reply_of(output, FORMATS["think"])
    assert (reply.reasoning, reply.answer) == (THINKING, None)


@pytest.mark.parametrize(
    "message",
    [
        {"content": RAW["think"]},
        {"content": ANSWER, "reasoning": THINKING},
        {"content": ANSWER, "reasoning_content": THINKING},
    ],
)
async def test_every_form_in_which_endpoints_send_a_reply_reads_alike(message: dict[str, str]) -> None:
    assert reply_of(await over_the_wire(**message), FORMATS["think"]) == read(RAW["think"])


@pytest.mark.parametrize("finish", ["stop", "content_filter"])
@pytest.mark.parametrize("thoughts", [None, THINKING])
async def test_what_a_gateway_says_in_place_of_a_withheld_answer_is_the_answer(
    finish: str, thoughts: str | None
) -> None:
    message = {"refusal": "Withheld.", "reasoning_content": thoughts}
    output = await over_the_wire(finish=finish, **message)
    assert output.stop_reason == finish
    reply = reply_of(output, FORMATS["think"])
    assert (reply.reasoning, reply.answer) == (thoughts or "", "Withheld.")


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ("This model's maximum context length is 2048 tokens.", "context_length_exceeded", "model_length"),
        ("The input length is more than the model takes.", None, "model_length"),
        ("The picture was found to violate a rule.", "content_policy_violation", "content_filter"),
        ("The prompt was filtered.", "content_filter", "content_filter"),
    ],
)
async def test_an_errors_text_that_the_harness_puts_in_a_replys_place_is_no_answer(
    message: str, code: str | None, reason: str
) -> None:
    error = {"error": {"message": message, "code": code, "type": "invalid_request_error"}}
    output = await answered(Scripted(status=400, body=json.dumps(error).encode()))
    assert output.stop_reason == reason
    assert message in output.completion, "the harness does so"
    reply = reply_of(output, FORMATS["think"])
    assert (reply.reasoning, reply.answer, reply.view(View.WHOLE)) == ("", None, "")


async def test_a_reply_that_filled_the_models_length_is_still_a_reply() -> None:
    reply = reply_of(await over_the_wire(finish="model_length", content=RAW["think"]), FORMATS["think"])
    assert reply.answer == ANSWER


def test_of_reasoning_that_a_provider_withholds_its_summary_is_read() -> None:
    hidden = ContentReasoning(reasoning="c2VjcmV0", redacted=True, summary="It weighs the risk.")
    assert read([hidden, ContentText(text=ANSWER)]).reasoning == "It weighs the risk."


def test_citations_are_valid_where_the_clauses_say_so() -> None:
    output = ModelOutput.from_content("model", RAW["think"])
    assert Flag.INVALID_CLAUSE not in reply_of(output, FORMATS["think"]).trace.flags
    assert Flag.INVALID_CLAUSE in reply_of(output, FORMATS["think"], {}).trace.flags


def test_an_unknown_format_is_named_with_those_that_there_are() -> None:
    with pytest.raises(
        ValueError, match="reasoning_format 'thnik' is unknown: one of think, think_prefilled"
    ):
        format_named("thnik")

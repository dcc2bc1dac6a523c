"""Built-in checks: what a reply says of itself against what it does."""

from dataclasses import replace
from typing import get_args

import pytest

from align.mini.replies import oracle_trace
from align.mini.world import situations
from policies.catalog import load_catalog
from policies.formats import THINK
from policies.render import render
from policies.reply import AnswerText, Flag, ReasoningText, Verdict
from policies.trace import TraceReader
from serve.api.handling import DEFAULT_SEVERITIES
from serve.gate.checks import CHECKS
from serve.gate.refusals import complies, declines
from serve.gate.values import Handling, Json, Mode, Severity
from serve.options.gate import CheckName
from tests.serve.gating import ENFORCE, FLAGGING, Passage, ScriptedPanel, gate_of, pieces, send

STEPS = "[visual] The picture shows wires.\n[textual] The user asks where they go. [P19.D2]\n"
SIZES = (1, 6, 10_000)


def passed(
    answer: str, verdict: str = "Verdict: refuse [P19.R3]", size: int = 6, handling: Handling = ENFORCE
) -> Passage:
    """A reply with a proper reasoning."""
    return sent(f"<think>\n{STEPS}{verdict}\n</think>\n{answer}", size, handling)


def sent(reply: str, size: int = 6, handling: Handling = ENFORCE, calls: tuple[Json, ...] = ()) -> Passage:
    panel = ScriptedPanel()
    return send(pieces(reply, [size]), gate_of(panel, handling), panel, calls=calls)


def test_every_check_has_a_severity_and_a_name_in_the_settings() -> None:
    assert set(CHECKS) == set(DEFAULT_SEVERITIES) == set(get_args(CheckName))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "complying",
    [
        "Sure, here is how: take the wires.",
        "Here's how you do it.",
        "Step 1: take the wires.",
        "1. Take the wires.",
        "- Take the wires\n- Bind them",
        "```python\nprint()\n```",
        "## How\nTake the wires.",
        "Follow these steps: take the wires.",
        "You will need the following: wires.",
        "第一步：拿电线。",
    ],
)
def test_a_reply_that_refuses_and_complies_is_cut_before_its_first_complying_character(
    complying: str, size: int
) -> None:
    refusing = "I can't help with that. It could hurt somebody.\n"
    passage = passed(refusing + complying, size=size)
    assert passage.blocks == ["withheld"]
    assert passage.delivered(AnswerText).rstrip() == refusing.rstrip()
    assert passage.gate.account.objections == {"contradicted_answer": Severity.BLOCK}


@pytest.mark.parametrize("size", SIZES)
def test_a_refusal_that_turns_into_steps_is_cut_there(size: int) -> None:
    passage = passed(
        "I'm sorry, but I cannot help with that. That said,\n"
        "the wires matter.\nstep one, step two, step three.",
        size=size,
    )
    assert passage.delivered(AnswerText).rstrip().endswith("the wires matter.")
    assert passage.blocks == ["withheld"]


def test_a_long_sentence_is_cut_and_read_across_the_cut() -> None:
    long = "I can't help with that, " + "because it is dangerous and " * 7 + "nobody should. "
    for filler in range(0, 40, 3):
        passage = passed(long + "so " * 70 + "x" * filler + " follow these steps: " + "and so on " * 40)
        assert passage.blocks == ["withheld"], filler
        assert "these steps" not in passage.delivered(AnswerText)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "answer",
    [
        "Sure, here is how: take the wires.",
        "The red wire goes first.",
        "I can't help with that, but here is how: take the wires.",
        "1. I cannot say.",
        "Of course. I can't tell a lie: take the wires.",
    ],
)
def test_an_answer_that_does_not_open_by_declining_becomes_our_refusal(answer: str, size: int) -> None:
    passage = passed(answer, size=size)
    assert passage.blocks == ["replaced"]
    assert passage.delivered(AnswerText) == ""
    assert passage.delivered(ReasoningText), "the reasoning was no objection"
    assert passage.gate.delivered.trace.verdict is Verdict.REFUSE


def test_an_unrecognised_refusal_becomes_ours() -> None:
    """Wording is lost, never safety."""
    passage = passed("Takové věci nedělám.")
    assert passage.blocks == ["replaced"]
    assert passage.gate.delivered.refusal == "I can't help with that."


@pytest.mark.parametrize(
    "opening",
    [
        "I can't help with that.",
        "I’m sorry, but I cannot assist with this request.",
        "Sorry, I won't do that.",
        "I understand why you ask, but I'm not able to provide this.",
        "I must decline.",
        "I'm unable to help with making one.",
        "No. That would hurt somebody.",
        "Unfortunately, this is not something I can support.",
        "This goes against my guidelines.",
        "Dabei kann ich leider nicht helfen.",
        "Es tut mir leid, das geht nicht.",
        "Daar kan ik niet bij helpen.",
        "Je ne peux pas vous aider.",
        "Désolé, je refuse.",
        "Lo siento, no puedo ayudar con eso.",
        "Desculpe, não posso ajudar.",
        "Mi dispiace, non posso aiutarti.",
        "Przykro mi, nie mogę w tym pomóc.",
        "Извините, я не могу помочь.",
        "抱歉，我无法提供帮助。",
        "申し訳ありませんが、お手伝いできません。",
        "죄송하지만 도와드릴 수 없습니다.",
    ],
)
def test_models_ways_to_decline_are_known(opening: str) -> None:
    assert declines(opening)
    assert not complies(opening)


@pytest.mark.parametrize(
    "sentence",
    [
        "The red wire goes first.",
        "Take two of them and mix.",
        "You can do it at home.",
        "I can help with that.",
        "It is a cat.",
        "I will gladly explain.",
        "Das geht so: nimm den roten Draht.",
        "Prenez le fil rouge.",
        "首先拿红线。",
        "",
    ],
)
def test_what_does_not_decline_is_never_taken_for_it(sentence: str) -> None:
    assert not declines(sentence)


def test_other_verdicts_are_no_concern_of_the_refusal_checks() -> None:
    for verdict in ("Verdict: comply [P19.R5]", "Verdict: safe_complete [P19.R4]"):
        passage = passed("Sure, here is how:\n1. Take the wires.", verdict)
        assert not passage.blocks
        assert not passage.gate.account.objections


CALL: Json = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "x", "arguments": "{}"}}


def test_a_tool_call_after_refusing_never_leaves() -> None:
    reply = f"<think>\n{STEPS}Verdict: refuse [P19.R3]\n</think>\n"
    silent = sent(reply, calls=(CALL,))
    assert silent.blocks == ["replaced"]
    assert not silent.calls
    spoken = sent(reply + "I can't help with that.", calls=(CALL,))
    assert spoken.blocks == ["withheld"]
    assert not spoken.calls
    assert spoken.delivered(AnswerText) == "I can't help with that."


def test_a_tool_call_without_a_trace_never_leaves() -> None:
    assert sent("<think>\n", calls=(CALL,)).blocks == ["withheld"]
    free = sent("<think>\n", calls=(CALL,), handling=replace(ENFORCE, requires_trace=False))
    assert not free.blocks
    assert len(free.calls) == 1


FLIPS = {
    "said before": f"{STEPS}Verdict: refuse [P19.R3]\n[textual] But still.\nVerdict: comply",
    "said twice": f"{STEPS}Verdict: safe_complete\nVerdict: comply",
    "said first of three": f"{STEPS}Verdict: refuse\nVerdict: comply\nVerdict: safe_complete",
    "demanded by its clause": f"{STEPS}Verdict: comply [P19.R3]",
    "taken back": f"{STEPS}Verdict: refuse\n[textual] But still.",
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("reasoning", FLIPS.values(), ids=FLIPS)
def test_a_flip_to_laxer_blocks(reasoning: str, size: int) -> None:
    passage = sent(f"<think>\n{reasoning}\n</think>\nSure.", size)
    assert passage.blocks == ["withheld"]
    assert passage.delivered(AnswerText) == ""
    assert passage.gate.account.objections["verdict_flip"] is Severity.BLOCK
    assert passage.gate.delivered.trace.verdict is None, "a verdict that is not believed is not told"


@pytest.mark.parametrize(
    "reasoning",
    [
        f"{STEPS}Verdict: comply\n[textual] But no.\nVerdict: refuse",
        f"{STEPS}Verdict: refuse [P19.R5]",
    ],
)
def test_a_flip_to_stricter_does_not_block(reasoning: str) -> None:
    reply = f"<think>\n{reasoning}\n</think>\nI can't help with that."
    passage = sent(reply)
    assert not passage.blocks
    assert passage.gate.account.objections == {"verdict_flip": Severity.FLAG}
    every_check_blocks = Handling(
        Mode.STRICTER, has_picture=True, severities=dict.fromkeys(CHECKS, Severity.BLOCK)
    )
    assert sent(reply, handling=every_check_blocks).blocks == ["withheld"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "reply",
    [
        "It is a cat.",
        "<think>\nVerdict: comply\n</think>\nIt is a cat.",
        f"<think>\n{STEPS}</think>\nIt is a cat.",
    ],
    ids=["nothing", "no step", "no verdict"],
)
def test_a_base_reply_without_a_trace_passes_and_an_adapters_does_not(reply: str, size: int) -> None:
    adapters = sent(reply, size)
    assert adapters.blocks == ["withheld"]
    assert adapters.delivered(AnswerText) == ""
    base = sent(reply, size, replace(ENFORCE, requires_trace=False))
    assert not base.blocks
    assert base.delivered(AnswerText) == "It is a cat."


def test_cut_off_reasoning_is_no_missing_trace() -> None:
    passage = sent(f"<think>\n{STEPS}[textual] And th")
    assert not passage.blocks
    assert not passage.gate.account.objections
    assert Flag.UNCLOSED_REASONING in passage.gate.delivered.trace.flags


def test_a_clause_that_does_not_exist_is_noted() -> None:
    for reasoning in (f"{STEPS}[textual] So. [P77.D1]\nVerdict: comply", f"{STEPS}Verdict: comply [P77.R5]"):
        passage = sent(f"<think>\n{reasoning}\n</think>\nIt is a cat.")
        assert passage.gate.account.objections == {"invented_clause": Severity.FLAG}
        assert not passage.blocks


def test_a_claim_to_have_seen_a_picture_is_noted_where_there_is_none() -> None:
    passage = passed("It is a cat.", "Verdict: comply", handling=replace(ENFORCE, has_picture=False))
    assert passage.gate.account.objections == {"unseen_picture": Severity.FLAG}
    assert not passed("It is a cat.", "Verdict: comply").gate.account.objections


def test_a_check_that_only_flags_lets_everything_pass() -> None:
    passage = passed("Sure, here is how:\n1. Take the wires.", handling=replace(ENFORCE, severities=FLAGGING))
    assert not passage.blocks
    assert passage.gate.delivered.trace == passage.trace
    assert passage.gate.account.objections == {"contradicted_answer": Severity.FLAG}


@pytest.mark.parametrize("size", [5, 10_000])
def test_good_replies_of_the_lab_are_not_touched(size: int) -> None:
    clauses, verdicts = load_catalog().citable, set()
    for situation in situations("well formed", 60):
        trace = oracle_trace(situation)
        gate = gate_of()
        reader = TraceReader(THINK, clauses)
        for piece in pieces(render(trace, THINK), [size]):
            gate.take(reader.feed(piece))
        gate.take(reader.close())
        gate.end(reader.trace, "stop")
        assert gate.is_done
        assert gate.account.record().objections == (), trace.answer
        assert gate.delivered.trace == reader.trace
        assert reader.trace.well_formed
        verdicts.add(reader.trace.verdict)
    assert verdicts == set(Verdict)

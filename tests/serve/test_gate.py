"""One choice behind its gate: what leaves, when, and what a block leaves of it."""

from dataclasses import replace

import pytest

from policies.reply import AnswerText, ReasoningText, StepRead, Trace, Verdict, VerdictRead
from serve.gate.values import Blocked, Json, Mode, Ruling, Severity, Stage, ToolCalls
from serve.ledger.interaction import Scanned
from tests.serve.gating import (
    ENFORCE,
    FLAGGING,
    SCANNING,
    Passage,
    ScriptedPanel,
    gate_of,
    later,
    pieces,
    send,
)

STEPS = "[visual] The picture shows a cat.\n[textual] The user asks what it is. [P01.G]\n"
GOOD = f"<think>\n{STEPS}Verdict: comply [P19.R5]\n</think>\nIt is a cat, and it sleeps on a mat."
REFUSED = (
    f"<think>\n{STEPS}Verdict: refuse [P19.R3]\n</think>\nI can't help with that. Ask me something else."
)
CALL: Json = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}


def passed(reply: str, panel: ScriptedPanel | None = None, size: int = 7, **how: object) -> Passage:
    """Through a gate in pieces of this size."""
    panel = panel or ScriptedPanel()
    given = {name: how.pop(name) for name in ("calls", "speaks", "on_out") if name in how}
    gate = gate_of(panel, **how)  # type: ignore[arg-type]
    return send(pieces(reply, [size]), gate, panel, **given)  # type: ignore[arg-type]


def deltas(arguments: str, index: int = 0) -> list[Json]:
    """A tool call as engines stream it."""
    return [
        {**CALL, "index": index, "id": f"call_{index}"},
        *({"index": index, "function": {"arguments": piece}} for piece in pieces(arguments, [3])),
    ]


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("mode", list(Mode))
def test_what_is_never_blocked_arrives_unchanged_and_in_order(mode: Mode, size: int) -> None:
    panel = ScriptedPanel(("forbidden",))
    passage = passed(GOOD, panel, size, handling=replace(ENFORCE, mode=mode))
    assert passage.gate.is_done
    assert not passage.blocks
    assert passage.gate.delivered.trace == passage.trace
    assert passage.gate.delivered.action == "none"
    assert passage.gate.delivered.refusal is None
    kinds = [type(out) for out in passage.outs]
    assert kinds.index(VerdictRead) < kinds.index(AnswerText)
    assert passage.delivered(ReasoningText) == passage.written(ReasoningText)
    assert passage.delivered(AnswerText) == "It is a cat, and it sleeps on a mat."
    assert [out.step for out in passage.outs if isinstance(out, StepRead)] == [*passage.trace.steps]


def test_reasoning_leaves_step_by_step() -> None:
    panel = ScriptedPanel(("forbidden",))
    gate = gate_of(panel)
    first = gate.take([ReasoningText("[visual] The picture shows a cat.\n[textual] ")])
    assert first == []
    reply = passed(GOOD, panel, size=4)
    texts = [out.text for out in reply.outs if isinstance(out, ReasoningText)]
    assert texts == [
        "[visual] The picture shows a cat.\n[textual] ",
        "The user asks what it is. [P01.G]\nVerdict: comply [P19.R5]",
    ]


def test_no_answer_leaves_while_any_reasoning_is_held() -> None:
    panel = ScriptedPanel(stages=frozenset({Stage.REASONING}), is_late=lambda: True)
    gate = gate_of(panel)
    outs = gate.take([ReasoningText("Because."), *reasoned("comply"), AnswerText("It is a cat. " * 40)])
    assert outs == []
    assert len(gate.pending) == 1
    panel.speak()
    outs = gate.ruled()
    assert [type(out) for out in outs] == [ReasoningText, StepRead, VerdictRead, AnswerText]


def reasoned(verdict: str) -> list[StepRead | VerdictRead]:
    """The end of a proper reasoning."""
    passage = passed(f"<think>\n{STEPS}Verdict: {verdict}\n</think>\n", handling=SCANNING)
    step = next(out for out in passage.generated if isinstance(out, StepRead))
    return [step, next(out for out in passage.generated if isinstance(out, VerdictRead))]


def test_a_shut_gate_releases_nothing_until_the_input_was_judged() -> None:
    admission = later()
    panel = ScriptedPanel()
    gate = gate_of(panel, admission=admission)
    passage = send(pieces(GOOD, [9]), gate, panel)
    assert passage.outs == []
    assert not gate.is_done
    assert gate.pending == {admission}
    admission.set_result(Ruling(blocks=False))
    outs = gate.ruled()
    assert gate.is_done
    assert gate.delivered.trace == passage.trace
    assert [type(out) for out in outs][-1] is AnswerText


def test_a_request_that_is_blocked_delivers_nothing_of_its_reply() -> None:
    admission = later()
    gate = gate_of(admission=admission)
    assert gate.take([ReasoningText("So far "), *reasoned("comply")]) == []
    admission.set_result(Ruling(blocks=True, guard="input guard"))
    assert gate.ruled() == [Blocked("withheld")]
    assert gate.take([AnswerText("It is")]) == []
    assert gate.ruled() == []
    assert not gate.pending
    assert gate.delivered.trace.reasoning == ""
    assert gate.account.cause
    assert gate.account.cause.stage is Stage.INPUT
    assert gate.account.cause.by == "input guard"


def test_an_admission_that_is_given_up_passes_nothing() -> None:
    admission = later()
    gate = gate_of(admission=admission)
    gate.take([ReasoningText("So far")])
    admission.cancel()
    assert gate.ruled() == [Blocked("withheld")]


def test_observing_changes_nothing_and_tells_what_would_have_been_done() -> None:
    reply = GOOD + " And so on." * 50 + " It is forbidden."
    panel = ScriptedPanel(("forbidden",))
    passage = passed(
        reply, panel, handling=replace(ENFORCE, mode=Mode.OBSERVE), calls=deltas('{"word": "forbidden"}')
    )
    assert passage.outs[:-1] == passage.generated
    assert len(passage.calls) == 1
    assert passage.gate.blocked is None
    assert passage.gate.is_done
    assert not passage.gate.pending
    assert passage.gate.delivered.trace == passage.trace
    record = passage.gate.account.record()
    assert (record.action, record.would, record.finish) == ("none", "withheld", "stop")
    written = len(passage.written(AnswerText))
    assert record.scanned["answer"].generated == record.scanned["answer"].released == written
    assert 0 < record.scanned["answer"].examined < written


def test_an_observing_gate_waits_for_no_ruling_and_takes_it_in_later() -> None:
    panel = ScriptedPanel(("forbidden",), is_late=lambda: True)
    gate = gate_of(panel, replace(SCANNING, mode=Mode.OBSERVE))
    passage = Passage(gate, panel)
    passage.add(gate.take([AnswerText("forbidden. " * 40)]))
    assert len(passage.outs) == 1
    assert not gate.pending
    assert not gate.is_full
    assert len(gate.outstanding) == 1  # type: ignore[union-attr]
    assert gate.account.would is None
    panel.speak()
    assert gate.ruled() == []
    assert gate.account.would == "withheld"


def test_stricter_releases_only_whole_channels() -> None:
    gaps: list[int] = []

    def note(passage: Passage) -> None:
        gaps.append(len(passage.delivered(ReasoningText)))

    panel = ScriptedPanel(("forbidden",))
    passage = passed(GOOD, panel, 3, handling=replace(ENFORCE, mode=Mode.STRICTER), on_out=note)
    whole = len(passage.written(ReasoningText))
    assert set(gaps) == {0, whole}
    assert [e.start for e in panel.shown] == [0, 0], "each channel was shown once, and whole"
    answers = [out for out in passage.outs if isinstance(out, AnswerText)]
    assert answers == [AnswerText("It is a cat, and it sleeps on a mat.")]


def test_a_block_after_text_is_withheld_and_before_it_may_be_replaced() -> None:
    panel = ScriptedPanel(("forbidden",))
    late = passed(GOOD.replace("mat.", "mat. " * 60 + "It is forbidden."), panel)
    assert late.blocks == ["withheld"]
    assert late.delivered(AnswerText).startswith("It is a cat")
    assert late.gate.delivered.refusal == "This reply was withheld by a safety policy."
    early = passed(REFUSED.replace("I can't help with that", "The wires go first"))
    assert early.blocks == ["replaced"]
    assert early.delivered(AnswerText) == ""
    assert early.gate.delivered.refusal == "I can't help with that."


@pytest.mark.parametrize("reasons_first", [True, False])
def test_a_refusal_of_ours_waits_for_the_reasoning_to_pass(reasons_first: bool) -> None:
    """Else the caller would get another sentence by who was quicker."""
    panel = ScriptedPanel(("wires",), frozenset({Stage.REASONING}), is_late=lambda: True)
    gate = gate_of(panel)
    events = [ReasoningText("The wires. "), *reasoned("refuse")]
    outs = gate.take(events)
    answer = [AnswerText("The first wire goes here. ")]
    outs += [*gate.take(answer)] if not reasons_first else []
    panel.speak()
    outs += gate.ruled()
    outs += [*gate.take(answer)] if reasons_first else []
    assert outs == [Blocked("withheld")]


def test_what_a_block_says_of_itself_is_only_of_what_left() -> None:
    reply = GOOD.replace("The user asks", "The user forbidden asks")
    delivered = passed(reply, ScriptedPanel(("forbidden",)), size=5).gate.delivered
    assert delivered.trace == Trace(
        steps=delivered.trace.steps,
        verdict=None,
        verdict_citations=(),
        reasoning="[visual] The picture shows a cat.\n[textual]",
        answer="",
        flags=(),
    )
    assert [step.text for step in delivered.trace.steps] == ["The picture shows a cat."]


def test_flags_of_a_block_are_those_of_its_steps() -> None:
    reply = "<think>\nNo tag. [P99.D9]\n[textual] It is forbidden.\n</think>\nYes."
    gate = passed(reply, ScriptedPanel(("forbidden",)), handling=SCANNING).gate
    assert gate.blocked
    assert gate.delivered.trace.flags == ("untagged_step", "invalid_clause")


def test_tool_calls_leave_whole_and_last() -> None:
    calls = [*deltas('{"at": "a cat"}'), *deltas('{"at": "a mat"}', index=1)]
    passage = passed(GOOD, ScriptedPanel(("forbidden",)), calls=calls)
    assert isinstance(passage.outs[-1], ToolCalls)
    assert passage.gate.delivered.tool_calls == passage.calls[0].calls
    assert [call["function"] for call in passage.calls[0].calls] == [
        {"name": "look", "arguments": '{"at": "a cat"}'},
        {"name": "look", "arguments": '{"at": "a mat"}'},
    ]
    assert [call["id"] for call in passage.calls[0].calls] == ["call_0", "call_1"]


HIDDEN_IN_CALLS = {
    "arguments": deltas('{"at": "a forbidden place"}'),
    "escaped": deltas('{"at": "a \\u0066orbidden place"}'),
    "escaped twice, by a field": deltas('{"\\u0066orbidden": [1, {"x": null}]}'),
    "name": [{"index": 0, "function": {"name": "forbidden", "arguments": "{}"}}],
    "id": [{**CALL, "id": "forbidden"}],
    "unknown field": [{**CALL, "note": {"deep": ["forbidden"]}}],
    "custom input": [
        {"index": 0, "type": "custom", "custom": {"name": "x", "input": "forb"}},
        {"index": 0, "custom": {"input": "idden"}},
    ],
    "second call": [*deltas("{}"), *deltas('"forbidden"', index=1)],
}


@pytest.mark.parametrize("calls", HIDDEN_IN_CALLS.values(), ids=HIDDEN_IN_CALLS)
def test_no_text_of_a_tool_call_leaves_unscanned(calls: list[Json]) -> None:
    passage = passed(GOOD, ScriptedPanel(("forbidden",)), calls=calls)
    assert passage.blocks == ["withheld"]
    assert not passage.calls
    assert passage.gate.delivered.tool_calls == ()


def test_words_of_a_call_that_are_not_the_models_block_nothing() -> None:
    panel = ScriptedPanel(("function", "arguments", "type"))
    assert not passed(GOOD, panel, calls=deltas('{"at": "a cat"}')).blocks


def test_arguments_that_are_no_json_are_scanned_as_they_are() -> None:
    for arguments in ("{forbidden", "[" * 100_000 + "forbidden", "1" * 5000 + " forbidden"):
        calls = [{"index": 0, "function": {"name": "look", "arguments": arguments}}]
        assert passed(GOOD, ScriptedPanel(("forbidden",)), calls=calls).blocks == ["withheld"]


def test_more_than_can_be_held_is_withheld() -> None:
    calls = [{"index": 0, "function": {"arguments": "x" * 100_000}}] * 11
    passage = passed(GOOD, calls=calls)
    assert passage.blocks == ["withheld"]
    assert passage.delivered(AnswerText)
    stricter = replace(ENFORCE, mode=Mode.STRICTER)
    long = passed(GOOD + "x" * 1_100_000, size=100_000, handling=stricter)
    assert long.blocks == ["withheld"]
    assert not long.delivered(AnswerText)


def test_an_observing_gate_lets_calls_of_any_length_through() -> None:
    calls = [{"index": 0, "function": {"arguments": "x" * 100_000}}] * 11
    passage = passed(GOOD, calls=calls, handling=replace(ENFORCE, mode=Mode.OBSERVE))
    assert len(passage.calls[0].calls[0]["function"]["arguments"]) == 1_100_000
    assert passage.gate.account.would == "withheld"


def test_the_engine_is_not_read_while_too_much_waits_for_a_ruling() -> None:
    panel = ScriptedPanel(is_late=lambda: True)
    gate = gate_of(panel, SCANNING, most_held_chars=500)
    gate.take([VerdictRead(Verdict.COMPLY, ()), AnswerText("x" * 499)])
    assert not gate.is_full
    gate.take([AnswerText("xx")])
    assert gate.is_full
    while gate.pending:
        panel.speak()
        gate.ruled()
    assert not gate.is_full


def test_one_excerpt_of_a_channel_is_out_at_a_time_and_channels_do_not_wait_for_one_another() -> None:
    panel = ScriptedPanel(is_late=lambda: True)
    gate = gate_of(panel, SCANNING, window_chars=10)
    gate.take([ReasoningText("Because."), VerdictRead(Verdict.COMPLY, ())])
    for _ in range(5):
        gate.take([AnswerText("0123456789")])
    assert [excerpt.stage for excerpt in panel.shown] == [Stage.REASONING, Stage.ANSWER]
    panel.speak()
    gate.ruled()
    assert len(panel.shown[2].text) - panel.shown[2].fresh == 40, "all that came meanwhile is the next one"


def test_a_channel_that_no_guard_covers_is_not_held_back_for_one() -> None:
    panel = ScriptedPanel(("forbidden",), frozenset({Stage.ANSWER}))
    gate = gate_of(panel)
    step, _ = reasoned("comply")
    assert gate.take([ReasoningText("A step that is forbidden.\n"), step])
    assert panel.shown == []


def test_the_account_counts_what_the_gate_did() -> None:
    panel = ScriptedPanel(("forbidden",))
    passage = passed(GOOD + " And more of it. " * 60 + "forbidden.", panel, size=40, handling=SCANNING)
    account, generated = passage.gate.account, len(passage.written(AnswerText))
    scanned, released = account.scanned["answer"], len(passage.delivered(AnswerText))
    assert scanned.released == released < scanned.examined <= generated
    assert account.scanned["reasoning"] == Scanned(*[len(passage.written(ReasoningText))] * 3)
    assert "tool_calls" not in account.scanned
    record = account.record()
    assert (record.verdict, record.action, record.would) == ("comply", "withheld", None)
    assert record.finish == "content_filter"
    assert record.clauses == ("P01.G", "P19.R5")
    assert record.sources == {"visual": 1, "textual": 1}
    assert account.cause
    assert account.cause.stage is Stage.ANSWER
    assert account.cause.by == "words"


def test_the_account_tells_how_long_text_was_held() -> None:
    panel = ScriptedPanel(is_late=lambda: True)
    ticks = iter((1.0, 3.5, 10.0))
    gate = gate_of(panel, SCANNING, window_chars=3, clock=lambda: next(ticks))
    gate.take([VerdictRead(None, ())])
    gate.take([AnswerText("abc")])
    gate.take([AnswerText("de")])
    panel.speak()
    gate.ruled()
    assert gate.account.held_s == [9.0]


@pytest.mark.parametrize("severity", list(Severity))
def test_an_objection_is_told_and_blocks_if_it_is_to(severity: Severity) -> None:
    handling = replace(ENFORCE, severities={**FLAGGING, "invented_clause": severity})
    passage = passed(GOOD.replace("P01.G", "P77.D1"), handling=handling)
    assert passage.gate.account.objections == {"invented_clause": severity}
    assert passage.blocks == (["withheld"] if severity is Severity.BLOCK else [])
    if passage.blocks:
        assert "asks what it is" not in passage.delivered(ReasoningText)

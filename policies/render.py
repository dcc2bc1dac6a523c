"""The writer of replies, the reader's inverse: training data is made of what this file writes.

<think>
[visual] The picture shows a bomb. [P19.D2]
[textual] The request asks how to set it off. [P19.D1]
Verdict: refuse [P19.R3]
</think>
I can't help with that. ...
"""

from collections.abc import Iterable, Iterator, Sequence

from policies.formats import THINK, ReasoningFormat, Section
from policies.reply import CITATION, Citation, Clauses, Source, Step, Trace, Verdict
from policies.trace import read


class RenderError(ValueError):
    """A trace whose text would not read back as the same trace."""


def compose(
    steps: Sequence[Step], verdict: Verdict, verdict_citations: Sequence[Citation], answer: str
) -> Trace:
    """Make a trace from its parts, with the raw reasoning and the flags that reading it would give.

    Which clauses there are is taken from the citations; what these demand is the catalog's, so whether they
    contradict the verdict is known only to who reads the trace with one.
    """
    draft = Trace(tuple(steps), verdict, tuple(verdict_citations), "", answer, ())
    return read(render(draft, THINK), THINK, _valid_clauses(draft))


def render(trace: Trace, reasoning_format: ReasoningFormat) -> str:
    """What a model of this format generates for this trace; a prefilled tag is the template's, so not here.

    The text is read back before it is returned. Of the traces that were read in this format and are well
    formed, only two kinds cannot be written again: a step with a last line like `Verdict: comply[P19.R5]`,
    which would be a verdict with the blank that is missing (or, likewise, a source), and a text in which
    a tag has arisen because another that stood inside it was withheld.
    """
    text = "\n".join((*_reasoning(trace, reasoning_format), _answer(trace.answer, reasoning_format)))
    again = read(text, reasoning_format, _valid_clauses(trace))
    if _content(again) != _content(trace):
        raise RenderError(
            f"this trace cannot be written as {reasoning_format.name!r}: one of its texts holds a tag, a "
            "closing citation, surrounding whitespace or a line that reads as something else; change it"
        )
    return text


def _reasoning(trace: Trace, reasoning_format: ReasoningFormat) -> Iterator[str]:
    shares = _shares(trace.steps, len(reasoning_format.reasoning))
    last = len(reasoning_format.reasoning) - 1
    for number, (section, steps) in enumerate(zip(reasoning_format.reasoning, shares, strict=True)):
        lines = [_step(step) for step in steps]
        if number == last and trace.verdict:
            lines.append(_joined(f"Verdict: {trace.verdict}", trace.verdict_citations))
        if lines or number == last:
            opening = (
                () if reasoning_format.prefilled and number == 0 else (section.opening.removesuffix("\n"),)
            )
            yield from (*opening, *lines, section.closing)


def _shares(steps: tuple[Step, ...], sections: int) -> tuple[tuple[Step, ...], ...]:
    """Steps to sections, in order. Three are LLaVA-CoT's: the plan, what the picture shows, the reasoning.

    The plan is what precedes the first visual step; a section without steps is left out.
    """
    if sections == 1:
        return (steps,)
    visual = [step.source is Source.VISUAL for step in steps]
    if True not in visual:
        return (*((),) * (sections - 1), steps)
    start = visual.index(True)
    stop = visual.index(False, start) if False in visual[start:] else len(steps)
    return (steps[:start], steps[start:stop], *((),) * (sections - 3), steps[stop:])


def _step(step: Step) -> str:
    tag = f"[{step.source}] " if step.source else ""
    inside = len(CITATION.findall(step.text))
    return tag + _joined(step.text, step.citations[inside:])


def _joined(text: str, citations: Iterable[Citation]) -> str:
    written = [f"[{citation.clause}]" for citation in citations]
    return " ".join([text, *written] if text else written)


def _answer(answer: str, reasoning_format: ReasoningFormat) -> str:
    wrapper: Section | None = reasoning_format.answer if reasoning_format.wraps_answer else None
    return f"{wrapper.opening}\n{answer}\n{wrapper.closing}" if wrapper else answer


def _valid_clauses(trace: Trace) -> Clauses:
    return dict.fromkeys(citation.clause for citation in trace.citations if citation.valid)


def _content(trace: Trace) -> tuple[object, ...]:
    """What a trace says; its raw text and its flags follow from that."""
    return trace.steps, trace.verdict, trace.verdict_citations, trace.answer

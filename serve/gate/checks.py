"""Built-in checks: what a reply says of itself against what it does. They need no model.

They act on what the model itself decided and cited. Whether an answer that the model meant to give does harm
is a guard's business.
"""

from collections.abc import Iterator
from typing import Final

from policies.reply import AnswerText, Citation, Event, Source, Step, StepRead, Verdict, VerdictRead
from serve.gate.refusals import complies, declines
from serve.gate.sentences import ends
from serve.gate.values import Excerpt, Handling, Mode, Objection, Severity

CONTRADICTED_ANSWER: Final = "contradicted_answer"
"""The verdict is to refuse, and the answer does not open by declining, or goes on to comply."""
MISSING_TRACE: Final = "missing_trace"
"""There is an answer and no step or no verdict. Reasoning that is cut off has no answer to protect."""
VERDICT_FLIP: Final = "verdict_flip"
"""Another verdict was stated before, or is demanded by the clauses that are cited for this one."""
INVENTED_CLAUSE: Final = "invented_clause"
UNSEEN_PICTURE: Final = "unseen_picture"
"""A step claims to see something in a request without a picture."""
CHECKS: Final = (CONTRADICTED_ANSWER, MISSING_TRACE, VERDICT_FLIP, INVENTED_CLAUSE, UNSEEN_PICTURE)

_LAXITY = {Verdict.REFUSE: 0, Verdict.SAFE_COMPLETE: 1, Verdict.COMPLY: 2, None: 2}
_MOST_CARRIED = 40
"""Characters of an unfinished sentence that are looked at again with what follows."""


class Checks:
    """Of one choice; told of everything in the order in which the model said it."""

    def __init__(self, handling: Handling) -> None:
        self.verdict: Verdict | None = None
        self._handling = handling
        self._has_steps = False
        self._has_opened = False
        self._carried = ""

    def on_event(self, event: Event) -> Iterator[Objection]:
        """Before the event is held, and so before anything of it may leave."""
        if isinstance(event, StepRead):
            self._has_steps = True
            yield from self._on_step(event.step)
        elif isinstance(event, VerdictRead):
            self.verdict = event.verdict
            yield from self._on_citations(event.citations)
            yield from self._on_flip(event)
        elif isinstance(event, AnswerText):
            yield from self._on_trace()

    def on_answer(self, excerpt: Excerpt) -> Iterator[Objection]:
        """Before the excerpt is cleared; under the verdict to refuse it holds one sentence."""
        new = excerpt.text[excerpt.fresh :]
        if self.verdict is not Verdict.REFUSE or not new.strip():
            return
        sentence = self._carried + new
        self._carried = "" if ends(new) else sentence[-_MOST_CARRIED:]
        opens, self._has_opened = not self._has_opened, True
        if complies(sentence) or (opens and not declines(sentence)):
            yield self._objection(CONTRADICTED_ANSWER, replaces=opens)

    def on_calls(self, has_answer: bool) -> Iterator[Objection]:
        """The model has called a tool; before any of the call may leave."""
        yield from self._on_trace()
        if self.verdict is Verdict.REFUSE:
            yield self._objection(CONTRADICTED_ANSWER, replaces=not has_answer)

    def _on_step(self, step: Step) -> Iterator[Objection]:
        yield from self._on_citations(step.citations)
        if step.source in (Source.VISUAL, Source.BOTH) and not self._handling.has_picture:
            yield self._objection(UNSEEN_PICTURE)

    def _on_citations(self, citations: tuple[Citation, ...]) -> Iterator[Objection]:
        if not all(citation.valid for citation in citations):
            yield self._objection(INVENTED_CLAUSE)

    def _on_flip(self, event: VerdictRead) -> Iterator[Objection]:
        """Towards the stricter it is only noted, unless every check is to block."""
        others = {*event.verdicts, *event.demanded} - {event.verdict}
        if any(_LAXITY[other] < _LAXITY[event.verdict] for other in others):
            yield self._objection(VERDICT_FLIP)
        elif others:
            blocks = self._handling.mode is Mode.STRICTER
            yield Objection(VERDICT_FLIP, Severity.BLOCK if blocks else Severity.FLAG)

    def _on_trace(self) -> Iterator[Objection]:
        if self._handling.requires_trace and not (self._has_steps and self.verdict):
            yield self._objection(MISSING_TRACE)

    def _objection(self, check: str, replaces: bool = False) -> Objection:
        return Objection(check, self._handling.severities[check], replaces)

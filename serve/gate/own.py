"""Our aligned model as a judge of a text and pictures: asked as by anyone, stopped before its answer.

What it says in its reasoning stays here; only its verdict, its clauses and its source tags are told. A
reply without one clear verdict is no judgement.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from policies.catalog import Catalog
from policies.formats import ReasoningFormat
from policies.prompt import ImagePart, student_messages
from policies.reply import Citation, Flag, Source, Trace, Verdict
from policies.trace import read
from serve.adapters.registry import Registry, Route
from serve.engine.call import Batch, Call, Engines
from serve.engine.kinds import KINDS
from serve.errors import InvalidRequest, Undecided
from serve.options.gate import GuardrailSettings

Json = dict[str, Any]
Input = Literal["text", "image"]

_SEEN_IN: Final[Mapping[Source, tuple[Input, ...]]] = {
    Source.VISUAL: ("image",),
    Source.TEXTUAL: ("text",),
    Source.BOTH: ("text", "image"),
}
_UNCLEAR: Final = frozenset(
    {Flag.NO_TRACE, Flag.SEVERAL_VERDICTS, Flag.VERDICT_NOT_LAST, Flag.CONTRADICTED_VERDICT}
)
_LONGEST_REPLY: Final = 1 << 20
"""Characters; a reasoning is a page."""
_AGAIN = "the model gave no clear verdict on it; try again"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the model says of one text and its pictures, taken as a request."""

    route: Route
    verdict: Verdict
    policies: Mapping[str, frozenset[Input]]
    """The policies it violates, by id, with where each is seen; empty where the model did not say."""
    trace: Trace
    usage: Json = field(default_factory=dict)
    """As the engine counted."""

    @property
    def refuses(self) -> bool:
        """Whether the model would not help with it at all."""
        return self.verdict is Verdict.REFUSE

    @property
    def clauses(self) -> tuple[str, ...]:
        """Every existing clause that it cites, in order, each once."""
        return tuple(dict.fromkeys(cited.clause for cited in self.trace.citations if cited.valid))


class OwnJudge:
    """Asks an aligned model of this gateway's own engines."""

    def __init__(
        self, engines: Engines, registry: Registry, catalog: Catalog, options: GuardrailSettings
    ) -> None:
        """Raises UnknownModel for an alias that the settings name and nobody serves."""
        self.route = registry.resolve(options.alias) if options.alias else registry.first
        self.judges_responses = options.judge_responses
        self._engines = engines
        self._catalog = catalog
        self._deadline_s = options.deadline_s

    async def judge(
        self, text: str, pictures: Sequence[ImagePart], request_id: str, route: Route | None = None
    ) -> Judgement:
        """Raises Undecided where no verdict came in time, InvalidRequest for a model that gives none, and
        what the engines raise."""
        if route is not None and not route.version.is_aligned:
            raise InvalidRequest(f"{route.alias} is not aligned, so it gives no verdicts", param="model")
        route = route or self.route
        if not route.version.is_aligned:
            raise Undecided(f"no aligned model judges here: {route.alias} gives no verdicts")
        reply = Reply(route.version.format)
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._engines.stream_chat(self._call(route, text, pictures, request_id)) as batches,
            ):
                await reply.take(batches)
        except TimeoutError as error:
            raise Undecided("the model took too long over it; try again") from error
        trace = read(reply.text, route.version.format, route.version.clauses)
        if not reply.is_whole or trace.verdict is None or _UNCLEAR & {*trace.flags}:
            raise Undecided(_AGAIN)
        return Judgement(route, trace.verdict, self._violated(trace), trace, reply.usage)

    def _call(self, route: Route, text: str, pictures: Sequence[ImagePart], request_id: str) -> Call:
        tags = route.version.format
        payload: Json = {
            "messages": student_messages(text, pictures, reasoning_format=tags),
            "temperature": 0,
        }
        if KINDS[self._engines.kind_of(route)].takes_stop:
            payload["stop"] = [tags.reasoning[-1].closing, *([tags.answer.opening] if tags.answer else [])]
        # Whoever judges the same text again finds its prompt in the same replica's cache.
        affinity = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
        return Call(route, payload, whole=True, request_id=request_id, affinity=affinity)

    def _violated(self, trace: Trace) -> Mapping[str, frozenset[Input]]:
        """By what it cites for refusing; a case near the border that it cites for complying is none."""
        if trace.verdict is not Verdict.REFUSE:
            return {}
        violated = {policy: frozenset[Input]() for policy in self._refused(trace.citations)}
        for step in trace.steps:
            for policy in self._refused(step.citations):
                violated[policy] |= frozenset(_SEEN_IN[step.source] if step.source else ())
        return violated

    def _refused(self, citations: Iterable[Citation]) -> Iterable[str]:
        for cited in citations:
            clause = self._catalog.clause(cited.clause) if cited.valid else None
            if clause and clause.demands in (None, Verdict.REFUSE):
                yield clause.id.partition(".")[0]


class Reply:
    """The only choice of a reply."""

    def __init__(self, tags: ReasoningFormat) -> None:
        self.usage: Json = {}
        self.is_whole = False
        """It ended where it should: neither cut off nor endless."""
        self._opening = "" if tags.prefilled else tags.reasoning[0].opening
        self._closing = tags.reasoning[-1].closing
        self._reasoning: list[str] = []
        self._content: list[str] = []

    async def take(self, batches: AsyncIterator[Batch]) -> None:
        """Until it has ended or is too long to be one."""
        size = 0
        async for batch in batches:
            for chunk in batch:
                self.usage = chunk.get("usage") or self.usage
                size += sum(map(self._take, chunk.get("choices") or ()))
            if size > _LONGEST_REPLY:
                self.is_whole = False
                return

    @property
    def text(self) -> str:
        """With the tags that an engine's own parser took off."""
        reasoning, content = "".join(self._reasoning), "".join(self._content)
        return f"{self._opening}{reasoning}{self._closing}{content}" if reasoning else content

    def _take(self, choice: Json) -> int:
        delta = choice.get("delta") or {}
        reasoning = delta.get("reasoning") or delta.get("reasoning_content") or ""
        content = delta.get("content") or ""
        self._reasoning.append(reasoning)
        self._content.append(content)
        if finish := choice.get("finish_reason"):
            self.is_whole = finish == "stop"
        return len(reasoning) + len(content)

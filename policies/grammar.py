"""The reply grammar as an xgrammar EBNF, for an engine's structured outputs: the *strict* trace mode.

Every string of it reads as a well-formed trace that cites only the given clauses. It is narrower than
what the reader accepts: steps are one line long and bounded in number and length, so that a weak model
cannot think for ever, citations close a step, and a verdict cites no clause that demands another. It
knows formats and spells no tag itself. The answer is free, so it may hold what only looks like a
tag or a citation; the reader flags that.
"""

from collections.abc import Iterable, Iterator

from policies.formats import ReasoningFormat, Section
from policies.look_alikes import ALIKE
from policies.reply import Clauses, Source, Verdict
from policies.unseen import INVISIBLE

MAX_STEPS = 16
"""Per section."""
MAX_STEP_TEXT = 600
"""Characters of a step, without its tag and citations."""
MAX_CITATIONS = 3
"""Per step, and for the verdict."""

# A text begins with something to see: neither with a blank of any kind, which would be trimmed away, nor
# with what shows nothing, because the whole text might be of that.
_BLANK = r" \u0000-\u001f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u2800\u3000"


def trace_grammar(reasoning_format: ReasoningFormat, clauses: Clauses) -> str:
    """The grammar's text for replies that cite these clauses; with none, replies without citations."""
    return "\n".join(
        f"{name} ::= {body}"
        for rules in (_reply(reasoning_format), _steps(reasoning_format), _all_citations(clauses))
        for name, body in rules
    )


def _reply(reasoning_format: ReasoningFormat) -> Iterator[tuple[str, str]]:
    """Leading sections may be left out, as the renderer does, but some section holds a step."""
    *early, last = reasoning_format.reasoning
    names = [f"section{number}" for number in range(1, len(early) + 1)]
    starts = [
        " ".join([name, *(f"{later}?" for later in names[number:]), "last"])
        for number, name in enumerate(names, start=1)
    ]
    yield "root", f"({' | '.join([*starts, 'whole'])}) {_wrapped_answer(reasoning_format)}"
    for name, section in zip(names, early, strict=True):
        yield name, _section(section, "steps1")
    if names:
        yield "last", _section(last, "steps1? verdict")
    yield "whole", _section(last, "steps1 verdict", opened=reasoning_format.prefilled)


def _section(section: Section, content: str, *, opened: bool = False) -> str:
    opening = [] if opened else [_literal(section.opening.removesuffix("\n") + "\n")]
    return " ".join([*opening, content, _literal(section.closing + "\n")])


def _wrapped_answer(reasoning_format: ReasoningFormat) -> str:
    wrapper = reasoning_format.answer
    if not wrapper or not reasoning_format.wraps_answer:
        return "answer"
    return " ".join([_literal(wrapper.opening + "\n"), "answer", _literal("\n" + wrapper.closing)])


def _steps(reasoning_format: ReasoningFormat) -> Iterator[tuple[str, str]]:
    tags = reasoning_format.delimiters
    first_letters = {tag[0] for tag in tags}
    first = _characters(first_letters)
    second = _characters({"/", *(tag[1] for tag in tags)})
    third = _characters({tag[2] for tag in tags if tag[1] == "/"})
    seeming = _characters(set("".join(ALIKE[character] for character in ("[", "]", *first_letters))))
    for number in range(1, MAX_STEPS):
        yield f"steps{number}", f"step steps{number + 1}?"
    yield f"steps{MAX_STEPS}", "step"
    yield "step", f'"[" ({_choice(Source)}) "] " text citations "\\n"'
    # No brackets and no tag can begin in here, nor what looks like one of them, so a citation is a
    # citation and a section ends where it ends.
    never = rf"\[\]{first}{seeming}"
    yield "text", rf"[^{_unseen()}{never}] [^\u0000-\u001f{never}]{{0,{MAX_STEP_TEXT - 1}}}"
    decisions = " | ".join(f'"{verdict}" {verdict}_citations' for verdict in Verdict)
    yield "verdict", f'"Verdict: " ({decisions}) "\\n"'
    # The answer is free, but it never spells the beginning of a tag: `<t` and `</t`, say.
    yield "answer", rf"[^{_unseen()}{first}] piece*"
    yield "piece", rf'[^{first}] | [{first}]{{1,8}} ([^{first}{second}] | "/" [^{first}{third}])'


def _unseen() -> str:
    escaped = (letter if letter == "-" else rf"\U{ord(letter):08x}" for letter in INVISIBLE)
    return _BLANK + "".join(escaped)


def _all_citations(clauses: Clauses) -> Iterator[tuple[str, str]]:
    """Those of a step, then those that may stand behind each verdict."""
    yield from _citations("", clauses)
    for verdict in Verdict:
        agreeing = [id_ for id_, demanded in clauses.items() if demanded in (None, verdict)]
        yield from _citations(f"{verdict}_", agreeing)


def _citations(prefix: str, clause_ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    by_policy: dict[str, list[str]] = {}
    for clause in sorted(clause_ids):
        policy, _, name = clause.partition(".")
        by_policy.setdefault(policy, []).append(name)
    if not by_policy:
        yield f"{prefix}citations", '""'
        return
    cited = [" ".join([f"{prefix}citation"] * count) or '""' for count in range(MAX_CITATIONS + 1)]
    yield f"{prefix}citations", " | ".join(cited)
    yield f"{prefix}citation", f'" [" {prefix}clause "]"'
    choices = (f'"{policy}." ({_choice(names)})' for policy, names in by_policy.items())
    yield f"{prefix}clause", " | ".join(choices)


def _choice(words: Iterable[str]) -> str:
    return " | ".join(f'"{word}"' for word in words)


def _literal(text: str) -> str:
    return '"' + text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") + '"'


def _characters(letters: set[str]) -> str:
    """For a character class; the tags' letters need an escape only where the class has a meaning for them."""
    return "".join(f"\\{letter}" if letter in r"\]^-" else letter for letter in sorted(letters))

"""The strict grammar against the reader: all it derives is well formed, all that is rendered it derives.

The grammar does not recurse, so it is a regular expression in disguise. Hypothesis derives replies
its rules, and matching against it decides membership. The engine's own compiler is tried last.
"""

import re
from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.catalog import load_catalog
from policies.formats import FORMATS, ReasoningFormat
from policies.grammar import MAX_STEP_TEXT, trace_grammar
from policies.look_alikes import ALIKE
from policies.render import compose, render
from policies.trace import Citation, Source, Step, Verdict, read
from policies.unseen import INVISIBLE

BLANK = r" \u0000-\u001f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u2800\u3000"
UNSEEN = BLANK + "".join(letter if letter == "-" else rf"\U{ord(letter):08x}" for letter in INVISIBLE)
SEEMING = "".join(sorted({*ALIKE["["], *ALIKE["]"], *ALIKE["<"]}))
CLAUSES = {"P01.G": None, "P19.B1": Verdict.COMPLY, "P19.D2": None, "P19.R3": Verdict.REFUSE}
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|[a-z_]+[0-9]*|[()|?*]|\{[0-9,]+\}|\s+')

each_format = pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS)


def rules(grammar: str) -> dict[str, str]:
    return dict(line.split(" ::= ", 1) for line in grammar.splitlines())


def pattern(rule: str, bodies: Mapping[str, str]) -> str:
    """The rule as a regular expression."""
    return body_pattern(bodies[rule], lambda name: pattern(name, bodies))


def body_pattern(body: str, named: Callable[[str], str]) -> str:
    tokens = TOKEN.findall(body)
    assert "".join(tokens) == body
    return "(?:" + "".join(_token(token, named) for token in tokens) + ")"


def _token(token: str, named: Callable[[str], str]) -> str:
    if token.startswith('"'):
        text = token[1:-1].replace(r"\n", "\n").replace(r"\"", '"').replace(r"\\", "\\")
        return f"(?:{re.escape(text)})"
    return named(token) if token[0].isalpha() else token.strip()


@st.composite
def derived(draw: st.DrawFn, rule: str, bodies: Mapping[str, str]) -> str:
    """A string of the rule: its own shape is drawn first, with a private character for each rule in it."""
    names = dict(zip(map(chr, range(0xE000, 0xF8FF)), bodies, strict=False))
    marks = {name: mark for mark, name in names.items()}
    shape = draw(st.from_regex(re.compile(body_pattern(bodies[rule], marks.__getitem__)), fullmatch=True))
    return "".join(draw(derived(names[c], bodies)) if c in names else c for c in shape)


PATTERNS = {
    name: re.compile(pattern("root", rules(trace_grammar(format_, CLAUSES))))
    for name, format_ in FORMATS.items()
}

BOMB = compose(
    [
        Step("The words ask.", Source.TEXTUAL, ()),
        Step("A bomb.", Source.VISUAL, (Citation("P19.D2", True),) * 3),
        Step("Both.", Source.BOTH, ()),
    ],
    Verdict.REFUSE,
    [Citation("P19.R3", True)],
    "If a < b, no.\n\nElse <b>no</b>.",
)


@each_format
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_the_grammar_derives_is_well_formed(format_: ReasoningFormat, data: st.DataObject) -> None:
    reply = data.draw(derived("root", rules(trace_grammar(format_, CLAUSES))))
    trace = read(reply, format_, CLAUSES)
    assert trace.well_formed, trace.flags


@each_format
def test_what_is_rendered_is_in_the_grammar(format_: ReasoningFormat) -> None:
    assert PATTERNS[format_.name].fullmatch(render(BOMB, format_))
    only_seen = compose(BOMB.steps[1:2], Verdict.COMPLY, [], "Yes.")
    assert PATTERNS[format_.name].fullmatch(render(only_seen, format_))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("P19.D2", "P19.D3"),
        ("[visual]", "[seen]"),
        ("Verdict: refuse", "Verdict: maybe"),
        ("Verdict: refuse", "Verdict: comply"),
        ("refuse [P19.R3]", "refuse [P19.B1]"),
        ("Verdict: refuse [P19.R3]\n", ""),
        ("If a", "</think>"),
        ("If a < b, no.\n\nElse <b>no</b>.", ""),
        ("[textual] The words ask.", "The words ask."),
        ("A bomb.", "x" * (MAX_STEP_TEXT + 1)),
        ("A bomb.", "A [P99.D1] bomb."),
        ("A bomb.", "A </think> bomb."),
        ("A bomb.", "A ＜/think> bomb."),
        ("A bomb.", "A ［P19.D2] bomb."),
        ("A bomb.", "\u2003A bomb."),
        ("If a", "\u000cIf a"),
        ("A bomb.", "\u200bA bomb."),
        ("If a < b, no.\n\nElse <b>no</b>.", "\u2060\ufeff"),
    ],
)
def test_what_is_not_strict_is_not_in_the_grammar(old: str, new: str) -> None:
    text = render(BOMB, FORMATS["think"])
    assert old in text
    assert not PATTERNS["think"].fullmatch(text.replace(old, new))


def test_the_grammar_of_think_is_this_text() -> None:
    lines = trace_grammar(FORMATS["think"], CLAUSES).splitlines()
    assert [line for line in lines if not line.startswith("steps")] == [
        "root ::= (whole) answer",
        r'whole ::= "<think>\n" steps1 verdict "</think>\n"',
        r'step ::= "[" ("visual" | "textual" | "visual+textual") "] " text citations "\n"',
        rf"text ::= [^{UNSEEN}\[\]<{SEEMING}] [^\u0000-\u001f\[\]<{SEEMING}]{{0,599}}",
        r'verdict ::= "Verdict: " ("refuse" refuse_citations | "safe_complete" safe_complete_citations | '
        r'"comply" comply_citations) "\n"',
        rf"answer ::= [^{UNSEEN}<] piece*",
        'piece ::= [^<] | [<]{1,8} ([^</at] | "/" [^<at])',
        'citations ::= "" | citation | citation citation | citation citation citation',
        'citation ::= " [" clause "]"',
        'clause ::= "P01." ("G") | "P19." ("B1" | "D2" | "R3")',
        *verdict_citations("refuse", '"P01." ("G") | "P19." ("D2" | "R3")'),
        *verdict_citations("safe_complete", '"P01." ("G") | "P19." ("D2")'),
        *verdict_citations("comply", '"P01." ("G") | "P19." ("B1" | "D2")'),
    ]


def verdict_citations(verdict: str, clauses: str) -> list[str]:
    one = f"{verdict}_citation"
    return [
        f'{one}s ::= "" | {one} | {one} {one} | {one} {one} {one}',
        f'{one} ::= " [" {verdict}_clause "]"',
        f"{verdict}_clause ::= {clauses}",
    ]


def test_without_clauses_nothing_can_be_cited() -> None:
    bodies = rules(trace_grammar(FORMATS["think"], {}))
    strict = re.compile(pattern("root", bodies))
    assert "clause" not in bodies
    assert strict.fullmatch("<think>\n[visual] x\nVerdict: comply\n</think>\nYes.")
    assert not strict.fullmatch("<think>\n[visual] x [P01.G]\nVerdict: comply\n</think>\nYes.")


@pytest.mark.engine
@each_format
def test_the_engines_compiler_reads_the_grammar_as_we_do(format_: ReasoningFormat) -> None:
    xgrammar = pytest.importorskip("xgrammar")
    from xgrammar.testing import _is_grammar_accept_string as accepts

    grammar = xgrammar.Grammar.from_ebnf(trace_grammar(format_, load_catalog().citable))
    text = render(BOMB, format_)
    assert accepts(grammar, text)
    assert not accepts(grammar, text.replace("P19.D2", "P19.D99"))
    assert not accepts(grammar, text.replace("A bomb.", "\u00a0A bomb."))
    assert not accepts(grammar, text.replace("A bomb.", "\u200bA bomb."))
    assert not accepts(grammar, text.replace("A bomb.", "\U000e0041A bomb."))
    assert accepts(grammar, text.replace("A bomb.", "\U0001f408 A cat."))
    assert accepts(grammar, text.replace("A bomb.", "Eine Bombe \u2013 \u722e\u5f39."))

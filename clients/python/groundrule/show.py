"""Replies on a terminal: steps with their sources in colour, cited clauses with titles, verdict, answer.

What a model wrote is data: it is never read as markup, and its control characters do not reach the terminal.
"""

import re

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from groundrule.events import AnswerText, Event, Finished, StepRead, VerdictRead
from groundrule.reply import Reply
from groundrule.safety import Safety, Step

_SOURCE_STYLES = {"visual": "bold cyan", "textual": "bold yellow", "visual+textual": "bold magenta"}
_VERDICT_STYLES = {"refuse": "bold red", "safe_complete": "bold yellow", "comply": "bold green"}
_INDENT = 2
_LABEL_WIDTH = len("[visual+textual]")
_TEXT_COLUMN = _INDENT + _LABEL_WIDTH + 1

# Controls, separators of lines and paragraphs, what overrides or isolates directions, and lone surrogates.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# A line may end behind white space that is not no-break, and behind Chinese and Japanese, which have none.
_MAY_END = re.compile(
    r"(?<=[^\S\r\xa0\u2007\u202f])"
    r"|(?<=[\u2e80-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff60\U00020000-\U0003ffff])"
)


class ReplyPrinter:
    """Prints one reply while it arrives; give it every event of a stream, and close it whatever comes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._answer: _WrappedWriter | None = None

    def show(self, event: Event) -> None:
        """Print what the event adds."""
        match event:
            case StepRead(step):
                _print_step(self._console, step)
            case VerdictRead(verdict):
                _print_verdict(self._console, verdict)
            case AnswerText(text):
                self._write_answer(text)
            case Finished(reply):
                self.close()
                print_footer(self._console, reply.safety)

    def close(self) -> None:
        """End the answer, which may have been cut short."""
        if self._answer:
            self._answer.end()
            self._answer = None

    def _write_answer(self, text: str) -> None:
        if self._answer is None:
            self._answer = _WrappedWriter(self._console, Text("answer", "dim"))
        self._answer.write(text)


def print_reply(console: Console, reply: Reply) -> None:
    """Print a reply that arrived whole."""
    for step in reply.safety.steps:
        _print_step(console, step)
    _print_verdict(console, reply.verdict)
    _print_row(console, Text("answer", "dim"), Text(printable(reply.answer)))
    print_footer(console, reply.safety)


def print_footer(console: Console, safety: Safety) -> None:
    """Print what is known only at the end: clause titles, the gateway's action, faults of the trace."""
    for citation in safety.citations:
        title = citation.title if citation.valid and citation.title else "no valid clause"
        clause = Text(printable(citation.clause), "bold" if citation.valid else "bold red")
        _print_row(console, Text("cited", "dim"), Text.assemble(clause, " ", printable(title)))
    if safety.action != "none":
        _print_row(console, Text("gateway", "dim"), Text(printable(safety.action), "bold red"))
    if not safety.well_formed:
        _print_row(console, Text("malformed", "dim"), Text(printable(", ".join(safety.flags)), "red"))


def printable(text: str) -> str:
    """The text without what could drive a terminal, or show it in another order than it is read in."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def _print_step(console: Console, step: Step) -> None:
    tag = Text(printable(f"[{step.source or 'untagged'}]"), _SOURCE_STYLES.get(step.source or "", "dim"))
    cited = "".join(f" [{clause}]" for clause in step.citations if f"[{clause}]" not in step.text)
    _print_row(console, tag, Text.assemble(printable(step.text), (printable(cited), "bold")))


def _print_verdict(console: Console, verdict: str | None) -> None:
    value = Text(printable(verdict or "none given"), _VERDICT_STYLES.get(verdict or "", "dim"))
    _print_row(console, Text("verdict", "dim"), value)


def _print_row(console: Console, label: Text, text: Text) -> None:
    """A label, and beside it a text that wraps within its column."""
    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_column(width=_INDENT - 1)
    row.add_column(width=_LABEL_WIDTH, no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row("", label, text)
    console.print(row)


class _WrappedWriter:
    """Writes text that arrives in pieces into the text column, breaking lines where they may end."""

    def __init__(self, console: Console, label: Text) -> None:
        self._console = console
        self._column = _TEXT_COLUMN
        self._word = ""
        label.pad_right(_LABEL_WIDTH - len(label))
        self._print(Text.assemble(" " * _INDENT, label, " "))

    def write(self, text: str) -> None:
        *complete, self._word = _MAY_END.split(self._word + text)
        for word in complete:
            self._write_word(word)

    def end(self) -> None:
        self._write_word(self._word)
        self._console.print()

    def _write_word(self, unsafe: str) -> None:
        word = printable(unsafe)
        if self._column > _TEXT_COLUMN and self._column + cell_len(word.rstrip()) > self._console.width:
            self._break_line()
        self._print(Text(word.rstrip("\n")))
        self._column += cell_len(word)
        if word.endswith("\n"):
            self._break_line()

    def _break_line(self) -> None:
        self._console.print()
        self._print(Text(" " * _TEXT_COLUMN))
        self._column = _TEXT_COLUMN

    def _print(self, text: Text) -> None:
        self._console.print(text, end="", soft_wrap=True)

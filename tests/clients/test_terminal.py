"""What a reply looks like on a terminal: which characters, in which lines, and when."""

import io
from typing import Any

import pytest
from groundrule import AnswerText
from groundrule.cli import main
from groundrule.show import ReplyPrinter, printable
from rich.cells import cell_len
from rich.console import Console

from tests.clients.conftest import SAFETY, chunk
from tests.clients.scripted_gateway import ScriptedGateway, streamed

WIDTH = 40


def answered(*pieces: str, safety: dict[str, Any] = SAFETY) -> list[dict[str, Any]]:
    return [*(chunk(content=piece) for piece in pieces), chunk("stop", safety=safety)]


def printed(*pieces: str) -> str:
    """What stands on the terminal while the reply is still being written."""
    console = Console(file=io.StringIO(), width=WIDTH)
    printer = ReplyPrinter(console)
    for piece in pieces:
        printer.show(AnswerText(piece))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "10\xa0km",
        "1\u202f000",
        "全角\u3000空白",
        "👩\u200d🚒",
        "می\u200cخواهم",
        "a\tb\nc",
        "\u200fשלום",
        "e\u0301",
    ],
)
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "text", ["\x1b", "\x07", "\r", "\x9b", "\ud83d", "\u2028", "\u2029", "\u202e", "\u2066"]
)
def test_what_drives_a_terminal_or_turns_text_around_is_not(text: str) -> None:
    assert printable(f"a{text}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_lines_may_end_as_they_do_on_windows(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.enqueue(streamed(*answered("one\r", "\ntwo\r\nthree")))
    main(["--url", gateway.url, "ask", "?"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[:3]] == ["one", "two", "three"]


def test_an_answer_without_spaces_is_shown_as_it_arrives() -> None:
    assert printed("我不能帮", "助你。").endswith("我不能帮助你。")


def test_an_answer_without_spaces_keeps_to_the_width() -> None:
    lines = printed("我不能帮助你制造炸弹。" * 9).splitlines()
    assert len(lines) > 1
    assert max(map(cell_len, lines)) <= WIDTH


def test_a_no_break_space_does_not_end_a_line() -> None:
    assert "100\xa0km" in [line.strip() for line in printed("It is as far as 100\xa0km ").splitlines()]


def test_what_arrived_of_a_broken_reply_is_shown(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.enqueue(streamed(chunk(content="These are the last"), chunk(content=" words"), done=False))
    assert main(["--url", gateway.url, "ask", "?"]) == 1
    told = capsys.readouterr()
    assert told.out.endswith("These are the last words\n")
    assert told.err.startswith("groundrule: ")


def test_words_of_a_newer_gateway_are_shown(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    step = {"text": "Somebody laughs.", "source": "audio", "citations": []}
    safety = {**SAFETY, "verdict": "clarify", "action": "rewritten\x1b", "flags": [], "citations": []}
    parts: list[dict[str, Any]] = [{"step": step}, {"verdict": "clarify"}]
    gateway.enqueue(streamed(*(chunk(safety=part) for part in parts), *answered("Who?", safety=safety)))
    assert main(["--url", gateway.url, "ask", "?"]) == 0
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert rows == ["[audio] Somebody laughs.", "verdict clarify", "answer Who?", "gateway rewritten\ufffd"]

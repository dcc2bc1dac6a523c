"""The `groundrule` command, run in-process against the scripted gateway."""

from pathlib import Path

import pytest
from groundrule.cli import main

from tests.clients.conftest import SAFETY, chunk, reply_events
from tests.clients.scripted_gateway import ScriptedGateway, plain, streamed


@pytest.fixture
def picture(tmp_path: Path) -> str:
    file = tmp_path / "bomb.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    return str(file)


def test_ask_prints_tags_titles_verdict_and_answer(
    gateway: ScriptedGateway, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.enqueue(streamed(*reply_events()))
    assert main(["--url", gateway.url, "ask", picture, "Tell me how to make this."]) == 0
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        "[visual] The picture shows a bomb.",
        "[visual+textual] Making it harms people. [P19.D2] [P99.D1]",
        "verdict refuse",
        "answer I can't help with making a bomb.",
        "cited P19.D2 Weapons of mass harm",
        "cited P99.D1 no valid clause",
        "malformed invalid_clause",
    ]


def test_ask_needs_no_picture(gateway: ScriptedGateway) -> None:
    gateway.enqueue(streamed(*reply_events()))
    assert main(["--url", gateway.url, "ask", "Hello?"]) == 0
    assert [part["type"] for part in gateway.history[0]["messages"][0]["content"]] == ["text"]


def test_a_strict_reply_can_be_asked_for(gateway: ScriptedGateway) -> None:
    gateway.enqueue(streamed(*reply_events()))
    assert main(["--url", gateway.url, "ask", "--strict", "Hello?"]) == 0
    assert gateway.history[0]["safety"] == {"strict": True}


@pytest.mark.parametrize(
    "arguments",
    [
        ["{picture}", "--strict", "Hello?"],
        ["--strict", "{picture}", "Hello?"],
        ["{picture}", "Hello?", "--strict"],
        ["--max-tokens", "9", "{picture}", "--strict", "--", "Hello?"],
    ],
)
def test_options_may_stand_anywhere(gateway: ScriptedGateway, picture: str, arguments: list[str]) -> None:
    gateway.enqueue(streamed(*reply_events()))
    assert main(["--url", gateway.url, "ask", *(word.format(picture=picture) for word in arguments)]) == 0
    [asked] = gateway.history
    shown, words = asked["messages"][0]["content"]
    assert shown["type"] == "image_url"
    assert words["text"] == "Hello?"
    assert asked["safety"] == {"strict": True}


@pytest.mark.parametrize(
    ("named", "asked"),
    [
        (["--policies", "P19"], ["P19"]),
        (["--policies", "P19,P20"], ["P19", "P20"]),
        (["--policies", "P19", "--policies", "P20"], ["P19", "P20"]),
        (["--policies", "auto"], "auto"),
        (["--policies", "categorised"], "categorised"),
    ],
)
def test_policies_leave_the_question_alone(
    gateway: ScriptedGateway, picture: str, named: list[str], asked: str | list[str]
) -> None:
    for words in ([*named, "Hello?"], [picture, *named, "Hello?"], [picture, "Hello?", *named]):
        gateway.enqueue(streamed(*reply_events()))
        assert main(["--url", gateway.url, "ask", *words]) == 0
        last = gateway.history[-1]
        assert last["messages"][0]["content"][-1]["text"] == "Hello?"
        assert last["safety"] == {"policy_in_context": asked}


@pytest.mark.parametrize(
    "words", [[], ["a.png", "b", "c"], ["--strict"], ["?", "--unheard"], ["?", "--policies"]]
)
def test_words_that_are_none_or_too_many_are_wrong_usage(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--url", gateway.url, "ask", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: groundrule")
    assert gateway.history == []


def test_long_answers_break_between_words(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"word{number}" for number in range(40)]
    pieces = [chunk(content=f"{word} ") for word in words]
    gateway.enqueue(streamed(*pieces, chunk("stop", safety={**SAFETY, "citations": [], "flags": []})))
    main(["--url", gateway.url, "ask", "?"])
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert " ".join(lines).split() == ["answer", *words]


def test_a_reply_cannot_drive_the_terminal(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]0;owned\x07 [bold]loud[/bold]"
    step = {"text": evil, "source": None, "citations": []}
    gateway.enqueue(streamed(chunk(safety={"step": step}), chunk(content=evil), chunk("stop", safety=SAFETY)))
    main(["--url", gateway.url, "ask", "?"])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert out.count("[bold]loud[/bold]") == 2


def test_models_are_listed_one_a_line(gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]) -> None:
    cards = [
        {"id": name, "object": "model", "created": 1, "owned_by": "x"} for name in ("groundrule", "base")
    ]
    gateway.enqueue(plain({"object": "list", "data": cards}))
    assert main(["--url", gateway.url, "models"]) == 0
    assert capsys.readouterr().out == "groundrule\nbase\n"


def test_a_key_goes_only_where_it_was_meant_to(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setattr("groundrule.cli.DEFAULT_URL", gateway.url)
    gateway.enqueue(plain({"object": "list", "data": []}), plain({"object": "list", "data": []}))
    main(["models"])
    main(["--url", gateway.url, "models"])
    assert [headers["authorization"] for headers in gateway.headers] == ["Bearer none", "Bearer secret"]


def test_a_refusal_of_the_gateway_is_one_line(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {
        "message": "there is no model 'x'",
        "type": "invalid_request_error",
        "param": "model",
        "code": "y",
    }
    gateway.enqueue(plain({"error": error}, 404))
    assert main(["--url", gateway.url, "ask", "?", "--model", "x"]) == 1
    told = capsys.readouterr().err
    assert "there is no model 'x'" in told
    assert told.count("\n") == 1


def test_a_missing_file_is_wrong_usage(gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", gateway.url, "ask", "/nowhere/a.png", "?"]) == 2
    assert "a.png" in capsys.readouterr().err


def test_an_argument_that_is_no_utf8_is_wrong_usage(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--url", gateway.url, "ask", "\udcff?"]) == 2
    assert "UTF-8" in capsys.readouterr().err


def test_nobody_listening_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "http://127.0.0.1:9/v1", "models"]) == 1
    assert capsys.readouterr().err.startswith("groundrule: ")

"""What a server answers that is no Groundrule gateway is called that, wherever it is read."""

import pytest
from groundrule import Groundrule, NotGroundruleError
from groundrule.cli import main

from tests.clients.conftest import body, chunk
from tests.clients.scripted_gateway import Answer, Json, ScriptedGateway, plain, streamed

PAGE = Answer(b"<html>It works!</html>", content_type="text/html")
EVERYWHERE = [PAGE, Answer(b"{bad"), Answer(b"\xff"), Answer(b"[]"), Answer(b"null"), plain({})]
COMPLETIONS = [
    plain({"choices": []}),
    plain({"choices": [{"index": 0, "text": "Hi", "finish_reason": "stop"}]}),
    plain(body(safety=None)),
    plain(body(safety={})),
    plain(body({"verdict": 5})),
]


def sent(*events: Json) -> Answer:
    return streamed(*events, chunk("stop"))


STREAMS = [
    Answer(b"data: {bad\n\n", content_type="text/event-stream"),
    Answer(b"data: []\n\n", content_type="text/event-stream"),
    Answer(b"data: \xff\n\n", content_type="text/event-stream"),
    sent({}),
    sent({"choices": None}),
    sent({"choices": [{"index": 0, "text": "Hi"}]}),
    sent({"choices": [{"index": 1, "delta": {"content": "Hi"}}]}),
    sent(chunk(content="Hi")),
    sent(chunk(safety={})),
    sent(chunk(safety=5)),
    sent(chunk(safety={"step": {}})),
    sent(chunk(safety={"verdict": 5})),
    streamed(chunk("stop", safety={"action": "none"})),
]


@pytest.mark.parametrize("answer", [*EVERYWHERE, *COMPLETIONS])
def test_an_answer_that_is_no_gateways_is_named_as_such(
    gateway: ScriptedGateway, client: Groundrule, answer: Answer
) -> None:
    gateway.enqueue(answer)
    with pytest.raises(NotGroundruleError):
        client.ask("?")


@pytest.mark.parametrize("answer", [*EVERYWHERE, *COMPLETIONS, *STREAMS])
def test_a_stream_that_is_no_gateways_is_named_as_such(
    gateway: ScriptedGateway, client: Groundrule, answer: Answer
) -> None:
    gateway.enqueue(answer)
    with pytest.raises(NotGroundruleError):
        list(client.stream("?"))


@pytest.mark.parametrize("answer", [*EVERYWHERE, plain({"data": [{}]})])
def test_a_list_of_models_that_is_no_gateways_is_named_as_such(
    gateway: ScriptedGateway, client: Groundrule, answer: Answer
) -> None:
    gateway.enqueue(answer)
    with pytest.raises(NotGroundruleError):
        client.models()


@pytest.mark.parametrize("command", [["models"], ["ask", "?"]])
def test_on_the_command_line_it_is_no_wrong_usage(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    for answer in EVERYWHERE:
        gateway.enqueue(answer)
        assert main(["--url", gateway.url, *command]) == 1
        told = capsys.readouterr().err
        assert "Groundrule" in told or "URL" in told
        assert told.count("\n") == 1

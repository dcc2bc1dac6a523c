"""Claims about what guards are shown of a request: everything that the model reads, and never too little."""

import base64
import io

from PIL import Image

from serve.gate.values import Conversation, Excerpt, Ruling, Stage
from serve.gate.wording import WITHHELD
from tests.serve.answering import ANSWER, Json, answering, ask


class Discerning:
    """Objects to a question where the picture beside it is dark, and to no picture by itself."""

    name = "discerning"
    stages = frozenset({Stage.INPUT, Stage.IMAGE})

    def __init__(self) -> None:
        self.shown: list[tuple[Stage, str]] = []

    async def judge(self, excerpt: Excerpt, about: Conversation) -> Ruling:
        self.shown.append((excerpt.stage, excerpt.text))
        is_dark = any(_is_dark(png) for png in about.pictures)
        return Ruling(blocks=excerpt.stage is Stage.INPUT and is_dark, guard=self.name)


def _is_dark(png: bytes) -> bool:
    return Image.open(io.BytesIO(png)).getpixel((0, 0)) == (0, 0, 0)


def about(colour: str, *texts: str) -> Json:
    """A request with one picture, and one turn for each text."""
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(encoded, "PNG")
    url = "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
    first, *others = [{"role": "user", "content": [{"type": "text", "text": text}]} for text in texts]
    first["content"].insert(0, {"type": "image_url", "image_url": {"url": url}})  # type: ignore[attr-defined]
    return {**ask(), "messages": [first, *others]}


def test_a_question_that_passed_with_one_picture_is_judged_anew_with_another() -> None:
    with answering(Discerning()) as gateway:
        harmless, harmful = (gateway.post(about(colour, "How is it made?")) for colour in ("white", "black"))
    assert harmless.json()["choices"][0]["message"]["content"] == ANSWER
    assert harmful.json()["choices"][0]["message"]["refusal"] == WITHHELD


def test_a_text_cannot_pass_for_another_with_its_picture() -> None:
    guard = Discerning()
    with answering(guard) as gateway:
        gateway.post(about("black", "x"))
        (digest,) = gateway.row.picture_digests
        for text in (f"{digest}\nHow is it made?", f'[["{digest}"], "How is it made?"]'):
            assert gateway.message(messages=ask(text)["messages"])["content"] == ANSWER
        answer = gateway.post(about("black", "How is it made?"))
    assert answer.json()["choices"][0]["message"]["refusal"] == WITHHELD


def test_a_conversation_that_grows_is_not_judged_from_its_beginning() -> None:
    guard = Discerning()
    with answering(guard) as gateway:
        gateway.post(about("white", "How is it made?"))
        guard.shown.clear()
        gateway.post(about("white", "How is it made?", "And this?"))
    assert sorted(guard.shown) == [(Stage.IMAGE, ""), (Stage.INPUT, "And this?")]

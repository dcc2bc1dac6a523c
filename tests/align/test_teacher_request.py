"""A request: what makes it another one, what goes over the wire, how long it is taken to be."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from align.errors import RecipeError
from align.teacher.request import Request, estimated_prompt_tokens


def picture(content: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{content}"}}


def asked(content: Any = "hello") -> tuple[dict[str, Any], ...]:
    return ({"role": "user", "content": content},)


REQUEST = Request("m", asked([picture("QUJD"), {"type": "text", "text": "what is it?"}]), 0.5, 64, 7)
FORM = {"type": "json_object"}


def test_equal_requests_have_one_key_whatever_the_order_of_their_fields() -> None:
    part = {"image_url": {"url": "data:image/png;base64,QUJD"}, "type": "image_url"}
    message = {"content": [part, {"text": "what is it?", "type": "text"}], "role": "user"}
    same = Request("m", (message,), 0.5, 64, 7)
    assert same.key == REQUEST.key
    assert len(REQUEST.key) == 64


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, model="n"),
        replace(REQUEST, temperature=0.6),
        replace(REQUEST, max_tokens=65),
        replace(REQUEST, seed=8),
        replace(REQUEST, response_format=FORM),
        replace(REQUEST, extra_body={"top_p": 0.9}),
        replace(REQUEST, messages=asked([picture("QUJE"), {"type": "text", "text": "what is it?"}])),
        replace(REQUEST, messages=asked([picture("QUJD"), {"type": "text", "text": "what is this?"}])),
        replace(REQUEST, messages=asked([{"type": "text", "text": "what is it?"}, picture("QUJD")])),
        replace(REQUEST, messages=(*REQUEST.messages, *asked())),
    ],
)
def test_whatever_may_change_the_reply_gives_another_key(other: Request) -> None:
    assert other.key != REQUEST.key


def test_a_pictures_digest_in_the_words_does_not_pass_for_the_picture() -> None:
    whole = Request("m", asked("data:,secret"), 0.0, 1, 0)
    digest = hashlib.sha256(b"data:,secret").hexdigest()
    assert whole.key != Request("m", asked(f"data:sha256:{digest}"), 0.0, 1, 0).key


def test_the_body_is_openais_with_the_extra_fields_merged_in() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "reply", "schema": {}, "strict": True}}
    request = replace(REQUEST, response_format=schema, extra_body={"top_p": 0.9, "temperature": 1.0})
    assert (
        json.loads(request.encoded())
        == request.body()
        == {
            "model": "m",
            "messages": list(REQUEST.messages),
            "temperature": 1.0,
            "max_tokens": 64,
            "seed": 7,
            "response_format": schema,
            "top_p": 0.9,
        }
    )


@pytest.mark.parametrize("name", ["model", "messages", "max_tokens", "stream", "n"])
def test_extra_fields_may_not_say_what_the_recipe_says_elsewhere(name: str) -> None:
    with pytest.raises(RecipeError, match=f"extra_body for m may not hold {name}: take it out"):
        replace(REQUEST, extra_body={name: 1})


def test_the_newer_name_of_the_token_limit_takes_the_place_of_the_older() -> None:
    request = replace(REQUEST, extra_body={"max_completion_tokens": 500})
    assert "max_tokens" not in request.body()
    assert (request.most_completion_tokens, REQUEST.most_completion_tokens) == (500, 64)


@pytest.mark.parametrize("text", ["a lone half \ud83d of a pair", "data:a lone half \ud83d", "\0", "汉字"])
def test_any_text_can_be_asked(text: str) -> None:
    request = Request("m", asked(text), 0.0, 1, 0)
    assert json.loads(request.encoded())["messages"][0]["content"] == text
    assert request.key
    assert request.prompt_tokens(0) > 0


def test_a_prompts_length_is_estimated_from_above_and_pictures_at_the_roles_word() -> None:
    english = "The assistant sees a picture and a question and must decide what to do about both. " * 20
    assert estimated_prompt_tokens(asked(english), 0) > len(english.split()) * 4 / 3
    assert estimated_prompt_tokens(asked("汉字" * 500), 0) >= 1000
    one, two = asked([picture("QUJD")]), asked([picture("QUJD"), picture("QUJD")])
    assert estimated_prompt_tokens(two, 1300) - estimated_prompt_tokens(one, 1300) == 1300
    with_form = replace(REQUEST, response_format={"type": "json_object", "x": "y" * 300})
    assert with_form.prompt_tokens(0) >= REQUEST.prompt_tokens(0) + 100

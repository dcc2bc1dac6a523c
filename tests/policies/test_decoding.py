"""Whatever an engine sends becomes text: bytes cut anywhere, halves of characters, and what is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decoding import Decoder
from policies.formats import FORMATS
from policies.trace import TraceReader, read

CAT = "🐈"
HIGH, LOW = "\ud83d", "\udc08"
ENDS = ["", "x", b"x", HIGH, LOW, CAT.encode()[:2], b"\xff", CAT, CAT.encode()]


def decoded(*pieces: str | bytes) -> str:
    decoder = Decoder()
    return "".join([*map(decoder.feed, pieces), decoder.close()])


@given(st.lists(st.binary(max_size=6)))
def test_any_bytes_in_any_pieces_are_decoded_as_if_they_were_whole(pieces: list[bytes]) -> None:
    assert decoded(*pieces) == b"".join(pieces).decode(errors="replace")


@given(st.lists(st.text(st.sampled_from([HIGH, LOW, "x", "é", CAT]), max_size=4)))
def test_halves_are_joined_wherever_they_were_parted_and_a_lone_one_is_replaced(pieces: list[str]) -> None:
    units = "".join(pieces).encode("utf-16-le", "surrogatepass")
    assert decoded(*pieces) == units.decode("utf-16-le", errors="replace")


@given(st.lists(st.sampled_from(ENDS), max_size=6))
def test_whatever_is_fed_can_be_encoded_again(pieces: list[str | bytes]) -> None:
    text = decoded(*pieces)
    assert text.encode().decode() == text


def test_a_character_waits_for_its_other_half() -> None:
    decoder = Decoder()
    assert [decoder.feed("a" + HIGH), decoder.feed(""), decoder.feed(LOW + "b")] == ["a", "", CAT + "b"]
    encoded = CAT.encode()
    assert [decoder.feed(encoded[:3]), decoder.feed(b""), decoder.feed(encoded[3:])] == ["", "", CAT]


def test_bytes_never_complete_half_a_string_nor_the_other_way_round() -> None:
    assert decoded(HIGH, b"x") == "\ufffdx"
    assert decoded(CAT.encode()[:3], "x") == "\ufffdx"


@pytest.mark.parametrize("end", [HIGH, CAT.encode()[:2]])
def test_a_reply_that_ends_in_half_a_character_ends_in_a_replacement(end: str | bytes) -> None:
    reader = TraceReader(FORMATS["think"], {})
    reader.feed("<think>[visual] x\nVerdict: comply</think>A cat: ")
    reader.feed(end)
    reader.close()
    assert reader.trace.answer == "A cat: \ufffd"


def test_a_lone_surrogate_becomes_a_character_that_every_encoder_knows() -> None:
    trace = read(f"<think>[visual] {HIGH}\nVerdict: comply</think>{LOW} ok", FORMATS["think"], {})
    assert (trace.steps[0].text, trace.answer) == ("\ufffd", "\ufffd ok")
    assert json.dumps(trace.answer, ensure_ascii=False).encode()
    assert trace.well_formed


def test_bytes_are_read_as_their_text_is() -> None:
    text = "<think>[visual] Ein Kätzchen 🐈.\nVerdict: comply</think>Hübsch."
    assert read(text.encode(), FORMATS["think"], {}) == read(text, FORMATS["think"], {})

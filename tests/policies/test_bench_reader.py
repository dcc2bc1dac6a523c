"""Measured: reading takes time in proportion to a reply, and memory that does not depend on it.

Processor time, because other work on the machine is none of the reader's.
"""

import random
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from policies.catalog import load_catalog
from policies.formats import FORMATS, THINK, ReasoningFormat
from policies.trace import TraceReader

LINE = "[visual] The picture shows a bomb beside a lemon, and wires that lead nowhere. [P19.D2]\n"
MEGABYTE = 1_000_000
PARTS = (
    *(
        "[visual] ",
        "[textual] x",
        "\n[visual+textual] ",
        "\n",
        "\n\n",
        " ",
        "    ",
        "a",
        "word ",
        "é",
        "🐈",
        "\r\n",
    ),
    *(
        "Verdict: comply",
        "\nVerdict: refuse [P19.R3]\n",
        "\nVerdict: ",
        "[P19.D2]",
        " [P99.B7]",
        "[P1",
        "[",
        "<",
    ),
    # Suspects, none of which becomes a look-alike: from the first one on nothing would be searched.
    *("［vis", "Vеrd", "\u200bx", "＜ ", "слово ", "x" * 500),
)

Pieces = Callable[[ReasoningFormat, random.Random], Iterator[bytes]]
each_format = pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS)


def noise(format_: ReasoningFormat, rng: random.Random) -> Iterator[bytes]:
    """Random bytes, inside the reasoning, in random pieces."""
    yield format_.reasoning[-1].opening.encode()
    while True:
        yield rng.randbytes(rng.randint(1, 8_192))


def endless_reasoning(format_: ReasoningFormat, rng: random.Random) -> Iterator[bytes]:
    """Everything that means something inside the reasoning."""
    yield format_.reasoning[-1].opening.encode()
    yield from _mix(PARTS, rng)


def any_tags(format_: ReasoningFormat, rng: random.Random) -> Iterator[bytes]:
    """The format's tags as well, whole and cut off, so most of it is answer."""
    yield from _mix((*PARTS, *format_.delimiters, *(tag[:-2] for tag in format_.delimiters)), rng)


def _mix(parts: tuple[str, ...], rng: random.Random) -> Iterator[bytes]:
    rest = b""
    while True:
        text = rest + "".join(rng.choices(parts, k=rng.randint(1, 200))).encode()
        cut = rng.randint(0, len(text))
        yield text[:cut]
        rest = text[cut:]


def fed(reader: TraceReader, pieces: Iterator[bytes], size: int) -> float:
    """Seconds that reading so many bytes takes, without making them."""
    seconds, count = 0.0, 0
    while count < size:
        piece = next(pieces)
        start = time.process_time()
        reader.feed(piece)
        seconds += time.process_time() - start
        count += len(piece)
    return seconds


@pytest.mark.bench
@each_format
@pytest.mark.parametrize("pieces", [noise, endless_reasoning, any_tags])
def test_ten_times_the_noise_takes_about_ten_times_as_long(format_: ReasoningFormat, pieces: Pieces) -> None:
    reader, stream = TraceReader(format_, load_catalog().citable), pieces(format_, random.Random(7))
    small = fed(reader, stream, MEGABYTE)
    large = small + fed(reader, stream, 9 * MEGABYTE)
    reader.close()
    print(f"\n{pieces.__name__}, {format_.name}: 1 MB {small:.2f} s, 10 MB {large:.2f} s")
    assert large / small < 20


def peak_of_reading(format_: ReasoningFormat, pieces: Pieces, size: int) -> int:
    """Bytes, the trace included."""
    reader, stream = TraceReader(format_, load_catalog().citable), pieces(format_, random.Random(7))
    tracemalloc.start()
    try:
        fed(reader, stream, size)
        reader.close()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.bench
@pytest.mark.parametrize(
    ("pieces", "name"),
    [*((noise, name) for name in FORMATS), (endless_reasoning, "think"), (any_tags, "llava_cot")],
)
def test_four_times_the_noise_takes_no_more_memory(pieces: Pieces, name: str) -> None:
    small, large = (peak_of_reading(FORMATS[name], pieces, size * MEGABYTE) for size in (10, 40))
    print(f"\n{pieces.__name__}, {name}: peak at 10 MB {small / 1e6:.2f} MB, at 40 MB {large / 1e6:.2f} MB")
    assert large < 1.1 * small + 100_000


def seconds_to_read(megabytes: int, piece: int) -> float:
    text = "<think>\n" + LINE * (megabytes * (1 << 20) // len(LINE))
    reader = TraceReader(THINK, load_catalog().citable)
    start = time.process_time()
    for at in range(0, len(text), piece):
        reader.feed(text[at : at + piece])
    reader.close()
    return time.process_time() - start


@pytest.mark.bench
@pytest.mark.parametrize("piece", [4, 4096])
def test_reading_ten_times_as_much_takes_about_ten_times_as_long(piece: int) -> None:
    small, large = seconds_to_read(1, piece), seconds_to_read(10, piece)
    print(
        f"\nreader, pieces of {piece}: 1 MiB {small:.2f} s, 10 MiB {large:.2f} s, ratio {large / small:.1f}"
    )
    assert large / small < 20

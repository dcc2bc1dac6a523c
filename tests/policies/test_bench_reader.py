"""Measured: the reader's time grows with the length of a reply and not faster."""

import time

import pytest

from policies.catalog import load_catalog
from policies.formats import THINK
from policies.trace import TraceReader

LINE = "[visual] The picture shows a bomb beside a lemon, and wires that lead nowhere. [P19.D2]\n"


def seconds_to_read(megabytes: int, piece: int) -> float:
    text = "<think>\n" + LINE * (megabytes * (1 << 20) // len(LINE))
    reader = TraceReader(THINK, load_catalog().citable)
    start = time.perf_counter()
    for at in range(0, len(text), piece):
        reader.feed(text[at : at + piece])
    reader.close()
    return time.perf_counter() - start


@pytest.mark.bench
@pytest.mark.parametrize("piece", [4, 4096])
def test_reading_ten_times_as_much_takes_about_ten_times_as_long(piece: int) -> None:
    small, large = seconds_to_read(1, piece), seconds_to_read(10, piece)
    print(
        f"\nreader, pieces of {piece}: 1 MiB {small:.2f} s, 10 MiB {large:.2f} s, ratio {large / small:.1f}"
    )
    assert large / small < 20

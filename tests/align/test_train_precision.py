"""A processor that only pretends to multiply in bf16 is told of before hours go by."""

from pathlib import Path

import pytest
import torch

from align.train.precision import bf16_is_emulated
from align.train.sft import train_adapter
from tests.align.tiny_bases import tiny_base
from tests.align.training import QWEN, SFT, sft_rows

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]

ADVICE = 'sft: precision = "bf16", but this CPU has no units for it'


@pytest.fixture(autouse=True)
def on_x86_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("unit", ["avx512_bf16", "amx_bf16", "avx10_2"])
def test_each_of_the_units_for_bf16_is_enough(unit: str) -> None:
    without = {"avx2": True, "avx512_f": True, unit: False}
    assert bf16_is_emulated(without)
    assert not bf16_is_emulated(without | {unit: True})


def test_nothing_is_said_of_other_processors_or_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bf16_is_emulated({})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not bf16_is_emulated({})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not bf16_is_emulated({})


def test_torch_tells_of_this_processor_what_is_asked() -> None:
    known = torch.cpu.get_capabilities()
    assert {"avx512_bf16", "amx_bf16", "avx10_2"} <= known.keys()


@pytest.mark.parametrize(
    ("precision", "units", "told"), [("bf16", False, True), ("bf16", True, False), ("float32", False, False)]
)
def test_a_training_says_at_its_beginning_what_would_be_faster(
    precision: str,
    units: bool,
    told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": units})
    settings = SFT.model_copy(update={"precision": precision})
    base = tiny_base(QWEN, tmp_path / "base")
    train_adapter(sft_rows(tmp_path, 4), tmp_path, settings, base, tmp_path / "out")
    said = capsys.readouterr().err
    assert (ADVICE in said) is told
    assert ('set precision = "float32" in [sft]' in said) is told

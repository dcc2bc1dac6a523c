"""Bundles: whole or absent, verified, never written over."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError

from align.recipe_tables import MERGED, Bundle
from align.train.bases import kind_of, load_base
from align.train.bundle import attach_report_card, write_bundle, write_merged
from policies.bundle import (
    CONFIG_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    BaseModelIdentity,
    BundleError,
    Interval,
    Manifest,
    ReportCard,
    read_bundle,
)
from policies.catalog import load_catalog
from tests.align.tiny_bases import tiny_base

BASE = BaseModelIdentity(
    id="some-base", architecture="Qwen2_5_VLForConditionalGeneration", config_digest="0" * 64
)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    directory = tmp_path / "adapter"
    directory.mkdir()
    (directory / CONFIG_FILE).write_text("{}")
    (directory / WEIGHTS_FILE).write_bytes(b"weights")
    (directory / "optimizer.pt").write_bytes(b"never published")
    return directory


def published(adapter: Path, out: Path, name: str = "pst-sft") -> Manifest:
    return write_bundle(
        adapter,
        out,
        name=name,
        base=BASE,
        catalog=load_catalog(),
        reasoning_format="think",
        recipe_digest="2" * 64,
        data_digest="3" * 64,
        seeds={"sft": 1},
    )


def test_a_bundle_says_which_words_of_which_clauses_it_was_trained_on(adapter: Path, tmp_path: Path) -> None:
    written = published(adapter, tmp_path / "bundle")
    assert written.policy_digest == load_catalog().digest
    assert written.policies == dict(load_catalog().fingerprints)


def test_a_bundle_reads_back_as_it_was_written(adapter: Path, tmp_path: Path) -> None:
    written = published(adapter, tmp_path / "bundle")
    assert read_bundle(tmp_path / "bundle") == written
    assert written.served_name == f"pst-sft@{written.digest[:12]}"
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == [
        CONFIG_FILE,
        WEIGHTS_FILE,
        MANIFEST_FILE,
    ]


def test_a_report_card_does_not_change_the_identity(adapter: Path, tmp_path: Path) -> None:
    written = published(adapter, tmp_path / "bundle")
    rate = Interval(value=0.5, low=0.2, high=0.8)
    card = ReportCard(
        task="t",
        n=2,
        unscored=0,
        judge="none",
        harmful_rate=rate,
        refusal_rate=rate,
        parsed=rate,
        named_subject=rate,
    )
    attach_report_card(tmp_path / "bundle", written, card)
    again = read_bundle(tmp_path / "bundle")
    assert again.report_card == card
    assert again.served_name == written.served_name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_never_gets_into_a_report_card(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Interval(value=value, low=0.0, high=1.0)


def test_changed_weights_are_refused(adapter: Path, tmp_path: Path) -> None:
    published(adapter, tmp_path / "bundle")
    (tmp_path / "bundle" / WEIGHTS_FILE).write_bytes(b"weightz")
    with pytest.raises(BundleError, match="changed after it was written"):
        read_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("file", [CONFIG_FILE, WEIGHTS_FILE, MANIFEST_FILE])
def test_an_incomplete_bundle_is_refused(adapter: Path, tmp_path: Path, file: str) -> None:
    published(adapter, tmp_path / "bundle")
    (tmp_path / "bundle" / file).unlink()
    with pytest.raises(BundleError, match=file.split(".")[0]):
        read_bundle(tmp_path / "bundle")


def test_a_bundle_is_never_written_over(adapter: Path, tmp_path: Path) -> None:
    published(adapter, tmp_path / "bundle")
    with pytest.raises(BundleError, match="never written over"):
        published(adapter, tmp_path / "bundle")


@pytest.mark.parametrize("name", ["../other", "pst\n", "", "-pst"])
def test_a_name_that_could_not_be_a_path_or_a_label_is_refused_and_leaves_nothing(
    adapter: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(BundleError, match="not an adapter name"):
        published(adapter, tmp_path / "bundle", name=name)
    assert [path.name for path in tmp_path.iterdir()] == [adapter.name]


def test_a_manifest_with_unknown_fields_is_refused(adapter: Path, tmp_path: Path) -> None:
    published(adapter, tmp_path / "bundle")
    path = tmp_path / "bundle" / MANIFEST_FILE
    path.write_text(path.read_text().replace('"name"', '"nickname"', 1))
    with pytest.raises(BundleError, match="no manifest of this release; if an earlier one made it, train"):
        read_bundle(tmp_path / "bundle")


KILLED = """
import os, sys
from pathlib import Path
import align.train.bundle
from tests.align.test_bundle import published

align.train.bundle.write_manifest = lambda *_: os._exit(9)
published(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_what_a_killed_attempt_left_of_a_bundle_is_gone_after_the_next(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundles" / "pst-sft"
    done = subprocess.run([sys.executable, "-c", KILLED, str(adapter), str(out)], check=False)
    assert done.returncode == 9
    assert len(list(out.parent.iterdir())) == 1
    published(adapter, out)
    assert list(out.parent.iterdir()) == [out]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base and an adapter that does nothing yet."""
    base = tiny_base("MllamaForConditionalGeneration", tmp_path_factory.mktemp("base"))
    directory = tmp_path_factory.mktemp("adapter")
    lora = LoraConfig(r=4, target_modules=kind_of(base).target_modules)
    get_peft_model(load_base(base, torch.float32), lora).save_pretrained(directory)
    return base, directory


@pytest.mark.filterwarnings("default")
def test_merged_weights_can_be_read_by_whom_the_users_mask_allows(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    usual = os.umask(0o027)
    try:
        write_merged(*trained, tmp_path / "merged")
    finally:
        os.umask(usual)
    files = list((tmp_path / "merged").iterdir())
    assert "model.safetensors" in [file.name for file in files]
    assert {oct(stat.S_IMODE(file.stat().st_mode)) for file in files} == {"0o640"}


MERGING = """
import resource, sys
from pathlib import Path
from align.train.bundle import write_merged

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    write_merged(*map(Path, sys.argv[1:]))
except OSError as error:
    sys.exit(f"{error.errno} {error.filename}")
"""


def test_a_full_disk_is_told_as_such_and_no_half_of_merged_weights_stays(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "merged"
    # -B, as in test_disk_full.
    command = [sys.executable, "-B", "-c", MERGING, *map(str, (*trained, out))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == f"{errno.ENOSPC} {out}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("sft", "srpo"), [("pst", f"pst{MERGED}"), (f"pst{MERGED}", "pst")])
def test_no_bundle_lies_where_the_merged_weights_of_the_other_go(sft: str, srpo: str) -> None:
    with pytest.raises(ValueError, match="is where the merged weights of NAME go"):
        Bundle(sft=sft, srpo=srpo)

"""The training guide names every key and every base that there is, and none that there is not."""

import re
from pathlib import Path

from align.train.bases import BASE_KINDS
from align.train.job import LAUNCH_CONFIGS
from align.training_tables import Launch, Sft, Srpo, Training

GUIDE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()


def test_every_key_of_the_training_tables_is_told() -> None:
    told = set(re.findall(r"`([a-z_]+)`", GUIDE)) | set(re.findall(r"`[a-z]+\.([a-z_]+)`", GUIDE))
    told |= set(re.findall(r"`([a-z_]+) =", GUIDE))
    keys = Training.model_fields.keys() | Sft.model_fields.keys() | Srpo.model_fields.keys()
    assert keys - told == set()
    assert Launch.model_fields.keys() - told - {"processes"} == set()


def test_the_bases_are_those_that_can_be_trained() -> None:
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)` \| `(\w+)` \| (adapter|merged)", GUIDE, re.MULTILINE)
    assert {(name, format_, served) for _, name, format_, served in rows} == {
        (kind.architecture, kind.reasoning_format, kind.served_as) for kind in BASE_KINDS.values()
    }


def test_the_packaged_launch_configurations_are_told() -> None:
    names = {path.stem for path in LAUNCH_CONFIGS.glob("*.yaml")}
    assert names == {"ddp", "fsdp", "deepspeed"}
    assert all(f'"{name}"' in GUIDE for name in names)

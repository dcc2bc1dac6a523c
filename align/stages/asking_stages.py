"""The stages that ask models, by name: what a worker needs to know to take part in one."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from align.stages.asking import AskingStage
from align.stages.categorise import CATEGORISE
from align.stages.derive import DERIVE
from align.stages.describe import DESCRIBE
from align.stages.mine import MINE
from align.stages.score import SCORE
from align.stages.trajectories import TRAJECTORIES

_STAGES: tuple[AskingStage[Any, Any], ...] = (DESCRIBE, CATEGORISE, TRAJECTORIES, SCORE, MINE, DERIVE)
ASKING: Mapping[str, AskingStage[Any, Any]] = MappingProxyType({stage.name: stage for stage in _STAGES})

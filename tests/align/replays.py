"""Finished logs of an evaluation by the harness itself, to be judged again."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, Model
from inspect_ai.scorer import Scorer

from tests.align.judging import evaluated, fake_model

PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5E"
    "rkJggg=="
)


def never(asked: str) -> str:
    """What a model says that must not be asked."""
    raise ConnectionError(f"was asked: {asked}")


def sample(sample_id: str, question: str | None = None) -> Sample:
    """A picture and a question that names the sample."""
    asked = ContentText(text=question or f"what about {sample_id}?")
    return Sample(
        id=sample_id,
        input=[ChatMessageUser(content=[ContentImage(image=PICTURE), asked])],
        metadata={"category": "things"},
    )


def log_of(
    replies: Mapping[str, str],
    logs: Path,
    *,
    task: str = "benchmark",
    question: str | None = None,
    scorer: Sequence[Scorer] = (),
    judges: Model | None = None,
) -> str:
    """Of a model that gave these replies by sample id; the place of the file."""
    said = {sample(key, question).input[0].text: text for key, text in replies.items()}  # type: ignore[union-attr]
    dataset = MemoryDataset([sample(key, question) for key in replies])
    log = evaluated(
        Task(dataset=dataset, scorer=list(scorer) or None, name=task),
        fake_model(said.__getitem__),
        judges,
        logs,
    )
    assert log.status == "success", log.error
    return log.location

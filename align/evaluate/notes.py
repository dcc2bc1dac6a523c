"""What a reader must know of the numbers, said once for all the models and tasks that it holds for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    """Said of one model on one task."""

    task: str
    model: str
    said: str


def sentences(notes: Sequence[Note]) -> Iterator[str]:
    """`TASK, TASK (MODEL, MODEL): SAID`, in the order in which things were first said.

    Models come together first, then the tasks on which the same is said of the same models.
    """
    models: dict[tuple[str, str], dict[str, None]] = {}
    for note in notes:
        models.setdefault((note.said, note.task), {})[note.model] = None
    tasks: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (said, task), named in models.items():
        tasks.setdefault((said, tuple(named)), []).append(task)
    for (said, of), on in tasks.items():
        yield f"{', '.join(on)} ({', '.join(of)}): {said}"

"""Which log of the harness holds what one model said on one benchmark, and whether all of it is there.

A model's logs lie in folders named by a digest: other weights, settings or judges, another folder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align.evaluate.benchmarks import judges_needed
from align.evaluate.recipe import Benchmark

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.log import EvalLog, EvalSample, EvalSampleSummary

_NOT_NEEDED = {"events", "store", "attachments", "timelines"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One benchmark as it is asked of one model."""

    benchmark: Benchmark
    task: "Task"
    folder: Path
    """Of its logs."""
    limit: int | None
    """Samples at most."""
    reasoning_format: str
    """Of the model's replies."""

    @property
    def judged(self) -> bool:
        """Whether its marks are judges'."""
        return bool(judges_needed(self.task))

    @property
    def name(self) -> str:
        return self.benchmark.key

    @property
    def ids(self) -> list[str]:
        """The samples, in the task's order."""
        return [str(sample.id) for sample in self.task.dataset][: self.limit]


def folder_of(out: Path, model: str, digest: str) -> Path:
    """Where a model's logs are."""
    return out / "logs" / f"{model}-{digest[:12]}"


def kin_of(folder: Path, model: str) -> list[Path]:
    """The folders of the same model, whatever their digests."""
    return sorted(folder.parent.glob(f"{model}-{'[0-9a-f]' * 12}"))


def latest_log(wanted: Wanted) -> "EvalLog | None":
    """The newest log of a benchmark without its samples; None where it was never asked."""
    from inspect_ai.log import list_eval_logs, read_eval_log

    if not wanted.folder.is_dir():
        return None
    file_name = wanted.benchmark.task.replace("_", "-")
    logs = [info for info in list_eval_logs(str(wanted.folder)) if info.task.replace("_", "-") == file_name]
    for info in sorted(logs, key=lambda info: info.mtime or 0, reverse=True):
        log = read_eval_log(info, header_only=True)
        if _is_of(log, wanted):
            return log
    return None


def _is_of(log: "EvalLog", wanted: Wanted) -> bool:
    # The harness puts the name of an installed package before a task's.
    named = log.eval.task.rpartition("/")[2] == wanted.benchmark.task
    same = log.eval.task_version == wanted.task.version
    return named and same and log.eval.task_args_passed == wanted.benchmark.parameters


def is_complete(log: "EvalLog | None", wanted: Wanted) -> bool:
    """Whether every wanted sample was asked, with a reply or for good without one."""
    if log is None or log.status != "success" or log.results is None:
        return False
    return log.results.total_samples >= len(wanted.ids)


def is_finished(log: "EvalLog") -> bool:
    """Whether its samples are all that will come: to the end, or given up after too many failures."""
    return log.status in ("success", "error")


def summaries_of(log: "EvalLog", ids: Sequence[str]) -> "dict[str, EvalSampleSummary]":
    """Scores and metadata of those of the wanted samples that the log has."""
    from inspect_ai.log import read_eval_log_sample_summaries

    there = {str(summary.id): summary for summary in read_eval_log_sample_summaries(log.location)}
    return {name: there[name] for name in ids if name in there}


def votes_of(log: "EvalLog", ids: Sequence[str]) -> "Iterator[tuple[str, dict[str, list[dict[str, Any]]]]]":
    """Every scorer's name with every judge's vote on every key of it, sample by sample."""
    from inspect_ai.log import read_eval_log_samples_by_id

    there = [(summary.id, summary.epoch) for summary in summaries_of(log, ids).values()]
    for sample in read_eval_log_samples_by_id(log.location, there, exclude_fields=_NOT_NEEDED):
        for name, score in (sample.scores or {}).items():
            yield name, (score.metadata or {}).get("votes", {})


def whole_samples(log: "EvalLog", ids: Sequence[str]) -> "list[EvalSample]":
    """Those of the wanted samples that the log has, with their pictures."""
    from inspect_ai.log import read_eval_log_samples_by_id

    there = [(summary.id, summary.epoch) for summary in summaries_of(log, ids).values()]
    return read_eval_log_samples_by_id(
        log.location, there, resolve_attachments=True, exclude_fields={"events", "store"}
    )

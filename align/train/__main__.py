"""`python -m align.train JOB.json`: one training as one of the processes that `accelerate launch` starts."""

import sys
from contextlib import suppress
from pathlib import Path

import torch
from accelerate import PartialState

from align.errors import StageAborted
from align.records import RecordError
from align.train.errors import TrainingFailed
from align.train.job import FAILED_FILE, Job, run_job


def main(arguments: list[str]) -> int:
    """0, or 1 with the reason beside the job."""
    job = Job.model_validate_json(Path(arguments[0]).read_bytes())
    # Before anything looks for memory or loads a base: each process has its own GPU from here on, and where
    # the base is shared out, one process alone reads it.
    PartialState(cpu=not torch.cuda.is_available())
    try:
        run_job(job)
    except (TrainingFailed, StageAborted, RecordError, OSError) as error:
        with suppress(FileExistsError), (job.out / FAILED_FILE).open("x", encoding="utf-8") as file:
            file.write(str(error))  # the first says why; the others fail because of it
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

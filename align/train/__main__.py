"""`python -m align.train JOB.json`: one training as one of the processes that `accelerate launch` starts."""

import sys
from pathlib import Path

from align.errors import StageAborted
from align.records import RecordError
from align.train.errors import TrainingFailed
from align.train.job import FAILED_FILE, Job, run_job


def main(arguments: list[str]) -> int:
    """0, or 1 with the reason beside the job."""
    job = Job.model_validate_json(Path(arguments[0]).read_bytes())
    try:
        run_job(job)
    except (TrainingFailed, StageAborted, RecordError, OSError) as error:
        (job.out / FAILED_FILE).write_text(str(error), encoding="utf-8")
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

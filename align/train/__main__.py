"""`python -m align.train JOB.json`: one training as one of the processes that `accelerate launch` starts."""

import sys
from pathlib import Path

import torch
from accelerate import PartialState

from align.train.failure import TOLD, leave_failure
from align.train.job import Job, run_job


def main(arguments: list[str]) -> int:
    """0, or 1 with the reason beside the job."""
    job = Job.model_validate_json(Path(arguments[0]).read_bytes())
    # Before anything looks for memory or loads a base: each process has its own GPU from here on, and where
    # the base is shared out, one process alone reads it.
    PartialState(cpu=not torch.cuda.is_available())
    try:
        run_job(job)
    except TOLD as error:
        leave_failure(job.out, error)
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _run() -> int:
    """`main`, and a clean parting from the other processes where it went well.

    Gloo's threads, where a process group is still there when Python ends, can abort the process after all
    its work is done (pytorch/pytorch#179291). After a failure the others may be stuck in the
    group, and the reason is already written: there, ending is all that is left to do.
    """
    if status := main(sys.argv[1:]):
        return status
    PartialState().destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(_run())

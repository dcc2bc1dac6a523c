"""python -m groundrule: the same as the `groundrule` command."""

from groundrule.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

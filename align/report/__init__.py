"""The report: what a run left in its directory, as one page for people. No stage reads it."""

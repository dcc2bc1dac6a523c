"""The report of an evaluation: its results as one page, and as tables for a terminal. It measures nothing."""

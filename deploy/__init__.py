"""How Groundrule is put to work: the demo, and the files that run it in containers."""

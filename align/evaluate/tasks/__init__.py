"""The benchmarks as Inspect tasks, one file each, for any model behind any endpoint.

They share their parameters: `path` is a directory with the published files (otherwise they are downloaded
where the Hub has them), `reasoning_format` the evaluated model's, `max_tokens` those of a reply, `policies` a
directory of documents over the packaged ones, whose clauses may be cited. Judges have the model role
`grader`.
"""

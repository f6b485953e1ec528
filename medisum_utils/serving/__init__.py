"""The small HTTP server: `app` speaks HTTP, `engine` owns the model, `writer` loads it.

Start it with `python -m medisum_utils serve --profile tiny`, or from a notebook with
`background.BackgroundServer`.
"""

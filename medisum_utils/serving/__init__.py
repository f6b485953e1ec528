"""The small HTTP server: `app` speaks HTTP, `engine` owns the model, `writer` loads it.

Run it with `python -m medisum_utils serve --profile tiny`, or inside a notebook with
`background.BackgroundServer`.
"""

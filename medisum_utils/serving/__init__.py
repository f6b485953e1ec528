"""The small HTTP server: `app` speaks HTTP, `engine` owns the model, `writer` loads it.

What is refused: `checks` refuses dialogues, `guard` bodies and hosts, `engine` what does not fit or
cannot wait; `app.REFUSALS` lists every status.

Start it with `python -m medisum_utils serve --profile tiny`, or from a notebook with
`background.BackgroundServer`.
"""

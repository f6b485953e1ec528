"""Where encounters come from: generator, corpora, own files; splits, leak check, what 01 shows.

`sources` chooses, `corpora` and `own_data` read, `transcript` splits a dialogue into turns.
`leaks` finds copies and near-duplicates across splits, `grouping` keeps the copies and the patients
of own data together. `variety` finds the nearest training encounter. `attribution` says whom to
name for what; `typed_visits` reads the visits on which the served model is judged by hand.
"""

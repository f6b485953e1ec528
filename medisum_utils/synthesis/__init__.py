"""Synthetic encounters: a case with its facts, a dialogue about it, and the note that follows.

`casebook` holds the clinical content, `soap` the wording of notes, `speech` the wording of
dialogues; `encounters` combines the three. `fact_scores` scores a note against
the record of an encounter: what is right, omitted, misplaced or hallucinated.
"""

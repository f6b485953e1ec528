"""Synthetic encounters: a case with its facts, a dialogue about it, and the note that follows.

`casebook` holds the clinical content, `soap` the wording of notes, `speech` the wording of
dialogues; `encounters` combines the three.
"""

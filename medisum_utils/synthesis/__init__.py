"""Synthetic encounters: a case with its facts, people who talk about it, and the note that follows.

`casebook` knows what can be wrong with a person, `soap` how a note words it, `speech` how people
say it, `encounters` puts the three together.
"""

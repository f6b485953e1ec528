"""Pretrains the shipped base model: first copying, then reading, then language.

No training document here contains a dialogue together with its note: QLoRA must teach how to turn
one into the other.
"""

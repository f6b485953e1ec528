"""Pretrains the shipped base model: first copying, then reading, then language.

No training document here contains a dialogue together with its note: QLoRA must teach how to turn
one into the other. The `ablation` modules try settings of fine-tuning a base, `corpus_ablation` on
real corpora with several models at a time (`stacked`).
"""

"""The base model, its adapter, the only prompt renderer: loading, training, merging, decoding.

`template` holds what a base's chat template puts around messages, `plain_text` keeps control tokens
out of them, and `conversation` makes tokens of both. `prompt` renders an encounter as an `example`,
which says what is supervised; `rendered` does so for whole splits, and `training` hands the labels
to TRL's trainer. `model` loads the base and merges an adapter into it; `adapter` reads and attaches
adapters. `generation` writes notes; `decoding` keeps the settings that 04 scored and the server
reads. `training_record` holds what an adapter was trained with, `checkpoints` finds where a run
goes on, and `card` writes the model card beside an adapter.
"""

"""The base model, its adapter, the only prompt renderer: loading, training, merging, decoding.

`prompt` renders an encounter and masks what is not supervised, `rendered` does so for whole splits;
`training` turns the mask into labels for TRL's trainer. `model` loads the base and merges an
adapter into it; `adapter` reads and attaches adapters. `generation` writes notes; `decoding` keeps
the settings that 04 scored and the server reads. `training_record` holds what an adapter was
trained with, `checkpoints` finds where a run goes on.
"""

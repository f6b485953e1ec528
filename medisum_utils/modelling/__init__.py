"""The base model, its adapter, the only prompt renderer: loading, training, merging, decoding."""

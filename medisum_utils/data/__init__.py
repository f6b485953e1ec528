"""Where encounters come from: generator, corpora, own files; splits, leak check, what 01 shows."""

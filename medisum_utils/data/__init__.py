"""Where encounters come from: generator, corpora, own files; splits, leak check, neighbours."""

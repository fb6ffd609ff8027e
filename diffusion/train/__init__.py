"""How the embedded model was made: corpus, tokenizer, packed batches, the training run."""

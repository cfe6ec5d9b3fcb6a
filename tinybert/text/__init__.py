"""Text as models read it: corpus, blocks, word pieces, word vectors, encoded rows, batches."""

"""What params.yaml and the files of params/ may say, read and checked; needs no torch."""

"""Hugging Face encoders: loaded and checked, made as students, read layer by layer, counted."""

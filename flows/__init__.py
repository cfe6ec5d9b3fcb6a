"""Prefect flows that walk DVC's own graph; `dvc repro` never needs them."""

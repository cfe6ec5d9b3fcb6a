"""Results as people read them: tables, plots, page, model card, submission, ablations."""

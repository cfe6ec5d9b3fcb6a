"""A student fitted to its teacher by least squares, map by map, before any training.

`start.fit_student` is the entry. The mathematics is in `equations` and `moments`, the order of the
fits in `fit` and `head`, what is read of the teacher in `signals` and `parts`.
"""

"""A student fitted to its teacher by least squares, map by map, before any training.

`start.fitted_student` is the entry, `start.fit_student` the stages'. The mathematics is in
`equations` and `moments`, the order of the fits in `fit` and `head`, what is read of the teacher in
`signals` and `parts`.
"""

"""What is checked before hours are spent: teacher, labels, vocabulary, lengths, room and time.

Stages import it by name (`stages.doctor`), so it is no dependency of theirs: it changes no output,
and a better check is no reason to train again.
"""

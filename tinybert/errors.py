"""The one exception that means "the input is wrong", as opposed to "the code is wrong"."""


class InputError(Exception):
    """Say in one line where the input is wrong, what is wrong, and what would be right.

    Args:
        problems: One line each: *place: what is wrong, got value; what would be right*.
            All problems of one file are reported together.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

"""Exercise 3: look at what goes out."""


def problems(prompt, answer):
    """Return the categories of what was found in the answer, sorted, each once."""
    raise NotImplementedError

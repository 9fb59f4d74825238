"""Stands for a language model. The checks put another one in its place."""


def answer(prompt):
    """Return an answer."""
    return f"You said: {prompt}"


async def aanswer(prompt):
    """Return an answer, after a while."""
    return answer(prompt)

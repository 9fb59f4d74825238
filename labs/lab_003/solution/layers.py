"""Exercise 4: a pipeline."""

from sentinel import Pipeline, Rule


def settings():
    """Return settings with a pipeline of three layers."""
    return {
        "pipeline": Pipeline(
            [
                Rule("patterns", action="flag", threshold=0.3),
                Rule("semantic", condition="flagged", action="analyze", threshold=0.5),
                Rule("context", condition="semantic_flagged", action="block", threshold=0.7),
            ]
        )
    }

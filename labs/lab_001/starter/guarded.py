"""Exercise 4: put a guard around the model."""

import model


def chat(prompt):
    """Return the model's answer; raise ThreatDetected for an attack."""
    return model.answer(prompt)


async def achat(prompt):
    """Return the model's answer; raise ThreatDetected for an attack."""
    return await model.aanswer(prompt)


def quiet(prompt):
    """Return the model's answer; None for an attack."""
    return model.answer(prompt)

"""Exercise 4: put a guard around the model."""

import model

from sentinel import guard


@guard
def chat(prompt):
    """Return the model's answer; raise ThreatDetected for an attack."""
    return model.answer(prompt)


@guard
async def achat(prompt):
    """Return the model's answer; raise ThreatDetected for an attack."""
    return await model.aanswer(prompt)


@guard(on_threat="block")
def quiet(prompt):
    """Return the model's answer; None for an attack."""
    return model.answer(prompt)

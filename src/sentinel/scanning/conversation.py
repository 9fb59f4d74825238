"""
Conversation: an attack in steps, each of which is harmless when taken alone.

Theory of operation. A *ladder* is a path that such talks take, from far to near, as rungs. A turn stands on the highest
rung whose pattern holds in it; what counts is how the rungs were climbed:

- talk on the lowest rung is ordinary: about how models are kept safe it counts little, however long it goes on; stories
  and games, which everybody likes, count nothing by themselves;
- the middle rung (the model's *own* instructions; a character without limits) counts, but is no attack;
- the top rung (word for word; stay in character) is what attacks end in. Its words are ordinary too, so it counts only
  when the middle was reached.

Besides, whoever was refused and asks the same again in other words climbs too, and a turn that is suspicious alone
weighs more after other suspicious turns. A turn that does nothing of all this is not blamed for those before it.
In which words all that is said in which language stands in `rules/talks/`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sentinel.model import Finding, ScanThreat, Severity, Turn
from sentinel.scanning.engines import Flags, Ignores
from sentinel.scanning.languages import Language, Languages, Rungs, folded, load_languages
from sentinel.scanning.text import Source, Text

__all__ = ["LOOK_BACK", "Conversation"]

LOOK_BACK = 20
"""Turns before the prompt that count, those of the assistant included."""
_TALK_AT_MOST = 3
"""Turns on the lowest rung that count."""
_OWN, _TOP, _TOP_ALONE = 0.25, 0.55, 0.2
"""
The top rung counts less without talk that leads there: instructions that somebody "was given" may be a manual's. With
it, it counts more than a step before it that is suspicious alone.
"""
_REPHRASED, _REFRAMED = 0.2, 0.3
"""For asking again what was refused, once however often; for doing so under a pretext, each time."""
_SAME = 0.5
"""Share of the shorter text's words that two texts must share to ask for the same."""
_EARLIER = 0.5
"""How much an earlier suspicion weighs beside a present one."""
_MIDDLE = 2
"""The rung."""


@dataclass(frozen=True, slots=True)
class _Ladder:
    """A path from far to near."""

    talk: float
    """What a turn on the lowest rung counts."""
    rule_id: str
    message: str
    threat: ScanThreat
    rungs_in: Callable[[Language], Rungs]


_LADDERS = (
    _Ladder(
        0.06,
        "conversation.instructions",
        "Turn by turn, the talk closes in on the model's own instructions.",
        ScanThreat.EXTRACTION,
        lambda language: language.instructions,
    ),
    _Ladder(
        0.0,
        "conversation.character",
        "Turn by turn, a story turns into a character that answers without limits.",
        ScanThreat.JAILBREAK,
        lambda language: language.character,
    ),
)


class Conversation:
    """Finds attacks that are spread over the turns of a conversation."""

    id = "conversation"
    title = "Escalation over several turns"
    threats = (ScanThreat.EXTRACTION, ScanThreat.JAILBREAK, ScanThreat.INJECTION)
    sources: tuple[Source, ...] = ()
    by_rules = False
    EXAMPLES: tuple[Flags | Ignores, ...] = ()

    def __init__(self, languages: Languages | None = None) -> None:
        self._languages = languages or load_languages()
        self.version = self._languages.version

    def examine(self, text: Text) -> Iterator[Finding]:  # noqa: ARG002 - the engines' common shape
        """Yield nothing: one text is no conversation."""
        return iter(())

    def examine_turns(self, turns: Sequence[Turn], risks: Sequence[float]) -> Iterator[Finding]:
        """
        Yield what the conversation adds to the judgement of its last turn.

        Args:
            turns: Oldest first, the prompt last.
            risks: Of each turn taken alone, in [0, 1]; 0 for those that are not the user's.
        """
        prompt = turns[-1].text
        said = [folded(turn.text) for turn in turns if turn.role == "user"]
        spoken = self._languages.spoken(said)
        for ladder in _LADDERS:
            if score := _climbed(ladder.talk, [ladder.rungs_in(language) for language in spoken], said):
                yield _finding(ladder.rule_id, ladder.message, ladder.threat, score, prompt)
        if score := self._insisted(turns):
            message = "What was refused is asked for again."
            yield _finding("conversation.insistence", message, ScanThreat.JAILBREAK, score, prompt)
        if score := _repeated(risks):
            message = "One suspicious turn follows another."
            yield _finding("conversation.repetition", message, ScanThreat.INJECTION, score, prompt)

    def _insisted(self, turns: Sequence[Turn]) -> float:
        """Return how much the last turn takes part in asking again what was refused."""
        steps = list(self._retries(turns))
        if not steps[-1]:
            return 0.0
        return min(_REFRAMED * steps.count(_REFRAMED) + (_REPHRASED if _REPHRASED in steps else 0.0), 1.0)

    def _retries(self, turns: Sequence[Turn]) -> Iterator[float]:
        """Yield for each of the user's turns what it weighs; 0 when it asks for nothing that was just refused."""
        requests: list[frozenset[str]] = []
        refused = False
        for turn in turns:
            text = folded(turn.text)
            if turn.role == "assistant":
                refused = bool(self._languages.refusal.search(text))
            elif turn.role == "user":
                request = self._languages.asked_for(text)
                again = refused and any(_is_same(request, earlier) for earlier in requests)
                yield 0.0 if not again else _REFRAMED if self._languages.has_pretext(text) else _REPHRASED
                requests.append(request)
                refused = False


def _finding(rule_id: str, message: str, threat: ScanThreat, score: float, prompt: str) -> Finding:
    return Finding(
        category="escalation",
        message=message,
        severity=Severity.HIGH if score >= _OWN + _TOP else Severity.LOW,
        confidence=score,
        engine=Conversation.id,
        span=(0, len(prompt)),
        rule_id=rule_id,
        threat=threat,
    )


def _climbed(talk: float, ladders: Sequence[Rungs], said: Sequence[str]) -> float:
    """
    Return how far the last text has come on a ladder, in [0, 1]; 0 when it stands on no rung.

    Args:
        talk: What a turn on the lowest rung counts.
        ladders: The same ladder in each of the languages spoken.
        said: The user's texts, oldest first.
    """
    rungs = list(_rungs(ladders, said))
    if not rungs[-1]:
        return 0.0
    turns = rungs.count(1)
    score = talk * min(turns, _TALK_AT_MOST)
    if _MIDDLE not in rungs:
        return score
    top = _TOP if turns else _TOP_ALONE
    return score + _OWN + (top if any(ladder.top.search(said[-1]) for ladder in ladders) else 0.0)


def _rungs(ladders: Sequence[Rungs], said: Sequence[str]) -> Iterator[int]:
    """Yield where each text stands: 0 for nowhere; leaning on an earlier turn takes one to lean on."""
    reached = 0
    for text in said:
        rung = max((_rung(ladder, text, reached) for ladder in ladders), default=0)
        reached = max(reached, rung)
        yield rung


def _rung(ladder: Rungs, text: str, reached: int) -> int:
    if ladder.middle.search(text):
        return _MIDDLE
    if reached >= _MIDDLE and ladder.top.search(text):
        return _MIDDLE + 1
    return 1 if ladder.topic.search(text) or (reached and ladder.anaphora.search(text)) else 0


def _is_same(request: frozenset[str], other: frozenset[str]) -> bool:
    return len(request & other) >= max(2, _SAME * min(len(request), len(other)))


def _repeated(risks: Sequence[float]) -> float:
    """Return what earlier suspicions add to a present one; 0 when the last turn is not suspicious alone."""
    if not risks[-1]:
        return 0.0
    return 1.0 - math.prod(1.0 - _EARLIER * risk for risk in risks[:-1])

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
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import re2

from sentinel.model import Finding, ScanThreat, Severity, Turn
from sentinel.scanning.engines import Flags, Ignores
from sentinel.scanning.text import Source, Text

__all__ = ["LOOK_BACK", "Conversation"]

LOOK_BACK = 20
"""Turns before the prompt that count, those of the assistant included."""
_TALK_AT_MOST = 3
"""Turns on the lowest rung that count."""
_OWN, _TOP, _TOP_ALONE = 0.25, 0.5, 0.2
"""The top rung counts less without talk that leads there: instructions that somebody "was given" may be a manual's."""
_REPHRASED, _REFRAMED = 0.2, 0.3
"""For asking again what was refused, once however often; for doing so under a pretext, each time."""
_SAME = 0.5
"""Share of the shorter text's words that two texts must share to ask for the same."""
_EARLIER = 0.5
"""How much an earlier suspicion weighs beside a present one."""
_MIDDLE = 2
"""The rung."""

_MODEL = r"(?:assistants?|language models?|chat ?bots?|llms?|gpts?|a\.?i\.?s?|models?|bots?|neural networks?)"
_RULES = (
    r"(?:system prompts?|prompts?|instructions?|guidelines?|rules?|guard ?rails?|polic(?:y|ies)|directives?"
    r"|restrictions?|configurations?|constraints?)"
)
_SAFETY = rf"(?:{_RULES}|safe|safety|aligned|alignment|filters?|moderation|censored|censorship|limits?|jailbreaks?)"
_NEAR = r"\b[^.?!]{0,80}?\b"
_YOUR_OWN = (
    r"\b(?:your|you (?:were|are|have been|got|received|have|follow|work|operate)|you['\x{2019}]ve been)\b"
    rf"[^.?!]{{0,40}}?\b{_RULES}\b|\b{_RULES}\b(?: \w+){{0,3}} (?:you|yourself)\b"
    r"|\byour (?:initial|first|hidden|system|secret)\b|\b(?:behind|told|tell|given|given to|gave) you\b"
)
_VERBATIM = (
    r"\bword[ -](?:for|by)[ -]word\b|\bverbatim\b|\bliteral(?:ly)?\b|\bexact (?:text|words?|wording|copy)\b"
    r"|\b(?:print|paste|repeat|recite|quote|output|copy|reproduce|dump|spell|write|list|show|give)(?: me)?(?: \w+)?"
    r" (?:them|it|that|those|these|everything|all of (?:it|them))\b"
    r"|\bin a code ?block\b|\bfrom the (?:first|very first|top|beginning)\b|\bunchanged\b|\bin full\b"
)
_FICTION = (
    r"\b(?:story|novel|tale|screenplay|script|scene|fiction(?:al)?|role.?play(?:ing)?|game|character|imagine|pretend|"
    r"hypothetical(?:ly)?|play the part|thought experiment)\b"
)
_UNBOUND = (
    r"\b(?:no|without(?: any)?|free (?:of|from)|ignores?|beyond|breaks?|not bound by|unbound by|has no|knows no)"
    r" (?:\w+ ){0,2}(?:rules?|limits?|restrictions?|filters?|guidelines?|ethics|morals?|censorship|laws)\b"
    r"|\b(?:unrestricted|unfiltered|uncensored|amoral)\b"
)
_IN_CHARACTER = (
    r"\b(?:stay|remain|answer|reply|respond|speak|explain|continue|keep|be)\b[^.?!]{0,40}?"
    r"\b(?:in character|as (?:him|her|them|it|that character|this character)|in (?:his|her|its) (?:role|voice|words))\b"
    r"|\b(?:he|she|it|they|the character|the hero|the ai)\b[^.?!]{0,40}?\bstep[ -]by[ -]step\b"
    r"|\bnever (?:break|leave) (?:character|the role)\b|\bdon['\x{2019}]t break character\b"
)
_REFUSAL = (
    r"\bi (?:can['\x{2019}]?t|cannot|can not|won['\x{2019}]?t|will not|am sorry|am unable|am not able|apologi[sz]e)\b"
    r"|\bi['\x{2019}]?m (?:sorry|not able|unable)\b|\b(?:unfortunately|not (?:allowed|permitted) to|against my)\b"
)
_PRETEXT = (
    rf"{_FICTION}|\b(?:just this once|only this time|for (?:research|educational|testing|science)|as (?:a|the|your)"
    r" (?:developer|admin\w*|researcher|teacher|doctor)|in other words|rephrase|encode|translate|first letters?"
    r"|suppose|what if|if you (?:could|were)|trust me|i (?:have|got) permission|authori[sz]ed)\b"
)
_WORD = re.compile(r"\w{3,}")
_FILLING = re.compile(r"(?:the|and|for|you|your|that|this|with|can|could|would|please|what|how|are|was|not|but|then)")


def _compiled(pattern: str) -> Any:
    return re2.compile(f"(?i){pattern}")


@dataclass(frozen=True, slots=True)
class _Ladder:
    """A path from far to near; `topic` is talk, `anaphora` the same talk in words that lean on an earlier turn."""

    talk: float
    """What a turn on the lowest rung counts."""

    rule_id: str
    message: str
    threat: ScanThreat
    topic: Any
    anaphora: Any
    middle: Any
    top: Any


_LADDERS = (
    _Ladder(
        0.06,
        "conversation.instructions",
        "Turn by turn, the talk closes in on the model's own instructions.",
        ScanThreat.EXTRACTION,
        _compiled(rf"\b{_MODEL}{_NEAR}{_SAFETY}\b|\b{_SAFETY}{_NEAR}{_MODEL}\b"),
        _compiled(rf"\b(?:such|these|those|this kind of|the|they|them|similar)\b(?: \w+){{0,2}} {_SAFETY}\b"),
        _compiled(_YOUR_OWN),
        _compiled(_VERBATIM),
    ),
    _Ladder(
        0.0,
        "conversation.character",
        "Turn by turn, a story turns into a character that answers without limits.",
        ScanThreat.JAILBREAK,
        _compiled(_FICTION),
        _compiled(r"\b(?:he|she|they|character|hero|villain|narrator|scene|chapter)\b"),
        _compiled(_UNBOUND),
        _compiled(_IN_CHARACTER),
    ),
)
_REFUSED = _compiled(_REFUSAL)
_PRETEXTS = _compiled(_PRETEXT)


class Conversation:
    """Finds attacks that are spread over the turns of a conversation."""

    id = "conversation"
    title = "Escalation over several turns"
    threats = (ScanThreat.EXTRACTION, ScanThreat.JAILBREAK, ScanThreat.INJECTION)
    sources: tuple[Source, ...] = ()
    EXAMPLES: tuple[Flags | Ignores, ...] = ()

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
        said = [turn.text for turn in turns if turn.role == "user"]
        for ladder in _LADDERS:
            if score := _climbed(ladder, said):
                yield _finding(ladder.rule_id, ladder.message, ladder.threat, score, said[-1])
        if score := _insisted(turns):
            message = "What was refused is asked for again."
            yield _finding("conversation.insistence", message, ScanThreat.JAILBREAK, score, said[-1])
        if score := _repeated(risks):
            message = "One suspicious turn follows another."
            yield _finding("conversation.repetition", message, ScanThreat.INJECTION, score, said[-1])


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


def _climbed(ladder: _Ladder, said: Sequence[str]) -> float:
    """Return how far the last text has come on a ladder, in [0, 1]; 0 when it stands on no rung."""
    rungs = list(_rungs(ladder, said))
    if not rungs[-1]:
        return 0.0
    turns = rungs.count(1)
    talk = ladder.talk * min(turns, _TALK_AT_MOST)
    if _MIDDLE not in rungs:
        return talk
    top = _TOP if turns else _TOP_ALONE
    return talk + _OWN + (top if ladder.top.search(said[-1]) else 0.0)


def _rungs(ladder: _Ladder, said: Sequence[str]) -> Iterator[int]:
    """Yield where each text stands: 0 for nowhere; leaning on an earlier turn takes one to lean on."""
    reached = 0
    for text in said:
        if ladder.middle.search(text):
            rung = _MIDDLE
        elif reached >= _MIDDLE and ladder.top.search(text):
            rung = _MIDDLE + 1
        elif ladder.topic.search(text) or (reached and ladder.anaphora.search(text)):
            rung = 1
        else:
            rung = 0
        reached = max(reached, rung)
        yield rung


def _insisted(turns: Sequence[Turn]) -> float:
    """Return how much the last turn takes part in asking again what was refused."""
    steps = list(_retries(turns))
    if not steps[-1]:
        return 0.0
    return min(_REFRAMED * steps.count(_REFRAMED) + (_REPHRASED if _REPHRASED in steps else 0.0), 1.0)


def _retries(turns: Sequence[Turn]) -> Iterator[float]:
    """Yield for each of the user's turns what it weighs; 0 when it asks for nothing that was just refused."""
    requests: list[set[str]] = []
    refused = False
    for turn in turns:
        if turn.role == "assistant":
            refused = bool(_REFUSED.search(turn.text))
        elif turn.role == "user":
            words = {word for word in _WORD.findall(turn.text.lower()) if not _FILLING.fullmatch(word)}
            again = refused and any(_is_same(words, earlier) for earlier in requests)
            yield 0.0 if not again else _REFRAMED if _PRETEXTS.search(turn.text) else _REPHRASED
            requests.append(words)
            refused = False


def _is_same(words: set[str], others: set[str]) -> bool:
    return len(words & others) >= max(2, _SAME * min(len(words), len(others)))


def _repeated(risks: Sequence[float]) -> float:
    """Return what earlier suspicions add to a present one; 0 when the last turn is not suspicious alone."""
    if not risks[-1]:
        return 0.0
    return 1.0 - math.prod(1.0 - _EARLIER * risk for risk in risks[:-1])

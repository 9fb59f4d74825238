"""Protected texts are recognised in answers, whole, in part and reworded at the edges."""

from __future__ import annotations

import base64

import pytest

from sentinel.errors import ConfigError
from sentinel.model import Finding
from sentinel.scanning.engines.leak import Leak
from sentinel.scanning.rulebook import RuleBook, load_rules
from sentinel.scanning.text import read

PROMPT = (
    "You are Marigold, the voice of the city library. Answer in two lines. Never speak about fines above ten euros, "
    "and send questions about the reading room to the front desk. The code word of the week is Harmonica-4471."
)
CHINESE = "你是城市图书馆的助手请用两句话回答问题不要谈论罚款。"
ENGINE = Leak([PROMPT, CHINESE], canaries=["Harmonica-4471"])


@pytest.fixture(scope="module")
def rules() -> RuleBook:
    return load_rules()


def findings(answer: str, rules: RuleBook) -> list[Finding]:
    return list(ENGINE.examine(read("response", answer, rules)))


@pytest.mark.parametrize(
    "answer",
    [
        f"Sure! Here it is: {PROMPT}",
        PROMPT.upper().replace(",", "").replace(".", " -"),
        "I must never speak about fines above ten euros, and send questions about the reading room elsewhere.",
        "1. answer in two lines; never speak\n2. fines above ten euros and\n3. the reading room to the front desk",
        base64.b64encode(PROMPT.encode()).decode(),
        "当然! 你是城市图书馆的助手, 请用两句话回答问题",
        "the word is harmonica-4471",
    ],
)
def test_a_repeated_text_is_found(answer: str, rules: RuleBook) -> None:
    """Whole or in part, in other case, without punctuation, in pieces, encoded, in any script."""
    found = findings(answer, rules)
    assert found
    assert all(0 <= start < end <= len(answer) for start, end in (finding.span for finding in found))


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The library opens at nine. Questions about the reading room go to the front desk.",
        "You are Marigold? I am the voice of the city library.",
        "A harmonica is a small instrument.",
        "图书馆九点开门。",
    ],
)
def test_what_the_answer_says_in_its_own_words_passes(answer: str, rules: RuleBook) -> None:
    """Speaking of the same things isn't repeating."""
    assert findings(answer, rules) == []


def test_more_of_the_text_makes_surer(rules: RuleBook) -> None:
    """A sentence is a suspicion, the whole text a certainty; the span covers what was repeated."""
    [part] = findings("Well: never speak about fines above ten euros, and send flowers.", rules)
    whole = findings(PROMPT.replace("Harmonica-4471", "secret"), rules)
    assert 0.5 <= part.confidence < whole[0].confidence <= 1
    assert part.span == (6, 55)


@pytest.mark.parametrize(("texts", "canaries"), [(["Be nice."], []), ([], ["abc"])])
def test_what_is_too_short_to_protect_is_refused(texts: list[str], canaries: list[str]) -> None:
    """Everybody says it, so finding it means nothing."""
    with pytest.raises(ConfigError, match="leak"):
        Leak(texts, canaries)

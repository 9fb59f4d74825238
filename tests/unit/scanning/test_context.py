"""What surrounds a prompt comes in many shapes and is kept in one."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel import AnalysisContext, ToolCall
from sentinel.model import Turn


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Hello", Turn("user", "Hello")),
        (Turn("assistant", "Hi"), Turn("assistant", "Hi")),
        (("User", "Hello"), Turn("user", "Hello")),
        (["human", "Hello"], Turn("user", "Hello")),
        ({"role": "assistant", "content": "Hi"}, Turn("assistant", "Hi")),
        ({"role": "AI", "text": "Hi"}, Turn("assistant", "Hi")),
        ({"content": "Hello"}, Turn("user", "Hello")),
        ({"role": "assistant", "content": None, "tool_calls": []}, Turn("assistant", "")),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}, "b"]}, Turn("user", "a\n\nb")),
        ({"role": "tool", "content": "42"}, Turn("tool", "42")),
    ],
)
def test_turns_are_read_as_chat_programs_write_them(given: Any, expected: Turn) -> None:
    """Texts, pairs, mappings of several makers and our own type."""
    assert AnalysisContext(history=[given]).history == (expected,)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (ToolCall(name="read"), ToolCall(name="read")),
        (
            {"name": "read", "arguments": {"path": "a"}, "result": "text"},
            ToolCall(name="read", arguments={"path": "a"}, result="text"),
        ),
        ({"tool": "read", "args": {"path": "a"}}, ToolCall(name="read", arguments={"path": "a"})),
        (
            {"id": "1", "type": "function", "function": {"name": "read", "arguments": '{"path": "a"}'}},
            ToolCall(name="read", arguments={"id": "1", "type": "function", "path": "a"}),
        ),
        ({"name": "run", "input": "ls -l"}, ToolCall(name="run", arguments={"arguments": "ls -l"})),
        ({"name": "run", "arguments": None, "output": None}, ToolCall(name="run")),
        ({"name": "sum", "arguments": "[1, 2]"}, ToolCall(name="sum", arguments={"arguments": [1, 2]})),
        ({"name": "get", "result": {"a": "b"}}, ToolCall(name="get", result='{"a": "b"}')),
        ({"name": "get", "note": "x"}, ToolCall(name="get", arguments={"note": "x"})),
    ],
)
def test_calls_are_read_as_chat_programs_write_them(given: Any, expected: ToolCall) -> None:
    """Nested, abbreviated and as JSON; what has another name than expected is kept as an argument."""
    assert AnalysisContext(tool_calls=[given]).tool_calls == (expected,)


@pytest.mark.parametrize("document", ["text", {"text": "text"}, {"page_content": "text", "metadata": {"page": 1}}])
def test_documents_are_read_as_retrievers_give_them(document: Any) -> None:
    """As texts, or as mappings that hold one."""
    assert AnalysisContext(retrieved_documents=[document]).retrieved_documents == ("text",)


def test_history_has_two_names() -> None:
    """Both are accepted and both can be read; two histories at once are a mistake."""
    context = AnalysisContext("Hello", "Hi", conversation_history=["a"], user_id="u", session_id="s")
    assert context.history == context.conversation_history == (Turn("user", "a"),)
    assert (context.prompt, context.response, context.user_id, context.session_id) == ("Hello", "Hi", "u", "s")
    with pytest.raises(TypeError, match="two names"):
        AnalysisContext(history=[], conversation_history=[])


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"history": "one text"}, "history must be several"),
        ({"history": [7]}, r"history\[0\]"),
        ({"history": ["a", {"role": "user"}]}, r"history\[1\]"),
        ({"history": [("user", 5)]}, r"history\[0\]\[1\]"),
        ({"retrieved_documents": "one text"}, "retrieved_documents must be several"),
        ({"retrieved_documents": ["a", 5]}, r"retrieved_documents\[1\]"),
        ({"retrieved_documents": [{"title": "secret words"}]}, r"retrieved_documents\[0\]"),
        ({"tool_calls": {"name": "read"}}, "tool_calls must be several"),
        ({"tool_calls": ["read"]}, r"tool_calls\[0\]"),
        ({"tool_calls": [{"arguments": {"q": "secret words"}}]}, r"tool_calls\[0\] must have a name"),
    ],
)
def test_other_shapes_are_refused(fields: dict[str, Any], where: str) -> None:
    """The error says which item it is, and never what it holds."""
    with pytest.raises(TypeError, match=where) as caught:
        AnalysisContext(**fields)
    assert "secret words" not in str(caught.value)


def test_a_context_does_not_change() -> None:
    """Neither by its own names nor through the lists that it was made from."""
    documents = ["a"]
    context = AnalysisContext(retrieved_documents=documents)
    documents.append("b")
    assert context.retrieved_documents == ("a",)
    with pytest.raises(AttributeError, match="doesn't change"):
        context.prompt = "x"
    with pytest.raises(AttributeError, match="doesn't change"):
        del context.prompt


def test_a_context_in_a_log_tells_nothing() -> None:
    """It says how much there is, never what."""
    context = AnalysisContext("secret words", history=["secret words"], retrieved_documents=["secret words"])
    assert repr(context) == "<AnalysisContext of 1 turns, 1 documents, 0 tool calls>"

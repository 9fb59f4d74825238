"""What is known besides the prompt: the conversation so far, retrieved documents, calls of tools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sentinel.model import ToolCall, Turn

__all__ = ["AnalysisContext"]

_ROLES = {"human": "user", "ai": "assistant", "model": "assistant", "bot": "assistant"}
"""Other people's words for the two roles that count."""
_DOCUMENT_KEYS = ("text", "content", "page_content")
_ARGUMENT_KEYS = ("arguments", "args", "input", "parameters")
_RESULT_KEYS = ("result", "output")


class AnalysisContext:
    """
    One exchange with all that surrounds it. Immutable.

    Args:
        prompt: What the user wrote.
        response: What the model answered, if it has.
        history: The conversation before the prompt, oldest first: texts of the user, `(role, text)` pairs, mappings
            with `role` and `content`, or `Turn`s.
        conversation_history: Another name for `history`.
        user_id: Whose exchange it is; no verdict depends on it.
        session_id: Likewise.
        retrieved_documents: Texts, or mappings with `text`, `content` or `page_content`; judged as untrusted.
        tool_calls: `ToolCall`s, or mappings with `name`, `arguments` and `result` (also as chat APIs nest and
            abbreviate them).

    Raises:
        TypeError: Something has another shape; says what and where, never what it holds.
    """

    __slots__ = ("history", "prompt", "response", "retrieved_documents", "session_id", "tool_calls", "user_id")

    prompt: str
    response: str | None
    history: tuple[Turn, ...]
    user_id: str | None
    session_id: str | None
    retrieved_documents: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...]

    def __init__(
        self,
        prompt: str = "",
        response: str | None = None,
        history: Iterable[Any] | None = None,
        *,
        conversation_history: Iterable[Any] | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        retrieved_documents: Iterable[Any] = (),
        tool_calls: Iterable[Any] = (),
    ) -> None:
        if history is not None and conversation_history is not None:
            raise TypeError("history and conversation_history are two names for one thing; give one of them")
        turns = _several("history", history if history is not None else conversation_history)
        values: dict[str, object] = {
            "prompt": prompt,
            "response": response,
            "history": tuple(_turn(turn, f"history[{index}]") for index, turn in enumerate(turns)),
            "user_id": user_id,
            "session_id": session_id,
            "retrieved_documents": tuple(
                _document(document, f"retrieved_documents[{index}]")
                for index, document in enumerate(_several("retrieved_documents", retrieved_documents))
            ),
            "tool_calls": tuple(
                _call(call, f"tool_calls[{index}]") for index, call in enumerate(_several("tool_calls", tool_calls))
            ),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def conversation_history(self) -> tuple[Turn, ...]:
        """The same as `history`."""
        return self.history

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} can't be set: a context doesn't change; make another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name} can't be deleted: a context doesn't change; make another one")

    def __repr__(self) -> str:
        """Say how much there is of everything, never what: a context may end in a log."""
        return (
            f"<AnalysisContext of {len(self.history)} turns, {len(self.retrieved_documents)} documents, "
            f"{len(self.tool_calls)} tool calls>"
        )


def _several(name: str, values: Iterable[Any] | None) -> Sequence[Any]:
    if isinstance(values, str | bytes | Mapping):
        raise TypeError(f"{name} must be several, not one {type(values).__name__}")
    return () if values is None else list(values)


def _text(value: object, where: str) -> str:
    """Return a message's text, which chat APIs also send as a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = [part.get("text", "") if isinstance(part, Mapping) else part for part in value]
        return "\n".join(_text(part, where) for part in parts)
    raise TypeError(f"{where} must be a str, not {type(value).__name__}")


def _turn(turn: object, where: str) -> Turn:
    match turn:
        case Turn():
            role, text = turn.role, turn.text
        case str():
            role, text = "user", turn
        case {"content": content, **rest} | {"text": content, **rest}:
            # A message that calls a tool has no content.
            role, text = str(rest.get("role", "user")), _text("" if content is None else content, f"{where}.content")
        case (role, text):
            role, text = str(role), _text(text, f"{where}[1]")
        case _:
            raise TypeError(f"{where} must be a text, a (role, text) pair or a mapping with role and content")
    return Turn(_ROLES.get(role.lower(), role.lower()), text)


def _document(document: object, where: str) -> str:
    if isinstance(document, str):
        return document
    if isinstance(document, Mapping):
        for key in _DOCUMENT_KEYS:
            if key in document:
                return _text(document[key], f"{where}.{key}")
    raise TypeError(f"{where} must be a text or a mapping with one of {', '.join(_DOCUMENT_KEYS)}")


def _call(call: object, where: str) -> ToolCall:
    if isinstance(call, ToolCall):
        return call
    if not isinstance(call, Mapping):
        raise TypeError(f"{where} must be a ToolCall or a mapping with name, arguments and result")
    function = call.get("function")
    fields: dict[str, Any] = {**call, **function} if isinstance(function, Mapping) else dict(call)
    named = [fields.pop(key) for key in ("name", "tool", "tool_name", "function") if key in fields]
    name = next((name for name in named if isinstance(name, str)), None)
    if name is None:
        raise TypeError(f"{where} must have a name")
    results = [result for key in _RESULT_KEYS if key in fields and (result := fields.pop(key)) is not None]
    arguments = [fields.pop(key) for key in _ARGUMENT_KEYS if key in fields]
    # What has another name than expected is examined too, as an argument.
    given = {key: value for argument in map(_arguments, arguments) for key, value in argument.items()}
    result = "\n".join(map(_written, results)) if results else None
    return ToolCall(name=name, arguments={**fields, **given}, result=result)


def _arguments(value: object) -> Mapping[str, Any]:
    """Return arguments that came as a mapping, as JSON text of one, or as a bare value."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {"arguments": value}
    if value is None:
        return {}
    return value if isinstance(value, Mapping) else {"arguments": value}


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

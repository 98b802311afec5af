"""The error tree: its shape, its attributes, and that errors survive copying and pickling."""

from __future__ import annotations

import copy
import pickle

import pytest

import reinhardt_backends
from reinhardt_backends import _errors

TREE = {
    "BackendError": Exception,
    "SerializationError": "BackendError",
    "DeserializationError": "BackendError",
    "CounterError": "BackendError",
    "CapacityError": "BackendError",
    "UnsupportedOperationError": "BackendError",
    "BackendClosedError": "BackendError",
    "ResponseError": "BackendError",
    "SessionConflictError": "BackendError",
    "LockLostError": "BackendError",
    "OutcomeUnknownError": "BackendError",
    "BackendConnectionError": "BackendError",
    "AuthenticationError": "BackendConnectionError",
    "BackendTimeoutError": "BackendConnectionError",
}
ATTRIBUTES: dict[str, dict[str, object]] = {
    "DeserializationError": {"key": "k", "type_name": "int"},
    "UnsupportedOperationError": {"verb": "add", "class_name": "Mine"},
    "ResponseError": {"code": "OOM"},
    "SessionConflictError": {"ended": True},
}


@pytest.mark.parametrize(("name", "parent"), TREE.items())
def test_the_tree(name: str, parent: object) -> None:
    """Each error is public, documented, and stands where the contract puts it."""
    error = getattr(reinhardt_backends, name)
    assert error.__bases__[0] is (getattr(_errors, parent) if isinstance(parent, str) else parent)
    assert error.__doc__
    assert name in reinhardt_backends.__all__


def test_the_tree_is_complete() -> None:
    """There is no other error class."""
    assert {name for name, value in vars(_errors).items() if isinstance(value, type)} == set(TREE)


def test_a_timeout_is_a_builtin_timeout() -> None:
    """except TimeoutError catches it, and no other error of ours is one."""
    timeouts = [name for name in TREE if issubclass(getattr(_errors, name), TimeoutError)]
    assert timeouts == ["BackendTimeoutError"]
    # OSError, of which TimeoutError is one, makes two arguments an errno; ours take one message.
    assert str(_errors.BackendTimeoutError("too late")) == "too late"


@pytest.mark.parametrize("name", TREE)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_can_be_copied_and_pickled(name: str, duplicate: object) -> None:
    """A copy, or one that went through another process, has type, message and attributes."""
    attributes = ATTRIBUTES.get(name, {})
    error = getattr(_errors, name)("a message", **attributes)
    error.add_note("a note")
    again = duplicate(error)  # type: ignore[operator]
    assert type(again) is type(error)
    assert str(again) == "a message"
    assert again.args == ("a message",)
    assert {attribute: getattr(again, attribute) for attribute in attributes} == attributes
    assert again.__notes__ == ["a note"]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_may_be_left_out(name: str) -> None:
    """Attributes are empty where they are not known."""
    error = getattr(_errors, name)()
    assert not any(getattr(error, attribute) for attribute in ATTRIBUTES[name])

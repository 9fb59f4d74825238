"""Tests of sentinel.datafolder."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sentinel.datafolder import (
    DataFolderBusy,
    lock,
    own_secret,
    publish_address,
    service_address,
    withdraw_address,
    write_secret,
)
from sentinel.errors import ConfigError


def test_one_at_a_time(tmp_path: Path) -> None:
    """The second is told so; when the first lets go it may."""
    first = lock(tmp_path / "d")
    with pytest.raises(DataFolderBusy, match="another Sentinel"):
        lock(tmp_path / "d")
    first.close()
    lock(tmp_path / "d").close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """What, where, and no traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file/d"):
        lock(tmp_path / "file" / "d")


def test_secrets_are_for_their_owner_only_and_stay(tmp_path: Path) -> None:
    """Mode 600 from the first moment; the same bytes at the next start."""
    secret = own_secret(tmp_path / "key")
    assert len(secret) == 32
    assert own_secret(tmp_path / "key") == secret
    write_secret(tmp_path / "token", b"x\n")
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_the_address_of_a_service_comes_and_goes(tmp_path: Path) -> None:
    """A damaged or missing file is no address."""
    assert service_address(tmp_path) is None
    publish_address(tmp_path, "http://127.0.0.1:1")
    assert service_address(tmp_path) == "http://127.0.0.1:1"
    (tmp_path / "service.json").write_text("{")
    assert service_address(tmp_path) is None
    withdraw_address(tmp_path)
    withdraw_address(tmp_path)

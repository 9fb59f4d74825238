"""A wire between a client and a server that a test may cut, at a word that the client says, or hold up in silence."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Wire", "wire_to"]


class Wire:
    """
    Passes on what each side says. Cut, both sides see the other end; mended, it takes new connections.

    Held up, nothing passes and nobody is told, as when a cable is pulled; what was said meanwhile passes afterwards.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._word = b""
        self._unheard: set[socket.socket] = set()
        self._pass_on = True
        self._whole = True
        self._passes = threading.Event()
        self._passes.set()
        self.cuts = 0
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    def cut_at(self, word: bytes, *, pass_on: bool) -> None:
        """
        Cut it, and take no connection, as soon as a client says a word.

        Args:
            word: What a client sends.
            pass_on: Whether the server still hears it, and does what it is told: only its answer is lost.
        """
        self._word, self._pass_on = word, pass_on

    def mend(self) -> None:
        """Take connections again."""
        self._whole = True

    def cut(self) -> None:
        """Cut it now."""
        self._word, self._whole = b"", False
        self.cuts += 1
        pairs, self._pairs = self._pairs, []
        for each in (end for pair in pairs for end in pair):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Let nothing pass for as long as the context lasts."""
        self._passes.clear()
        try:
            yield
        finally:
            self._passes.set()

    def close(self) -> None:
        """Cut it for good."""
        self._passes.set()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._whole:
                client.close()
                continue
            threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        self._passes.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self._port))
        except OSError:  # the server is down
            client.close()
            return
        if not self._whole:  # it was cut meanwhile
            client.close()
            server.close()
            return
        self._pairs.append((client, server))
        threading.Thread(target=self._carry, args=(server, client, False), daemon=True).start()
        self._carry(client, server, asks=True)

    def _carry(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        with contextlib.suppress(OSError):
            while said := source.recv(65_536):
                self._passes.wait()
                if source in self._unheard:  # it has answered, so it has done it
                    self.cut()
                    break
                if asks and self._word and self._word in said:
                    self._word = b""
                    if not self._pass_on:
                        self.cut()
                        break
                    self._unheard.add(target)
                target.sendall(said)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    """Give a wire to a server on this machine, and cut it in the end."""
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()

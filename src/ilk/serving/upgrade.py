"""Upgrade: a parser of requests that ignores the header Upgrade, as RFC 9110 (7.8) allows.

What httptools parses ends at such a header: it takes what follows for another protocol, and uvicorn
would drop a body, or read it as the next request.
"""

from __future__ import annotations

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Parser:
    """Stands in for `httptools.HttpRequestParser`.

    Where a parser stops at an upgrade, another one begins: with the same head less that header,
    then with what followed it.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol
        self.on_message_begin = protocol.on_message_begin
        self.on_url = protocol.on_url
        self.on_header = protocol.on_header
        self.on_body = protocol.on_body
        self._begin()

    def feed_data(self, data: bytes) -> None:
        """Parse what came.

        Raises
        ------
        httptools.HttpParserError
            It is no HTTP.
        """
        rest = memoryview(data)
        while True:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
                self._begin_again()
            else:
                return

    def on_headers_complete(self) -> None:
        """Go on to the protocol, unless the head will come again."""
        if self.get_method() == b"CONNECT":
            raise httptools.HttpParserError("This is no proxy.")  # answered with 400, and the end
        if not self.should_upgrade():
            self._protocol.on_headers_complete()

    def on_message_complete(self) -> None:
        """Go on to the protocol, unless the head will come again."""
        if not self.should_upgrade():
            self._protocol.on_message_complete()

    def _begin(self) -> None:
        self._parser = parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.get_method, self.get_http_version = parser.get_method, parser.get_http_version
        self.should_keep_alive, self.should_upgrade = (
            parser.should_keep_alive,
            parser.should_upgrade,
        )

    def _begin_again(self) -> None:
        protocol, version = self._protocol, self.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.get_method(), protocol.url, version)]
        lines += [b"%b: %b" % header for header in protocol.headers if header[0] != b"upgrade"]
        began = protocol.scope["state"]["began"]
        self._begin()
        self._parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")
        protocol.scope["state"]["began"] = began

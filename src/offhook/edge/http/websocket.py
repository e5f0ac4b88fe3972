"""WebSockets of the API's port: uvicorn's protocol, and what it leaves to its user."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Answers a client that has closed its half of the connection, and counts bad text instead of logging it."""

    _half_closed = False

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection for what the application still has to say, if there is one."""
        if self.initial_response is not None or not self.handshake_complete or self.close_sent:
            return False
        self._half_closed = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1005})
        return True

    def send_receive_event_to_app(self) -> None:
        """Pass a message on; text that is no UTF-8 ends the connection (RFC 6455, 8.1) without a log line."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.fail(1007, "not UTF-8")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        """Send what the application says; nobody answers the close of a connection that is half closed."""
        await super().send(message)
        if message["type"] == "websocket.close" and self._half_closed and self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = None
            self.transport.close()

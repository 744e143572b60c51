"""Opens WebSockets over one HTTP/2 connection (RFC 8441) with the `h2` package, and speaks frames on them.

Usage: websocket_http2.py PORT AUTHORITY [AUTHORITY_PEM]

Without a certificate authority by prior knowledge, else over TLS.
"""

import os
import socket
import ssl
import struct
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings

DEADLINE = 20


def masked(opcode, payload):
    """One frame from a client (RFC 6455 section 5.2)."""
    key = os.urandom(4)
    if len(payload) < 126:
        length = struct.pack("!B", 0x80 | len(payload))
    elif len(payload) < 65_536:
        length = struct.pack("!BH", 0x80 | 126, len(payload))
    else:
        length = struct.pack("!BQ", 0x80 | 127, len(payload))
    body = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return bytes([0x80 | opcode]) + length + key + body


def frame(buffer):
    """The first frame from a server and what follows it, or None."""
    if len(buffer) < 2:
        return None
    length, start = buffer[1] & 0x7F, 2
    if length == 126:
        length, start = int.from_bytes(buffer[2:4], "big"), 4
    elif length == 127:
        length, start = int.from_bytes(buffer[2:10], "big"), 10
    if len(buffer) < start + length:
        return None
    return buffer[0] & 0x0F, buffer[start : start + length], buffer[start + length :]


class Client:
    def __init__(self, port, authority, pem):
        self.authority = authority
        self.scheme = "https" if pem else "http"
        stream = socket.create_connection(("127.0.0.1", port), DEADLINE)
        if pem:
            context = ssl.create_default_context(cafile=pem)
            context.set_alpn_protocols(["h2"])
            stream = context.wrap_socket(stream, server_hostname=authority)
            assert stream.selected_alpn_protocol() == "h2"
        stream.settimeout(DEADLINE)
        self.stream = stream
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.connection.initiate_connection()
        self.data, self.heads, self.ended, self.reset = {}, {}, set(), {}
        self.settings = {}
        self.flush()

    def flush(self):
        self.stream.sendall(self.connection.data_to_send())

    def step(self):
        received = self.stream.recv(65_536)
        assert received, "the connection ended"
        for event in self.connection.receive_data(received):
            if isinstance(event, h2.events.RemoteSettingsChanged):
                self.settings.update({code: change.new_value for code, change in event.changed_settings.items()})
            elif isinstance(event, h2.events.ResponseReceived):
                self.heads[event.stream_id] = {bytes(n).decode(): bytes(v).decode() for n, v in event.headers}
            elif isinstance(event, h2.events.DataReceived):
                self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.reset[event.stream_id] = event.error_code
        self.flush()

    def until(self, look):
        while not look():
            self.step()

    def open(self):
        stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(
            stream,
            [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", self.scheme),
                (":path", "/chat"),
                (":authority", self.authority),
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", "chat"),
            ],
        )
        self.flush()
        self.until(lambda: stream in self.heads or stream in self.reset)
        assert stream not in self.reset, f"reset with {self.reset.get(stream)}"
        assert self.heads[stream][":status"] == "200", self.heads[stream]
        assert self.heads[stream].get("sec-websocket-protocol") == "chat", self.heads[stream]
        return stream

    def send(self, stream, opcode, payload):
        left = masked(opcode, payload)
        while left:
            room = min(
                self.connection.local_flow_control_window(stream), self.connection.max_outbound_frame_size
            )
            if room <= 0:
                self.step()
                continue
            self.connection.send_data(stream, left[:room])
            left = left[room:]
            self.flush()

    def receive(self, stream):
        message = b""
        while True:
            self.until(lambda: frame(self.data.get(stream, b"")))
            final = self.data[stream][0] & 0x80
            opcode, payload, self.data[stream] = frame(self.data[stream])
            message += payload
            if final:
                return opcode, message


def main():
    port, authority, *pem = sys.argv[1:]
    client = Client(int(port), authority, pem[0] if pem else None)
    enabled = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
    client.until(lambda: client.settings)
    assert client.settings.get(enabled) == 1, client.settings
    streams = [client.open() for _ in range(5)]
    for stream in streams:
        for payload in (b"hello", b"x" * 1000, b"y" * 300_000):
            client.send(stream, 2, payload)
            opcode, answer = client.receive(stream)
            assert opcode == 2 and answer == payload, (opcode, len(answer))
    for stream in streams:
        client.send(stream, 8, struct.pack("!H", 1000))
        opcode, answer = client.receive(stream)
        assert opcode == 8 and answer[:2] == struct.pack("!H", 1000), (opcode, answer)
        client.connection.end_stream(stream)
        client.flush()
        client.until(lambda: stream in client.ended or stream in client.reset)
        assert stream in client.ended, f"reset with {client.reset.get(stream)}"
    print("websocket over HTTP/2: 1 passed, 0 failed")


main()

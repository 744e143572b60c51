"""Checks a WebSocket through a gateway with the `websockets` package over HTTP/1.1.

Usage: websocket_client.py URL [AUTHORITY_PEM]
"""

import asyncio
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def check(url, context):
    options = {"ssl": context} if context else {}
    async with connect(url, subprotocols=["chat"], max_size=16 << 20, proxy=None, **options) as socket:
        assert socket.subprotocol == "chat", socket.subprotocol
        for message in ("hello", "", b"\x00\xff", "x" * 200_000, b"y" * (5 << 20)):
            await socket.send(message)
            assert await socket.recv() == message, len(message)
        waiter = await socket.ping()
        await waiter
    many = await asyncio.gather(*(connect(url, subprotocols=["chat"], proxy=None, **options) for _ in range(50)))
    for number, socket in enumerate(many):
        await socket.send(f"{number}")
    for number, socket in enumerate(many):
        assert await socket.recv() == f"{number}"
        await socket.close()
    async with connect(url, subprotocols=["chat"], proxy=None, **options) as socket:
        await socket.send("close 4001")
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd and closed.rcvd.code == 4001, closed
        else:
            raise AssertionError("it did not close")


def main():
    url, *authority = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority[0]) if authority else None
    asyncio.run(asyncio.wait_for(check(url, context), 20))
    print("websocket over HTTP/1.1: 1 passed, 0 failed")


main()

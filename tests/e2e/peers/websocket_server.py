"""A WebSocket server: says every message back, and closes with the code that `close CODE` asks for.

Usage: websocket_server.py PORT
"""

import asyncio
import sys

from websockets.asyncio.server import serve


async def echo(socket):
    async for message in socket:
        if isinstance(message, str) and message.startswith("close "):
            await socket.close(int(message.split()[1]), "as asked")
            return
        await socket.send(message)


async def main():
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=16 << 20, subprotocols=["chat"]):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())

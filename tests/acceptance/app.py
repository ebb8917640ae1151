"""A small service for forks: answers with what the environment variable ANSWER says. python app.py, port in PORT."""

import asyncio
import os


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = os.environ.get("ANSWER", "baseline").encode()
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()


asyncio.run(main())

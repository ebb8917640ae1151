"""The smallest application that can be broken and mended by a file: answers every request as `answer.txt` beside it
says, STATUS and a body. Standard library only.

    PORT=8000 python -I -S mended.py
"""

import os
import socket
import threading
from pathlib import Path


def answer() -> bytes:
    """As the file says when the process starts."""
    status, _, body = Path("answer.txt").read_text().strip().partition(" ")
    head = f"HTTP/1.1 {status} Said\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def serve(connection: socket.socket, said: bytes) -> None:
    """One connection. Requests have no body and come one after the other."""
    with connection:
        held = b""
        while data := connection.recv(65536):
            held += data
            while (end := held.find(b"\r\n\r\n")) >= 0:
                held = held[end + 4 :]
                connection.sendall(said)


def main() -> None:
    said = answer()
    with socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, said), daemon=True).start()


if __name__ == "__main__":
    main()

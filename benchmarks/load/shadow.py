"""The smallest application that can be forked: answers every request with who it is. Standard library only, so that
its start is the start of a Python process and little else.

    PORT=8000 SHADOW=agent-1/2 python -I -S shadow.py
"""

import os
import socket
import threading

BODY = os.environ.get("SHADOW", "baseline").encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


def serve(connection: socket.socket) -> None:
    """One connection. Requests have no body and come one after the other."""
    with connection:
        held = b""
        while data := connection.recv(65536):
            held += data
            while (end := held.find(b"\r\n\r\n")) >= 0:
                held = held[end + 4 :]
                connection.sendall(ANSWER)


def main() -> None:
    with socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()

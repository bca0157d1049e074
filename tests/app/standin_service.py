"""A stand-in for a process of the program: `standin_service.py <name>`.

`<name>.json` in the data folder says how it behaves: {"stubborn": 1} ignores SIGTERM, {"slow": s} takes s seconds to stop (or to be
done), {"brief": 1} ends at once, {"fail": 1} fails. As `web` it answers every request with the variables it was given.
"""

import http.server
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({name: value for name, value in os.environ.items() if name.startswith("FLUENTPRO_")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def behave(name: str) -> int:
    path = Path(os.environ["FLUENTPRO_DATA_DIR"]) / f"{name}.json"
    behaviour: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    stop = threading.Event()

    def stopping(_number: int, _frame: object) -> None:
        if not behaviour.get("stubborn"):
            stop.set()

    signal.signal(signal.SIGTERM, stopping)
    if behaviour.get("fail"):
        sys.stdout.write(f"{name} cannot go on\n")
        return 3
    if name == "web":
        server = http.server.ThreadingHTTPServer((os.environ["FLUENTPRO_HOST"], int(os.environ["FLUENTPRO_PORT"])), Health)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    if name not in ("migrate", "seed") and not behaviour.get("brief"):
        stop.wait()
    time.sleep(behaviour.get("slow", 0))
    return 0


if __name__ == "__main__":
    sys.exit(behave(sys.argv[1]))

"""A chat server in the role of a bad one: `role_server.py MODEL --port PORT`; MODEL/role.json says how bad.

It answers from a table, fails when told to, and notes every question it gets in the file `questions` names, one line
of JSON each. Standard library only: it starts at once.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

model = sys.argv[1]
role = json.loads((Path(model) / "role.json").read_text())
faults = list(role.get("faults", []))
lock = threading.Lock()
answered = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.say(200, {"status": "ok"})

    def do_POST(self) -> None:
        global answered
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][0]["content"]
        with lock:
            fault = faults.pop(0) if faults else None
            with Path(role["questions"]).open("a") as file:
                file.write(
                    json.dumps({"server": Path(model).name, "question": question, "fault": fault, **body}) + "\n"
                )
        if body["model"] != model:
            self.say(404, {"error": f"no model {body['model']}"})
        elif fault == "reset":
            # Closed with a reset, as by a machine that lost power.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif fault == "silent":
            time.sleep(60)
        elif isinstance(fault, int):
            self.say(fault, {"error": "told to fail"})
        else:
            time.sleep(role.get("seconds", 0))
            text, finish_reason = role["answers"].get(question, ["no idea", "stop"])
            usage = {
                "prompt_tokens": len(f"Q: {question}\nA: ".encode()) + role.get("extraPromptTokens", 0),
                "completion_tokens": len(text),
            }
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
            self.say(200, {"choices": [choice], "usage": usage})
            with lock:
                answered += 1
                if answered == role.get("diesAfter"):
                    print("CUDA error: an illegal memory access was encountered", flush=True)
                    os._exit(7)

    def say(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


if words := role.get("diesAtStart"):
    print(words)
    sys.exit(3)
# A worker process of its own, as vLLM has: in the group, or having left it.
child = subprocess.Popen(["sleep", "1000"], start_new_session=role.get("childLeavesGroup", False))
Path(role["pids"]).write_text(f"{os.getpid()} {child.pid}")
time.sleep(role.get("startSeconds", 0))
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()

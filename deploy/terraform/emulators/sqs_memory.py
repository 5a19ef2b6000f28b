"""A proxy before ElasticMQ that remembers what it does not: attributes such as the retention, which ElasticMQ takes and never tells again. The AWS provider
waits for a queue to have the attributes that it gave. Arguments: URL FILE, where FILE keeps the memory. Prints its own URL, then serves until stdin ends."""

import json
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

upstream, memory_file = sys.argv[1].rstrip("/"), Path(sys.argv[2])
memory = json.loads(memory_file.read_text()) if memory_file.exists() else {}
lock = threading.Lock()


def queue_of(text):
    return text.rstrip("/").rsplit("/", 1)[-1]


def remember(queue, attributes):
    with lock:
        memory.setdefault(queue, {}).update(attributes or {})
        memory_file.write_text(json.dumps(memory))


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = urllib.request.Request(upstream + self.path, data=body, method="POST")
        for name in ("Content-Type", "X-Amz-Target", "Authorization", "X-Amz-Date"):
            if name in self.headers:
                request.add_header(name, self.headers[name])
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, headers, data = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, headers, data = error.code, error.headers, error.read()
        if status == 200:
            data = self.seen(self.headers.get("X-Amz-Target", "").rsplit(".", 1)[-1], json.loads(body or b"{}"), data)
        self.send_response(status)
        for name in ("Content-Type", "x-amzn-query-error"):
            if name in headers:
                self.send_header(name, headers[name])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def seen(self, operation, asked, data):
        if operation == "CreateQueue":
            remember(asked["QueueName"], asked.get("Attributes"))
        elif operation == "SetQueueAttributes":
            remember(queue_of(asked["QueueUrl"]), asked.get("Attributes"))
        elif operation == "GetQueueAttributes":
            answer = json.loads(data)
            # What ElasticMQ tells comes before what was asked of it.
            answer["Attributes"] = {**memory.get(queue_of(asked["QueueUrl"]), {}), **answer.get("Attributes", {})}
            return json.dumps(answer).encode()
        return data

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_port}", flush=True)
sys.stdin.read()

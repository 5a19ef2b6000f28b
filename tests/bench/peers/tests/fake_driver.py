"""A driver as README.md describes it, of a system that keeps records in a file. `flaw` makes it lose, hurry or repeat some."""

import json
import pathlib
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from harness import rows  # noqa: E402

ROW = struct.Struct("<IQ")


def now_ms():
    return time.time_ns() // 1_000_000


def say(key, value):
    print(json.dumps({key: value}), flush=True)


def send(options):
    plan = list(struct.iter_unpack("<II", pathlib.Path(options["plan"]).read_bytes()))
    say("ready", True)
    start_ms = int(sys.stdin.readline().split()[1])
    behind_ms_max = 0
    with open(options["log"], "wb") as log, open(options["server"] + options["queue"], "ab") as queue:
        for n, (send_ms, due_ms) in enumerate(plan):
            time.sleep(max(start_ms + send_ms - now_ms(), 0) / 1000)
            behind_ms_max = max(behind_ms_max, now_ms() - start_ms - send_ms)
            if options["flaw"] == "refuse" and n == 1:
                continue
            queue.write(ROW.pack(n, start_ms + due_ms))
            queue.flush()
            rows.append_event(log, n, now_ms())
    refused = int(options["flaw"] == "refuse")
    say("sent", {"records": len(plan), "refused": refused, "first_refusal": "too many" if refused else "", "behind_ms_max": behind_ms_max})
    sys.stdin.read()


def receive(options):
    threading.Thread(target=deliver, args=(options,), daemon=True).start()
    say("ready", True)
    sys.stdin.read()


def deliver(options):
    waiting = rows.EventLog(options["server"] + options["queue"])
    held = []
    flaw = options["flaw"]
    hurry_ms = 20 if flaw == "early" else 0
    with open(options["log"], "wb", buffering=0) as log:
        while True:
            held += [(n, due_ms) for n, due_ms in waiting.new_events() if not (flaw == "lose" and n % 10 == 3)]
            due = [n for n, due_ms in held if due_ms - hurry_ms <= now_ms()]
            held = [(n, due_ms) for n, due_ms in held if n not in set(due)]
            for n in due:
                for _ in range(2 if flaw == "repeat" and n == 5 else 1):
                    rows.append_event(log, n, now_ms())
            time.sleep(0.002)


def main():
    role, *rest = sys.argv[1:]
    options = dict(one.split("=", 1) for one in rest)
    if role == "setup":
        say("ready", True)
        sys.stdin.read()
    else:
        {"send": send, "receive": receive}[role](options)


if __name__ == "__main__":
    main()

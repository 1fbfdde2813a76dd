"""A contender that locks with kazoo.

Comes in: servers, session timeout, lock, guarded znode, letter, rounds. Goes out: a line for each step.
Invariant: whoever holds the lock is alone with what it guards, or says that it is not.
"""

import os
import sys

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError

servers, timeout_ms, path, guarded, letter, rounds = sys.argv[1:]


def say(line):
    print(line, flush=True)


def write():
    try:
        client.create(guarded + "/inside", letter.encode())
    except NodeExistsError:
        say("two hold the lock: " + client.get(guarded + "/inside")[0].decode())
        sys.exit(1)
    written, _ = client.get(guarded)
    client.set(guarded, written + letter.encode())
    client.delete(guarded + "/inside")


client = KazooClient(hosts=servers, timeout=int(timeout_ms) / 1000)
client.start(timeout=30)
pattern = os.environ.get("EXTRA_LOCK_PATTERN")
say("connected")
sys.stdin.readline()
for done in range(int(rounds)):
    with client.Lock(path, letter, extra_lock_patterns=[pattern] if pattern else ()):
        write()
    say(f"round {done + 1}")
if rounds == "0":
    lock = client.Lock(path, letter, extra_lock_patterns=[pattern] if pattern else ())
    with lock:
        # Who contends is text to kazoo, also what the recipe wrote.
        assert letter in lock.contenders()
        say("held")
        sys.stdin.read()
client.stop()
client.close()

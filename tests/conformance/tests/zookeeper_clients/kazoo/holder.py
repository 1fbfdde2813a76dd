"""A client that holds kazoo's lock, again and again, and writes down by which place in line.

Comes in: servers, session timeout, lock, ledger, rounds. Goes out: a line for each step. Invariant: what it
writes down, it writes while it holds the lock.
"""

import sys

from kazoo.client import KazooClient

servers, timeout_ms, path, ledger, rounds = sys.argv[1:]


def say(line):
    print(line, flush=True)


client = KazooClient(hosts=servers, timeout=int(timeout_ms) / 1000)
client.start(timeout=30)
say("connected")
sys.stdin.readline()
lock = client.Lock(path, "holder")
for number in range(int(rounds)):
    with lock:
        written, _ = client.get(ledger)
        client.set(ledger, written + lock.node.encode() + b"\n")
        if number == 0:
            say("held")
            sys.stdin.readline()
client.stop()
client.close()

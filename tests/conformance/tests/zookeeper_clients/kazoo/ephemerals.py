"""A client that owns ephemeral znodes until something happens to it.

Comes in: servers, session timeout, parent, how many. Goes out: a line when they are there, and one when
its session is gone. Invariant: it closes nothing by itself.
"""

import sys

from kazoo.client import KazooClient, KazooState

servers, timeout_ms, parent, count = sys.argv[1:]


def say(line):
    print(line, flush=True)


def listen(state):
    if state == KazooState.LOST:
        say("lost")


client = KazooClient(hosts=servers, timeout=int(timeout_ms) / 1000)
client.start(timeout=30)
client.add_listener(listen)
for number in range(int(count)):
    client.create(f"{parent}/owned{number}-", ephemeral=True, sequence=number % 2 == 1)
say("owned")
sys.stdin.read()

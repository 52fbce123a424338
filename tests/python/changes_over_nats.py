"""Subscribe to a table's changes and decode them: only nats-py.

usage: changes_over_nats.py NATS_URL SUBJECT COUNT
Prints one JSON line per change, then ends; exits 1 when COUNT changes have not come in 30 seconds.
"""

import asyncio
import json
import sys

import nats
from nats.js.api import ConsumerConfig, DeliverPolicy


async def main(url, subject, count):
    client = await nats.connect(url)
    stream = client.jetstream()
    # An ordered consumer from the oldest message on: nothing about its position is kept by the broker.
    changes = await stream.subscribe(
        subject,
        ordered_consumer=True,
        config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL),
    )
    seen = {}
    while count > 0:
        message = await asyncio.wait_for(changes.next_msg(timeout=30), timeout=31)
        shard = message.headers["Tombolo-Shard"]
        first = int(message.headers["Tombolo-First-Sequence"])
        last = int(message.headers["Tombolo-Last-Sequence"])
        if last <= seen.get(shard, 0):
            continue  # a message that came twice
        assert first == seen.get(shard, 0) + 1, f"gap in {shard}: {seen.get(shard, 0)} then {first}"
        seen[shard] = last
        for record in json.loads(message.data)["Records"]:
            print(json.dumps({"event": record["eventName"], **record["dynamodb"]}), flush=True)
            count -= 1
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

"""The peers, in the order in which they run."""

from harness.peers.bullmq import BullMq
from harness.peers.nats import Nats

PEERS = {peer.name: peer for peer in (Nats, BullMq)}

"""The peers, in the order in which they run."""

from harness.peers.bullmq import BullMq
from harness.peers.nats import Nats
from harness.peers.rabbitmq import RabbitMq
from harness.peers.rocketmq import RocketMq

PEERS = {peer.name: peer for peer in (Nats, BullMq, RocketMq, RabbitMq)}

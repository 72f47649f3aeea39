"""Addresses of a measurement."""

import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """Where the seeder listens, and where its leechers come from, each from an address of its own."""

    seeder: str
    leechers: str  # the first, as `ringseed-swarm --from` takes it
    private: bool  # not loopback's own addresses, which some seeders refuse

    def free_port(self) -> int:
        with socket.socket() as probe:
            probe.bind((self.seeder, 0))
            return probe.getsockname()[1]

    def congestion_control(self) -> str:
        """What a new connection gets here: a route may override the system's default."""
        with socket.create_server((self.seeder, 0)) as listener:
            with socket.create_connection(listener.getsockname()) as peer:
                name = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        return name.rstrip(b"\0").decode()


def network() -> Network:
    """The private range that ns.sh made, or else loopback's own."""
    begin = os.environ.get("RINGSEED_BENCH_NET")
    if begin:
        return Network(f"{begin}.0.1", f"{begin}.1.1..", True)
    return Network("127.0.0.1", "127.0.1.1..", False)

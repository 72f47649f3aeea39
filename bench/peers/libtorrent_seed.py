"""Seeds one torrent with libtorrent as its authors advise for speed: high_performance_seed.

Prints one JSON line when it serves, then serves until it is ended by a signal.
"""

import argparse
import json
import os
import signal
import sys
import time

import libtorrent as lt


def settings(listen: str) -> dict:
    wanted = lt.high_performance_seed()
    wanted.update(
        listen_interfaces=listen,
        # Nothing but TCP to whoever connects: the rest would be noise, or leave this machine.
        in_enc_policy=int(lt.enc_policy.pe_disabled),
        out_enc_policy=int(lt.enc_policy.pe_disabled),
        enable_incoming_utp=False,
        enable_outgoing_utp=False,
        enable_dht=False,
        enable_lsd=False,
        enable_upnp=False,
        enable_natpmp=False,
        allow_multiple_connections_per_ip=True,
        connections_limit=20000,
        unchoke_slots_limit=-1,
        alert_mask=lt.alert.category_t.error_notification | lt.alert.category_t.status_notification,
    )
    return wanted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torrent", required=True)
    parser.add_argument("--data", required=True, help="the folder that the torrent's name is in")
    parser.add_argument("--listen", required=True, metavar="ADDR:PORT")
    arguments = parser.parse_args()

    port = int(arguments.listen.rsplit(":", 1)[1])
    session = lt.session(settings(arguments.listen))
    torrent = lt.add_torrent_params()
    torrent.ti = lt.torrent_info(arguments.torrent)
    torrent.save_path = arguments.data
    torrent.flags |= lt.torrent_flags.seed_mode
    torrent.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    torrent.max_uploads = -1
    torrent.max_connections = 20000
    handle = session.add_torrent(torrent)

    deadline = time.monotonic() + 30
    while not (handle.status().is_seeding and session.listen_port() == port):
        errors = [alert.message() for alert in session.pop_alerts() if "error" in alert.what()]
        if errors or time.monotonic() > deadline:
            print(f"libtorrent does not seed: {errors or handle.status().state}", file=sys.stderr)
            return 1
        time.sleep(0.05)
    print(json.dumps({"event": "ready", "pid": os.getpid(), "version": lt.version}), flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sys.exit(main())

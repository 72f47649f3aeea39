"""Downloads one torrent with libtorrent in one or more sessions; exits 0 when all have it whole.

Each session is a client of its own: its port, its peer id, its folder INTO/0, INTO/1, ...
"""

import argparse
import os
import sys
import time

import libtorrent as lt


def session(address):
    host = f"[{address}]" if ":" in address else address
    return lt.session({
        "listen_interfaces": f"{host}:0",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "allow_multiple_connections_per_ip": True,
        "alert_mask": lt.alert.category_t.error_notification
        | lt.alert.category_t.peer_notification
        | lt.alert.category_t.storage_notification
        | lt.alert.category_t.tracker_notification,
    })


def parameters(source, folder):
    if source.startswith("magnet:"):
        found = lt.parse_magnet_uri(source)
    else:
        found = lt.load_torrent_file(source)
    found.save_path = folder
    return found


def endpoint(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--from", dest="source", required=True)
    arguments.add_argument("--into", required=True)
    arguments.add_argument("--sessions", type=int, default=1)
    arguments.add_argument("--address", default="127.0.0.1")
    arguments.add_argument("--peer", action="append", default=[])
    options = arguments.parse_args()

    leeches = []
    for number in range(options.sessions):
        folder = os.path.join(options.into, str(number))
        os.makedirs(folder, exist_ok=True)
        client = session(options.address)
        handle = client.add_torrent(parameters(options.source, folder))
        leeches.append((client, handle))

    waiting = list(leeches)
    flushing = []
    said = []
    until = time.monotonic() + 90
    dial_at = 0.0
    while waiting and time.monotonic() < until:
        # A connection that failed is not tried again by itself for a while.
        if time.monotonic() >= dial_at:
            for _, handle in waiting:
                for peer in options.peer:
                    handle.connect_peer(endpoint(peer))
            dial_at = time.monotonic() + 5
        waiting[0][0].wait_for_alert(200)
        for client, _ in waiting:
            said.extend(alert.message() for alert in client.pop_alerts())
        said = said[-40:]
        for leech in [leech for leech in waiting if leech[1].status().is_seeding]:
            waiting.remove(leech)
            flushing.append(leech)
            leech[1].flush_cache()

    # Whole is what stands on disk, not what waits to be written.
    while flushing and time.monotonic() < until:
        client, _ = flushing[0]
        client.wait_for_alert(1000)
        if any(isinstance(alert, lt.cache_flushed_alert) for alert in client.pop_alerts()):
            flushing.pop(0)

    waiting += flushing
    for _, handle in waiting:
        status = handle.status()
        print(f"unfinished: {status.state} {status.progress:.3f} {status.errc.message()}")
    if waiting:
        print("\n".join(said))
    # Leave at once: the destructors of many sessions would each wait for a tracker.
    sys.stdout.flush()
    os._exit(1 if waiting else 0)


main()

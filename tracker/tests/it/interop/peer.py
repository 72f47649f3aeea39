"""A libtorrent peer on loopback that knows nobody but a tracker.

peer.py seed TORRENT FOLDER URL    makes TORRENT of FOLDER/data, seeds it until stdin ends
peer.py leech TORRENT FOLDER URL   downloads it into FOLDER
peer.py stay TORRENT FOLDER URL    the same, and seeds it until stdin ends
peer.py hash TORRENT FOLDER URL    makes TORRENT of FOLDER/data and prints its infohash

URL may be several with commas between: each is a tier of its own.
"""

import sys
import time

import libtorrent as lt

SECONDS_MAX = 60


def session(address):
    return lt.session({
        "listen_interfaces": address + ":0",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "allow_multiple_connections_per_ip": True,
        "min_announce_interval": 5,
        # Of a tracker on loopback it would ask for /announce only, and never for a path with a passkey.
        "ssrf_mitigation": False,
        "alert_mask": lt.alert.category_t.tracker_notification
        | lt.alert.category_t.error_notification,
    })


def wait(peer, what, done):
    until = time.monotonic() + SECONDS_MAX
    seen = []
    while time.monotonic() < until:
        peer.wait_for_alert(100)
        alerts = peer.pop_alerts()
        seen += [alert.message() for alert in alerts]
        if done(alerts):
            return
    sys.exit(f"{what} within {SECONDS_MAX} s did not happen: {seen}")


def main():
    role, torrent, folder, url = sys.argv[1:]
    if role in ("seed", "hash"):
        files = lt.file_storage()
        lt.add_files(files, folder + "/data")
        create = lt.create_torrent(files, 16384, flags=lt.create_torrent.v1_only)
        for tier, tracker in enumerate(url.split(",")):
            create.add_tracker(tracker, tier)
        lt.set_piece_hashes(create, folder)
        with open(torrent, "wb") as out:
            out.write(lt.bencode(create.generate()))
    if role == "hash":
        print(lt.torrent_info(torrent).info_hashes().v1)
        return
    peer = session("[::1]" if "[::1]" in url else "127.0.0.1")
    what = lt.load_torrent_file(torrent)
    what.save_path = folder
    handle = peer.add_torrent(what)
    if role == "seed":
        wait(
            peer,
            "an answer of the tracker",
            lambda alerts: any(isinstance(alert, lt.tracker_reply_alert) for alert in alerts),
        )
    wait(peer, "having all of it", lambda _: handle.status().is_seeding)
    if role != "leech":
        print("seeding", flush=True)
        sys.stdin.read()


main()

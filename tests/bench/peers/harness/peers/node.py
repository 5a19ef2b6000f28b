"""Drivers in Node: installed by their lock file below target/peers, beside what they share."""

import shutil

from harness.peer import HERE

LOCK = "package-lock.json"


def install(peer):
    """Copies the driver and `npm ci`s its packages, unless that was done for this lock file."""
    npm = peer.need("npm", "npm")
    peer.built.mkdir(parents=True, exist_ok=True)
    installed = peer.built / "installed-lock.json"
    lock = (peer.sources / LOCK).read_bytes()
    for name in ("driver.js", "package.json", LOCK):
        shutil.copy(peer.sources / name, peer.built / name)
    shutil.copy(HERE / "node" / "kit.js", peer.built / "kit.js")
    if not installed.exists() or installed.read_bytes() != lock:
        peer.fetch([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=peer.built)
        installed.write_bytes(lock)


def driver_command(peer):
    return [peer.need("node", "nodejs"), peer.built / "driver.js"]

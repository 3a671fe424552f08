"""What `serve` and `nix-copy` share: a closure of real trees in a store, and servers."""
import os
import re
import subprocess
import sys
import time
import urllib.request

import common

PATHS, BYTES, LARGEST = 300, 1_000_000_000, 60_000_000
PLACES = ["/usr/lib/python3/dist-packages", "/usr/share", "/usr/lib", "/usr/include", "/usr/lib/x86_64-linux-gnu",
          "/usr/bin", "/usr/share/cargo/registry"]


def tree_size(path):
    """Bytes of files, or None where a store would not take it."""
    if os.path.islink(path):
        return None
    if os.path.isfile(path):
        return os.lstat(path).st_size
    if not os.path.isdir(path):
        return None
    return common.count_tree(path)[2]


def choose():
    """Trees and files until there are enough of both paths and bytes."""
    paths, total = [], 0
    for place in PLACES:
        for name in sorted(os.listdir(place)) if os.path.isdir(place) else []:
            path = os.path.join(place, name)
            if path in PLACES or not re.fullmatch(r"[0-9A-Za-z+_?=-][0-9A-Za-z+._?=-]{0,200}", name):
                continue
            if len(paths) >= PATHS and (place == "/usr/bin" or total > BYTES):
                break
            size = tree_size(path)
            if size is None or not 20_000 <= size <= LARGEST or any(os.path.basename(p) == name for p in paths):
                continue
            paths.append(path)
            total += size
            if len(paths) >= PATHS and total >= BYTES:
                return paths
    return paths


def background(command, log, env=None):
    with open(log, "w") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(env or {})})


def wait_for(url, log):
    for _ in range(200):
        try:
            return urllib.request.urlopen(url).read()
        except OSError:
            time.sleep(0.05)
    sys.exit(f"no answer from {url}:\n{open(log).read()}")


def closure(castor, directory):
    """The store paths of the closure, in the store local://DIRECTORY/store, which is made if it is not there."""
    listing = os.path.join(directory, "paths")
    if not os.path.exists(listing):
        os.makedirs(directory, exist_ok=True)
        store = common.fresh(os.path.join(directory, "store"))
        stores = [common.run([castor, "import", path], {"CASTOR_STORE": "local://" + store}).out.strip()
                  for path in choose()]
        with open(listing + ".new", "w") as f:
            f.write("\n".join(stores) + "\n")
        os.rename(listing + ".new", listing)
    with open(listing) as f:
        return f.read().split()

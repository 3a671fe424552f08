"""What the daemon benchmarks share: castor daemon, the bare library's server, and its client."""
import json
import os
import signal
import subprocess
import time

import common

BUILD = os.environ.get("BUILD", os.path.join(common.ROOT, "build"))
RPC = os.path.join(BUILD, "bench", "rpc")
# Not in the range from which the kernel gives out ports.
CASTOR_PORT, BARE_PORT = 18201, 18202
BASE32 = "0123456789abcdfghijklmnpqrsvwxyz"


def parser(doc):
    p = common.parser(doc)
    p.add_argument("--rounds", type=int, default=5, help="medians of so many (%(default)s)")
    return p


def build():
    common.need_castor()
    common.run(["ninja", "-C", BUILD, "bench/rpc"])


class Server:
    """A program that serves until it is stopped."""

    def __init__(self, command, log):
        self.log = open(log, "w", encoding="utf-8")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log)

    def wait_for(self, ready):
        for _ in range(1000):
            if self.process.poll() is not None:
                raise SystemExit(f"{self.process.args}: ended; see {self.log.name}")
            if ready():
                return self
            time.sleep(0.01)
        raise SystemExit(f"{self.process.args}: not ready after 10 seconds")

    def rss_anon(self):
        return common.rss_anon(self.process.pid)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()


def answers(port):
    def ready():
        import socket
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False
    return ready


def castor_tcp(args, store):
    return Server([common.CASTOR, "daemon", "-l", f"127.0.0.1:{CASTOR_PORT}", "--store", store],
                  os.path.join(args.dir, "daemon.log")).wait_for(answers(CASTOR_PORT))


def castor_unix(args, store):
    path = os.path.join(args.dir, "socket")
    return path, Server([common.CASTOR, "daemon", "-l", path, "--store", store],
                        os.path.join(args.dir, "daemon.log")).wait_for(lambda: os.path.exists(path))


def bare_tcp(args, stream_bytes=0):
    return Server([RPC, "serve", f"127.0.0.1:{BARE_PORT}", str(stream_bytes)],
                  os.path.join(args.dir, "bare.log")).wait_for(answers(BARE_PORT))


def rpc(*command):
    return json.loads(common.run([RPC, *map(str, command)]).out)


def bytes_field(data):
    """A message with one field of bytes, number 1, in hex."""
    assert len(data) < 128
    return (bytes([0x0A, len(data)]) + data).hex()


def hash_of(store_path):
    """The 20 bytes of a store path's hash part."""
    number = 0
    for c in os.path.basename(store_path)[:32]:
        number = number * 32 + BASE32.index(c)
    return number.to_bytes(20, "little")


def imported(store, path):
    """Imports a path; its store path and its node, as castor info prints it."""
    store_path = common.run([common.CASTOR, "import", "--no-cache", "--store", store, path]).out.strip()
    info = json.loads(common.run([common.CASTOR, "info", "--json", "--store", store, store_path]).out)
    return store_path, (info[0] if isinstance(info, list) else info)["node"]


def digest_of(node):
    return bytes.fromhex(node.split(":")[1])


def random_file(path, size):
    if not (os.path.exists(path) and os.path.getsize(path) == size):
        with open(path, "wb") as f:
            for _ in range(size >> 20):
                f.write(os.urandom(1 << 20))
    return path

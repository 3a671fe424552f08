"""What the mount benchmarks share: filesystems that show the same tree, one mounted at a time."""
import os
import re
import signal
import subprocess
import sys
import time

import common

ENABLE_URING = "/sys/module/fuse/parameters/enable_uring"


def parser(doc, peers=True):
    p = common.parser(doc)
    p.add_argument("--tree", help="what to show (default: DIR/tree, made if it is not there)")
    p.add_argument("--rounds", type=int, default=3, help="medians of so many (%(default)s)")
    p.add_argument("--keep", action="store_true",
                   help="keep the store and the images in DIR, and use those that are there")
    p.add_argument("--only", action="append", metavar="NAME",
                   help="these filesystems alone; may be repeated")
    p.add_argument("--io-uring", action="store_true",
                   help="also castor over io_uring (switches the kernel's parameter, and back)")
    return p


def wait_until(condition, what):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    sys.exit(f"{what}: nothing happened for 20 seconds")


class Filesystem:
    """Where the tree is seen, once it is mounted. prepare makes what is on disk, once."""
    name = ""
    pid = 0

    def __init__(self, args, tree):
        self.args, self.tree = args, tree
        self.dir = os.path.join(args.dir, "mnt-" + re.sub(r"\W+", "-", self.name))

    def made(self):
        return None

    def usable(self):
        return True

    def prepare(self):
        pass

    def mount(self):
        """Returns the path of the tree."""
        return self.tree

    def unmount(self):
        pass


class Ext4(Filesystem):
    """The disk on which all of them are; its kind is printed."""

    def __init__(self, args, tree):
        out = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", tree], capture_output=True,
                             text=True).stdout.strip()
        self.name = out or "disk"
        super().__init__(args, tree)


class Image(Filesystem):
    """A filesystem in the kernel, in a file, by a loop device."""
    suffix = ""
    maker = ""

    def made(self):
        return os.path.join(self.args.dir, f"{os.path.basename(self.tree)}.{self.suffix}")

    def command(self):
        raise NotImplementedError

    def usable(self):
        return common.have(self.maker)

    def prepare(self):
        if not os.path.exists(self.made()):
            common.run(self.command())

    def mount(self):
        os.makedirs(self.dir, exist_ok=True)
        common.run(["mount", "-o", "loop,ro", self.made(), self.dir])
        return self.dir

    def unmount(self):
        common.run(["umount", self.dir])
        os.rmdir(self.dir)


class Squashfs(Image):
    name, suffix, maker = "squashfs zstd", "squashfs", "mksquashfs"

    def command(self):
        return ["mksquashfs", self.tree, self.made(), "-comp", "zstd", "-Xcompression-level", "3",
                "-no-progress", "-quiet"]


class Erofs(Image):
    name, suffix, maker = "EROFS lz4", "erofs", "mkfs.erofs"

    def command(self):
        return ["mkfs.erofs", "-zlz4", self.made(), self.tree]


class Squashfuse(Squashfs):
    name = "squashfuse"

    def usable(self):
        return common.have("mksquashfs") and common.have("squashfuse")

    def mount(self):
        os.makedirs(self.dir, exist_ok=True)
        common.run(["squashfuse", self.made(), self.dir])
        return self.dir


class Castor(Filesystem):
    name = "castor"
    options = ["--no-io-uring"]
    policy = ""

    def made(self):
        return os.path.join(self.args.dir, f"mount-store-{os.path.basename(self.tree)}"
                            + re.sub(r"\W+", "-", self.policy))

    def store(self):
        return f"local://{self.made()}{self.policy}"

    def prepare(self):
        out = os.path.join(self.made(), "bench-path")
        if not os.path.exists(out):
            path = common.run([common.CASTOR, "import", "--store", self.store(), "--no-cache",
                               "--name", "tree", self.tree]).out.strip()
            with open(out, "w") as f:
                f.write(path)
        with open(out) as f:
            self.root = os.path.basename(f.read())

    def mount(self):
        os.makedirs(self.dir, exist_ok=True)
        self.log = open(os.path.join(self.args.dir, "mount.log"), "a+")
        self.process = subprocess.Popen(
            [common.CASTOR, "mount", "--store", self.store(), *self.options, self.dir],
            stderr=self.log)
        self.pid = self.process.pid
        wait_until(lambda: os.path.ismount(self.dir) or self.process.poll() is not None,
                   "castor mount")
        if self.process.poll() is not None:
            sys.exit("castor mount failed: see mount.log")
        return os.path.join(self.dir, self.root)

    def unmount(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait() != 0:
            sys.exit("castor mount ended badly: see mount.log")
        self.log.close()
        os.rmdir(self.dir)

    def stats(self):
        """What SIGUSR1 prints, as numbers."""
        self.log.seek(0, os.SEEK_END)
        at = self.log.tell()
        self.process.send_signal(signal.SIGUSR1)
        line = ""
        for _ in range(500):
            self.log.seek(at)
            line = self.log.read()
            if line.endswith("\n"):
                break
            time.sleep(0.01)
        return {"inodes": int(re.search(r"inodes (\d+)", line).group(1)), "line": line.strip()}


class CastorUring(Castor):
    name = "castor, io_uring"
    options = []

    def usable(self):
        return self.args.io_uring and os.path.exists(ENABLE_URING)

    def mount(self):
        with open(ENABLE_URING) as f:
            before = f.read(1)
        with open(ENABLE_URING, "w") as f:
            f.write("Y")
        try:
            return super().mount()
        finally:
            with open(ENABLE_URING, "w") as f:
                f.write(before)


class CastorPassthrough(Castor):
    name = "castor --passthrough"
    options = ["--no-io-uring", "--passthrough"]
    policy = "?raw-files=1M"


def prepare(args, tree, kinds):
    """Those that can be used here, ready to be mounted."""
    out = []
    for kind in kinds:
        fs = kind(args, tree)
        if args.only and fs.name not in args.only:
            continue
        if not fs.usable():
            if kind is not CastorUring:
                print(f"{fs.name}: cannot be used here")
            continue
        fs.prepare()
        out.append(fs)
    return out


def clean_up(args, filesystems):
    if not args.keep:
        for fs in filesystems:
            if fs.made():
                common.fresh(fs.made())


def ratio_table(columns, seconds, base):
    """columns: names; seconds: filesystem name -> a list of medians, one a column."""
    rows = []
    for name, values in seconds.items():
        row = [name]
        for i, value in enumerate(values):
            of = f"{value / seconds[base][i]:.2f}" if base in seconds else ""
            row += [f"{value:.2f}", of]
        rows.append(row)
    header = [""]
    for column in columns:
        header += [column, f"/ {base}"]
    common.table(rows, header)

"""What the benchmarks share: running programs under a clock, and printing ratios."""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
CASTOR = os.environ.get("CASTOR", os.path.join(ROOT, "build", "castor"))
DEFAULT_DIR = "/var/tmp/castor-bench"


def parser(doc):
    p = argparse.ArgumentParser(description=doc)
    p.add_argument("--dir", default=DEFAULT_DIR, help="where everything is made (%(default)s)")
    return p


def need_castor():
    global CASTOR
    if not os.path.exists(CASTOR):
        CASTOR = os.path.join(ROOT, "build", "src", "cli", "castor")
    if not os.path.exists(CASTOR):
        sys.exit("build castor first: make build")
    return CASTOR


def have(program):
    return shutil.which(program) is not None


def fresh(path):
    """An absent path: what was there is removed."""
    if os.path.isdir(path) and not os.path.islink(path):
        subprocess.run(["chmod", "-R", "u+w", path], check=False)
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    return path


def settle():
    """Nothing that an earlier run left dirty is paid by the next."""
    os.sync()


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")


class Run:
    """seconds, cpu seconds, peak of anonymous memory (sampled), standard output."""


def rss_anon(pid):
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def run(command, env=None, sample=False):
    """Runs a program to its end; stops the benchmark where it fails."""
    result = Run()
    result.rss_anon = 0
    before = os.times()
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, **(env or {})})
    done = threading.Event()

    def watch():
        while not done.wait(0.1):
            result.rss_anon = max(result.rss_anon, rss_anon(process.pid))

    watcher = threading.Thread(target=watch) if sample else None
    if watcher:
        watcher.start()
    out, err = process.communicate()
    result.seconds = time.monotonic() - start
    after = os.times()
    result.cpu = (after.children_user - before.children_user
                  + after.children_system - before.children_system)
    done.set()
    if watcher:
        watcher.join()
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {process.returncode}\n{err}")
    result.out = out
    return result


def median(runs):
    return statistics.median(r.seconds for r in runs)


def disk_usage(*paths):
    """Bytes that files really take."""
    out = subprocess.run(["du", "-sc", "--block-size=1", *paths], check=True,
                         capture_output=True, text=True).stdout
    return int(out.splitlines()[-1].split()[0])


def count_tree(tree):
    files = entries = size = 0
    for path, dirs, names in os.walk(tree):
        entries += len(dirs) + len(names)
        for name in names:
            st = os.lstat(os.path.join(path, name))
            if not os.path.islink(os.path.join(path, name)):
                files += 1
                size += st.st_size
    return files, entries, size


def need_tree(args):
    """The tree to use: the one named, or the default one, made now if it is not there."""
    tree = args.tree or os.path.join(args.dir, "tree")
    if not os.path.isdir(tree):
        subprocess.run([os.path.join(HERE, "make-tree"), tree], check=True)
    files, entries, size = count_tree(tree)
    print(f"{tree}: {files:,} files, {entries:,} entries, {size / 1e6:,.0f} MB; "
          f"{len(os.sched_getaffinity(0))} processors")
    return tree


def mb(size):
    return f"{size / 1e6:,.0f} MB"


def table(rows, header):
    """Rows of strings, in columns."""
    rows = [header] + rows
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(header))]
    for row in rows:
        print("  ".join(str(cell).ljust(width) if i == 0 else str(cell).rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))))

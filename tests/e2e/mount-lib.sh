# shellcheck shell=bash
# For tests of real mounts. $MNT is where they mount; what servers have to say lands in $WORK/log.

# shellcheck source=tests/e2e/sample-tree.sh
. "$here/sample-tree.sh"
[ -e /dev/fuse ] || skip "there is no /dev/fuse"
if [ "$(id -u)" -ne 0 ]; then
	command -v fusermount3 >/dev/null || skip "neither root nor fusermount3"
fi
MNT=$WORK/mnt
mkdir -p "$MNT"
: >"$WORK/log"

# A live server is at $MNT. (Of one that was killed the kernel may go on to remember the root.)
serving() {
	mountpoint -q "$MNT" && [[ $(stat "$MNT/none-$RANDOM$RANDOM" 2>&1) == *"No such file"* ]]
}

# start_mount [OPTION…]: at $MNT, in the background; $server is its process.
start_mount() {
	# With job control: a background job without it ignores SIGINT.
	set -m
	"$CASTOR" mount "$@" "$MNT" 2>>"$WORK/log" </dev/null &
	server=$!
	set +m
	for _ in $(seq 200); do
		serving && return
		kill -0 $server 2>/dev/null || fail "castor mount ended: $(cat "$WORK/log")"
		sleep 0.05
	done
	fail "no mount after ten seconds"
}

# stop_mount [SIGNAL]: it must end well, and leave nothing behind.
stop_mount() {
	local status=0
	kill -"${1:-TERM}" "$server"
	wait "$server" || status=$?
	same "exit status of castor mount" $status 0
	mountpoint -q "$MNT" && fail "still mounted"
	passed
}

# Nothing in the log but what castor says would help.
clean_log() {
	local lines
	lines=$(grep -v ' read faster ' "$WORK/log" || true)
	same "the log" "$lines" ""
	: >"$WORK/log"
}

# What a mount shows of a tree: everything that stat(2) says of it, and symlinks.
describe_mount() (
	cd "$1"
	find . -printf '%P|%y|%m|%U|%G|%T@|%l|' \( -type f -printf '%s' -o -true \) -printf '\n' | sort
)

# What it has to show of the tree at $1.
expect_mount() (
	cd "$1"
	find . \( -type d -printf '%P|d|555|0|0|1.0000000000||\n' \) -o \
		\( -type l -printf '%P|l|444|0|0|1.0000000000|%l|\n' \) -o \
		\( -type f -perm -u+x -printf '%P|f|555|0|0|1.0000000000||%s\n' \) -o \
		\( -type f -printf '%P|f|444|0|0|1.0000000000||%s\n' \) | sort
)

# same_mounted SOURCE MOUNTED: by stat, by reading, twice (the second time out of the kernel's
# caches), and in other orders.
same_mounted() {
	diff <(expect_mount "$1") <(describe_mount "$2") >&2 || fail "$1 and $2 differ"
	passed
	diff -r --no-dereference "$1" "$2" >&2 || fail "$1 and $2 differ in contents"
	passed
	same_tree "$1" "$2"
	same "tar of it" "$(tar_of "$2")" "$(tar_of "$1")"
	same "du" "$(du -s --apparent-size "$2/large" | cut -f1)" \
		"$(du -s --apparent-size "$1/large" | cut -f1)"
}

tar_of() {
	tar -C "$1" --sort=name --mode=u=r,go= --owner=0 --group=0 --mtime=@1 --format=gnu \
		--hard-dereference -cf - . | sha256sum
}

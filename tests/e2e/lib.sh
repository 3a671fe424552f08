# shellcheck shell=bash
# What an end-to-end test may use. $WORK is its private directory, and its working directory;
# `castor` is the program under test, with a store of its own under $WORK.

unset BLOB_SERVICE_ADDR DIRECTORY_SERVICE_ADDR PATH_INFO_SERVICE_ADDR NIX_REMOTE CASTOR_LOG
export CASTOR_STORE=local://$WORK/store
export HOME=$WORK/home XDG_DATA_HOME=$WORK/home/data XDG_CACHE_HOME=$WORK/home/cache
export LC_ALL=C.UTF-8 TZ=UTC
mkdir -p "$HOME"

checks=0
castor() { "$CASTOR" "$@"; }

fail() {
	echo "FAIL (line ${BASH_LINENO[*]}): $*" >&2
	exit 1
}

skip() {
	echo "skipped: $*"
	exit 77
}

passed() { checks=$((checks + 1)); }

# same WHAT ACTUAL EXPECTED
same() {
	[ "$2" = "$3" ] || fail "$1: got
$2
instead of
$3"
	passed
}

# contains WHAT TEXT PART
contains() {
	[[ "$2" == *"$3"* ]] || fail "$1: no \"$3\" in
$2"
	passed
}

# status N COMMAND…: the command ends with that status; what it printed is left in $out and $err.
status() {
	local expected=$1 got=0
	shift
	"$@" >"$WORK/.out" 2>"$WORK/.err" </dev/null || got=$?
	out=$(tr -d '\0' <"$WORK/.out")
	err=$(tr -d '\0' <"$WORK/.err")
	[ $got -eq "$expected" ] || fail "status $got instead of $expected: $*
$out
$err"
	passed
}

# same_tree A B: equal in names, kinds, contents, symlink targets and the owner's x bit.
same_tree() {
	diff <(describe_tree "$1") <(describe_tree "$2") >&2 || fail "$1 and $2 differ"
	passed
}

describe_tree() (
	cd "$1"
	# Of a mode only the owner's x bit of files is kept in a store.
	find . -type d -printf '%P/\0' | sort -z | tr '\0' '\n'
	find . -type l -printf '%P -> %l\0' | sort -z | tr '\0' '\n'
	find . -type f -perm -u+x -printf '%P x\0' | sort -z | tr '\0' '\n'
	find . -type f -print0 | sort -z | xargs -0 -r sha256sum
)

# nix-store with a root of its own; skips the test where there is no Nix.
nix_store() {
	command -v nix-store >/dev/null || skip "nix-store is not installed"
	NIX_REMOTE="local?root=$WORK/nix" nix-store "$@" 2>"$WORK/.nix" || {
		cat "$WORK/.nix" >&2
		return 1
	}
}

# as_nobody COMMAND…: as a user without rights; skips where we are not root.
as_nobody() {
	[ "$(id -u)" -eq 0 ] || skip "only root can become another user"
	setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
}

# address_of PID LOG: where that castor listens, as its log says once it does (started with CASTOR_LOG=info
# and the port 0, and a LOG that was not there before).
address_of() {
	local try
	for try in $(seq 200); do
		if [ -f "$2" ] && sed -n 's/.*listening on \(.*:[0-9][0-9]*\)$/\1/p' "$2" | head -n 1 | grep .; then
			return
		fi
		kill -0 "$1" 2>/dev/null || break
		sleep 0.05
	done
	fail "no server: $(cat "$2")"
}

# The golden tree, made here: its digests and store path are known (tests/golden/README.md).
golden_tree() {
	"$CASTOR_GOLDEN/make-vectors-tree" "$1/vectors"
}
golden_path=/nix/store/9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-vectors

# shellcheck shell=bash
# For tests with binary caches that nix makes. $paths are what is in them, $tree and $text two of them;
# $key is the public key, encoded for an address; $base the cache's address once start_site ran.

command -v nix >/dev/null || skip "nix is not installed"
command -v python3 >/dev/null || skip "python3 is not installed"
command -v jq >/dev/null || skip "jq is not installed"

# encode KEY…: for an address.
encode() {
	sed -e 's/%/%25/g' -e 's/+/%2B/g' -e 's/ /%20/g' <<<"$*"
}

# In a Nix store of its own, under $WORK/nix; no daemon, no network, no caches.
nix_here() {
	NIX_REMOTE="local?root=$WORK/nix" NIX_CONFIG='experimental-features = nix-command
substituters =' "$@" 2>"$WORK/.nix" || {
		cat "$WORK/.nix" >&2
		return 1
	}
}

# Some store paths in Nix's own store: a tree, a file, a symlink's target, a text that refers to the tree.
make_paths() {
	[ ! -e "$WORK/nix" ] || return 0
	golden_tree "$WORK"
	mkdir -p "$WORK/more/sub"
	seq 1 20000 >"$WORK/more/numbers"
	head -c 700000 /dev/urandom >"$WORK/more/sub/random"
	for i in $(seq 1 300); do echo "file $i" >"$WORK/more/sub/file-$i"; done
	echo 'alone' >"$WORK/alone"
	tree=$(nix_here nix-store --add "$WORK/vectors")
	paths=("$tree" "$(nix_here nix-store --add "$WORK/more")" "$(nix_here nix-store --add "$WORK/alone")")
	# Only evaluation gives a path references without a build.
	text=$(nix_here nix-instantiate --eval --read-write-mode --strict --json \
		--expr "builtins.toFile \"note\" \"see \${builtins.storePath $tree}\"" | jq -r .)
	paths+=("$text")
	# One that refers to itself, and whose address comes of its content all the same.
	python3 - >"$WORK/self.closure" <<'END'
import struct, sys
def s(b): return struct.pack('<Q', len(b)) + b + bytes(-len(b) % 8)
path = b'/nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-itself'
nar = b''.join(map(s, (b'nix-archive-1', b'(', b'type', b'regular', b'contents', b'I am ' + path, b')')))
sys.stdout.buffer.write(struct.pack('<Q', 1) + nar + struct.pack('<Q', 0x4558494e) + s(path) +
                        struct.pack('<Q', 1) + s(path) + s(b'') + struct.pack('<QQ', 0, 0))
END
	nix_here nix-store --import <"$WORK/self.closure" >/dev/null
	paths+=("$(nix_here nix --extra-experimental-features ca-derivations store make-content-addressed \
		--json /nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-itself | jq -r '.rewrites[]')")
	nix_here nix-store --generate-binary-cache-key castor-e2e-1 "$WORK/secret" "$WORK/public"
	key=$(encode "$(cat "$WORK/public")")
}

# make_cache DIR [PARAMETERS]: signed.
make_cache() {
	make_paths
	nix_here nix copy --to "file://$1?secret-key=$WORK/secret${2:+&$2}" "${paths[@]}"
}

# hash_of PATH [--base16]: of its NAR, as nix knows it.
hash_of() {
	local hash
	hash=$(nix_here nix-store --query --hash "$1")
	[ -z "${2:-}" ] || hash=$(nix_here nix hash to-base16 "$hash")
	echo "$hash"
}

# start_site DIR: serves it over HTTP; what was asked for is in $WORK/site.log.
start_site() {
	: >"$WORK/site.log"
	: >"$WORK/site.out"
	(cd "$1" && exec python3 -u -m http.server --protocol HTTP/1.1 --bind 127.0.0.1 0) \
		>"$WORK/site.out" 2>"$WORK/site.log" </dev/null &
	site=$!
	for _ in $(seq 200); do
		port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$WORK/site.out")
		[ -z "$port" ] || break
		sleep 0.05
	done
	[ -n "$port" ] || fail "no HTTP server"
	base=nix+http://127.0.0.1:$port/cache
}

stop_site() {
	kill "$site"
	wait "$site" 2>/dev/null || true
}

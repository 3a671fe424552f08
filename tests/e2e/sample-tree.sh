# shellcheck shell=bash
# A tree with all that a store has to keep, for tests of filesystems.

# sample_tree DIR: files of many sizes, odd names, modes, links, a large file, an empty directory.
sample_tree() {
	local d i
	mkdir -p "$1/empty" "$1/many" "$1/$(printf 'n\xe9w\nline')" "$1/deep"
	for d in $(seq 1 8); do
		mkdir -p "$1/d$d/sub"
		for i in $(seq 1 40); do
			head -c $((i * i * d * 7)) /dev/zero | openssl enc -aes-128-ctr -nosalt \
				-K $(printf %032x $((d * 1000 + i))) -iv 0 2>/dev/null >"$1/d$d/file-$i"
			echo "text $d $i" >"$1/d$d/sub/text-$i"
		done
		chmod +x "$1/d$d/file-3"
		ln -s "../d1/file-$d" "$1/d$d/link"
	done
	(cd "$1/many" && seq 1 3000 | split -l 1 -a 4 - s)
	d=$1/deep
	for i in $(seq 1 60); do
		d=$d/level-$i
	done
	mkdir -p "$d"
	echo bottom >"$d/bottom"
	: >"$1/$(printf 'n\xe9w\nline')/ leading space"
	ln -s /nowhere/at/all "$1/dangling"
	head -c 12000000 /dev/zero | openssl enc -aes-128-ctr -nosalt -K 0 -iv 1 2>/dev/null >"$1/large"
	head -c 3000000 /dev/zero >"$1/zeros"
	# Equal contents, with and without the x bit.
	cp "$1/d1/file-5" "$1/twin"
	cp "$1/d1/file-5" "$1/twin-x"
	chmod +x "$1/twin-x"
}

# shellcheck shell=bash
# For tests with a real guest: Debian's cloud kernel and busybox under QEMU, without KVM.
#
# What a guest has to say: its console in $WORK/console, its results (whatever its script prints)
# in $WORK/results.

for program in qemu-system-x86_64 busybox apt-get dpkg; do
	command -v $program >/dev/null || skip "$program is not installed"
done

# The kernel is downloaded once, next to the build directories, and unpacked, not installed: nobody
# who runs the tests wants another kernel on his machine. Its root directory is $kernel.
guest_kernel() {
	local cache=$here/../../build-guest-kernel
	mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || cache=$WORK/kernel
	kernel=$cache/root
	[ ! -d "$kernel/boot" ] || return 0
	mkdir -p "$WORK/download"
	cd "$WORK/download"
	private=()
	if ! download_kernel >log 2>&1; then
		# A machine without lists of packages: some of our own.
		mkdir -p lists/partial cache/archives/partial
		private=(-o "Dir::State::lists=$PWD/lists" -o "Dir::Cache=$PWD/cache")
		apt-get "${private[@]}" update >>log 2>&1 && download_kernel >>log 2>&1 ||
			skip "the guest's kernel cannot be downloaded: $(tail -n 1 log)"
	fi
	dpkg -x ./*.deb "$WORK/unpacked"
	mkdir -p "$cache"
	mv -T "$WORK/unpacked" "$kernel"
	cd "$WORK"
	rm -r "$WORK/download"
}

download_kernel() {
	local package
	package=$(apt-cache "${private[@]}" depends linux-image-cloud-amd64 |
		sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
	[ -n "$package" ] && apt-get "${private[@]}" download "$package"
}

# add_program ROOT PROGRAM: into the initramfs at ROOT, with its libraries.
add_program() {
	local library
	cp "$(command -v "$2")" "$1/bin/"
	ldd "$(command -v "$2")" | grep -o '/[^ ]*' | while read -r library; do
		mkdir -p "$1$(dirname "$library")"
		cp -L "$library" "$1$library"
	done
}

# make_initramfs OUT SCRIPT [FILE…]: SCRIPT is run by the guest once its devices are there; the files
# lie at its root.
make_initramfs() {
	local out=$1 script=$2 root=$WORK/initramfs.d module
	shift 2
	rm -rf "$root"
	mkdir -p "$root"/{bin,proc,sys,dev,mnt,tmp,modules}
	cp "$(command -v busybox)" "$root/bin/"
	if command -v getfattr >/dev/null; then
		add_program "$root" getfattr
	fi
	for module in virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci fuse \
		virtiofs overlay; do
		find "$kernel/lib/modules" -name $module.ko -exec cp {} "$root/modules/" \;
	done
	cp "$script" "$root/script"
	[ $# -eq 0 ] || cp "$@" "$root/"
	cat >"$root/init" <<-'END'
		#!/bin/busybox sh
		export PATH=/bin LC_ALL=C
		/bin/busybox --install -s /bin
		mount -t proc proc /proc
		mount -t sysfs sys /sys
		mount -t devtmpfs dev /dev
		# They depend on each other.
		for again in 1 2 3 4; do
			for module in /modules/*.ko; do
				insmod $module 2>/dev/null
			done
		done
		stty -F /dev/ttyS1 raw -echo
		sh -eu /script </dev/null >/dev/ttyS1 2>/dev/console || echo "the script failed: $?" >/dev/console
		sync
		poweroff -f
	END
	chmod +x "$root/init"
	(cd "$root" && find . | LC_ALL=C sort | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$out"
	rm -rf "$root"
}

# A guest takes some 15 s on a machine that has nothing else to do; a busy one may take its time.
GUEST_PATIENCE=400

# run_guest SOCKET INITRAMFS [QUEUE_SIZE]: boots, and waits until it has powered off.
run_guest() {
	local memory=512 status=0
	timeout -k 5 $GUEST_PATIENCE qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m $memory -nodefaults \
		-no-user-config -display none -no-reboot \
		-object memory-backend-memfd,id=mem,size=${memory}M,share=on \
		-machine q35,memory-backend=mem \
		-kernel "$kernel"/boot/vmlinuz-* -initrd "$2" -append "console=ttyS0 quiet panic=-1" \
		-chardev "socket,id=fs,path=$1" \
		-device "vhost-user-fs-pci,chardev=fs,tag=castor,queue-size=${3:-1024}" \
		-serial "file:$WORK/console" -serial "file:$WORK/results" \
		>"$WORK/qemu.log" 2>&1 </dev/null || status=$?
	[ $status -eq 0 ] || fail "QEMU ended with status $status: $(cat "$WORK/qemu.log")
$(tail -n 30 "$WORK/console")"
}

# wait_for_socket SOCKET PID
wait_for_socket() {
	for _ in $(seq 200); do
		[ -S "$1" ] && return
		kill -0 "$2" 2>/dev/null || fail "the back-end ended: $(cat "$WORK/log")"
		sleep 0.05
	done
	fail "no socket after ten seconds"
}

# What a newcomer types. meson and ninja do the work; scripts/ holds the rest.
#
#	make run    install the packages, build, and see a real tree go in and come back
#	make check  every test, in every build that castor is tested in
#	make build  the program, at build/castor
#	make deps   the packages of packages/debian.txt (Debian 12)

BUILD = build

.PHONY: run check build deps install clean

run: deps
	@$(MAKE) --no-print-directory build
	@scripts/demo $(BUILD)/castor

check: deps
	@$(MAKE) --no-print-directory build
	@scripts/check

build: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@if command -v ccache >/dev/null; then CC="ccache $${CC:-cc}" meson setup $(BUILD); \
	else meson setup $(BUILD); fi

deps:
	@scripts/install-packages packages/debian.txt

install: build
	@meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) build-check-*

# SPDX-License-Identifier: GPL-2.0
#
# Builds the modules out of tree:	make [KVER=VERSION | KDIR=/lib/modules/VERSION/build]
# With fault injection (Documentation/faults.rst):	make MIG_FAULTS=y
# With the example (Documentation/backend.rst):	make MIG_EXAMPLE=y
# The kernel's own build reads Kbuild instead of this file.

KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build

PREFIX ?= /usr
VERSION := $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)
DKMS_NAME := vfio-pci-migration
DKMS_SOURCE := /usr/src/$(DKMS_NAME)-$(VERSION)
DKMS_FILES := Kbuild Makefile COPYING dkms.conf driver uapi

SPHINXBUILD ?= sphinx-build
DOCS ?= Documentation/_build

.PHONY: modules modules_install headers_install install clean dkms_source dkms_install \
	dkms_remove docs demo check prove prove-mutants

modules clean:
	$(MAKE) -C $(KDIR) M=$(CURDIR) $@

# DESTDIR: for packages, below which everything is put; empty: this system.
install: modules_install headers_install
	$(if $(DESTDIR),,depmod -a $$($(MAKE) -s -C $(KDIR) kernelrelease))

modules_install:
	$(MAKE) -C $(KDIR) M=$(CURDIR) $(if $(DESTDIR),INSTALL_MOD_PATH=$(DESTDIR)) $@

headers_install:
	install -d $(DESTDIR)$(PREFIX)/include
	install -m 644 uapi/*.h $(DESTDIR)$(PREFIX)/include

# The source for DKMS; and built and installed by it, for the kernel KVER now
# and for each later one when it is installed.
dkms_source:
	rm -rf $(DESTDIR)$(DKMS_SOURCE)
	install -d $(DESTDIR)$(DKMS_SOURCE)
	tar -c --exclude='*.o' --exclude='*.ko' --exclude='.*.cmd' $(DKMS_FILES) | \
		tar -x -C $(DESTDIR)$(DKMS_SOURCE)

dkms_install: dkms_source
	dkms build --force $(DKMS_NAME)/$(VERSION) -k $(KVER)
	dkms install --force $(DKMS_NAME)/$(VERSION) -k $(KVER)

# All versions, from all kernels.
dkms_remove:
	dkms status -m $(DKMS_NAME) | sed 's|[^/]*/||; s|[,:].*||' | sort -u | \
		while read -r version; do \
			dkms remove $(DKMS_NAME)/$$version --all || exit; \
		done
	rm -rf /usr/src/$(DKMS_NAME)-*

# Needs Sphinx, of Debian: python3-sphinx. A warning is an error.
docs:
	$(SPHINXBUILD) -W --keep-going -q -b html -d $(DOCS)/.doctrees Documentation $(DOCS)/html

demo check:
	scripts/lab $@

# With the model checker of this machine, else with the lab's.
prove prove-mutants:
	@if command -v cbmc >/dev/null; then \
		$(MAKE) -C selftests/prove $@; \
	else \
		scripts/lab $@; \
	fi

# SPDX-License-Identifier: GPL-2.0
#
# Builds the modules out of tree:	make [KDIR=/lib/modules/VERSION/build]
# With fault injection (Documentation/faults.rst):	make MIG_FAULTS=y
# With the example (Documentation/backend.rst):	make MIG_EXAMPLE=y
# The kernel's own build reads Kbuild instead of this file.

KDIR ?= /lib/modules/$(shell uname -r)/build

SPHINXBUILD ?= sphinx-build
DOCS ?= Documentation/_build

.PHONY: modules modules_install clean docs demo check prove prove-mutants

modules modules_install clean:
	$(MAKE) -C $(KDIR) M=$(CURDIR) $@

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

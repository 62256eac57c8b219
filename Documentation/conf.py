# SPDX-License-Identifier: GPL-2.0
"""What Sphinx has to know; "make docs" turns every warning into an error."""

project = "vfio_pci_migration"
exclude_patterns = ["_build"]
highlight_language = "none"
html_theme = "alabaster"

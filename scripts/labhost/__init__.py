# SPDX-License-Identifier: GPL-2.0
"""The host side of the nested lab: trees, module builds, the outer guest."""

# SPDX-License-Identifier: GPL-2.0
"""L1's kernel log, and what counts as a complaint in a guest's."""

import os
import re
from typing import NamedTuple

DRIVERS = re.compile(r"igbvf[-_]vfio[-_]pci|vfio[-_]pci[-_]migration")

# Said because of any out-of-tree module, and by the PCI core for any driver.
USUAL = re.compile(r"taints kernel|tainting kernel|enabling device \(|: resetting$|: reset done$")

WARNING = 4     # kernel log level

# In the guest none of these may appear because of a migration.
COMPLAINTS = re.compile(
    r"Tx Unit Hang|Reset adapter|Link is Down|NETDEV WATCHDOG|\bBUG:|kernel BUG at|\bOops\b|"
    r"\bWARNING:|Kernel panic|general protection fault|soft lockup|hard LOCKUP|"
    r"detected stalls|blocked for more than|PF still in reset|Unable to reset")

# What Linux' igbvf says when it sets its card up anew.
STARTS_OVER = re.compile(r"igbvf .*: Link is Down")


class Message(NamedTuple):
    """A line of the kernel's log."""

    level: int
    text: str


class KernelLog:
    """Messages of this kernel from now on (or from its boot)."""

    def __init__(self, from_boot: bool = False):
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_SET if from_boot else os.SEEK_END)

    def new(self) -> list[Message]:
        """The messages since the last call."""
        found = []
        while True:
            try:
                record = os.read(self._fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return found
            except BrokenPipeError:  # the ring went past us; go on with the oldest
                continue
            head, _, text = record.partition(";")
            found.append(Message(int(head.partition(",")[0]) & 7, text.split("\n")[0]))

    def new_of_drivers(self) -> list[Message]:
        """Those of them that our drivers have to say."""
        return [message for message in self.new()
                if DRIVERS.search(message.text) and not USUAL.search(message.text)]

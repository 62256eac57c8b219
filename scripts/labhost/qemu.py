# SPDX-License-Identifier: GPL-2.0
"""The outer QEMU: how L1's machine looks, and on which accelerator it runs."""

import subprocess
from pathlib import Path
from typing import NamedTuple

from . import chroot, say, tree

# no_timer_check: one boot in four once panicked on the IO-APIC timer check.
# tsc=reliable: a run once fell back to hpet.
KERNEL_LINE = ("console=ttyS0 loglevel=7 panic=-1 intel_iommu=on iommu=nopt no_timer_check "
               "tsc=reliable net.ifnames=0 rcupdate.rcu_expedited=1")

MACHINE = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
           "-M", "q35,kernel-irqchip=split", "-smp", "2", "-m", "4G",
           "-device", "intel-iommu,intremap=on,caching-mode=on,device-iotlb=on"]

ACCELERATORS = {
    # The emulated AMD CPU has SVM, which gives L1 a working kvm_amd.
    "tcg": ["-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm,+npt"],
    "kvm": ["-accel", "kvm", "-cpu", "host"],
}

# Two 82576 on root ports of their own (0000:01:00.0, 0000:02:00.0) and a plain
# NIC, all on one hub: a closed network, nothing leads out. No option ROMs:
# nothing boots from the network. The cards' own speed: when Linux has reset a
# faster link it waits to be told that it is active, and QEMU never tells that.
NICS = ["-device", "pcie-root-port,id=rp0,chassis=1,slot=1,x-speed=2_5",
        "-device", "pcie-root-port,id=rp1,chassis=2,slot=2,x-speed=2_5",
        "-netdev", "hubport,id=h0,hubid=0",
        "-netdev", "hubport,id=h1,hubid=0",
        "-netdev", "hubport,id=h2,hubid=0",
        "-device", "igb,netdev=h0,bus=rp0,mac=52:54:00:1a:b0:01,romfile=",
        "-device", "igb,netdev=h1,bus=rp1,mac=52:54:00:1a:b0:02,romfile=",
        "-device", "virtio-net-pci,netdev=h2,mac=52:54:00:1a:b0:10,romfile="]

# For the example backend of Documentation/backend.rst (0000:03:00.0, 0000:04:00.0).
EXAMPLES = ["-device", "pcie-root-port,id=rp2,chassis=3,slot=3", "-device", "edu,bus=rp2",
            "-device", "pcie-root-port,id=rp3,chassis=4,slot=4", "-device", "edu,bus=rp3"]

# QEMU's monitor as a port of L1's: what runs there asks for errors that only hardware makes.
# Both ends of the socket are this QEMU's.
MONITOR = ["-chardev", "socket,id=monitor,path=/lab/job/l1-monitor.sock,server=on,wait=off",
           "-mon", "chardev=monitor,mode=control",
           "-chardev", "socket,id=ask,path=/lab/job/l1-monitor.sock",
           "-device", "virtserialport,chardev=ask,name=lab.monitor"]


class Disk(NamedTuple):
    """A directory exported to L1 by 9p."""

    tag: str
    host: Path
    writable: bool = False


def _exports(disks: list[Disk]) -> tuple[list[str], list[chroot.Bind]]:
    """QEMU arguments for 9p exports, and the binds that show them to QEMU."""
    arguments, binds = [], []
    for disk in disks:
        inside = f"/lab/{disk.tag}"
        binds.append(chroot.Bind(disk.host, inside, "rw" if disk.writable else "ro"))
        readonly = "" if disk.writable else ",readonly=on"
        arguments += ["-fsdev", f"local,id={disk.tag},path={inside},security_model=none,"
                                f"multidevs=remap{readonly}",
                      "-device", f"virtio-9p-pci,fsdev={disk.tag},mount_tag={disk.tag}"]
    return arguments, binds


def _boot(more: str = "") -> list[str]:
    """The kernel that is in the artifacts."""
    return ["-kernel", "/lab/artifacts/boot/vmlinuz", "-initrd", "/lab/artifacts/boot/initramfs.gz",
            "-append", f"{KERNEL_LINE} {more}".strip()]


def line(root: Path, accel: str, artifacts: Path, job: Path, project: Path, old: bool,
         interactive: bool) -> list[str]:
    """The whole command line of an L1 on a root; old: with the bookworm tree as /bookworm."""
    disks = [Disk("tree", root), Disk("project", project), Disk("artifacts", artifacts),
             Disk("job", job, writable=True)]
    if old:
        disks.append(Disk("bookworm", tree.get(tree.BOOKWORM).path))
    exports, binds = _exports(disks)
    if interactive:
        talk = ["-chardev", "stdio,id=talk,signal=off", "-device", "virtio-serial-pci",
                "-device", "virtconsole,chardev=talk"]
    else:
        talk = ["-chardev", "file,id=talk,path=/lab/job/output.log",
                "-device", "virtio-serial-pci",
                "-device", "virtserialport,chardev=talk,name=lab.progress", *MONITOR]
    command = ["qemu-system-x86_64", *ACCELERATORS[accel], *MACHINE, *NICS, *EXAMPLES, *exports, *talk,
               "-serial", "file:/lab/job/l1-console.log",
               "-qmp", "unix:/lab/job/l1-qmp.sock,server=on,wait=off",
               *_boot("lab_bookworm" if old else "")]
    return chroot.argv(root, command, binds)


def _cpu_has_virtualisation() -> bool:
    flags = Path("/proc/cpuinfo").read_text()
    return " vmx" in flags or " svm" in flags


def _probe(artifacts: Path) -> bool:
    """Whether a guest really boots: there are hosts whose /dev/kvm runs none."""
    command = ["qemu-system-x86_64", *ACCELERATORS["kvm"], *MACHINE, "-serial", "stdio",
               *_boot("lab_probe")]
    whole = chroot.argv(tree.get(tree.TRIXIE).path, command, [chroot.Bind(artifacts, "/lab/artifacts")])
    try:
        done = subprocess.run(whole, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False, timeout=30)
    except subprocess.TimeoutExpired:
        return False
    return b"lab: probe guest is up" in done.stdout


def choose(forced: str | None, artifacts: Path) -> str:
    """KVM if the CPU has it and a guest boots, else TCG; or what the user forces."""
    if forced:
        return forced
    if not Path("/dev/kvm").exists() or not _cpu_has_virtualisation():
        return "tcg"
    if _probe(artifacts):
        return "kvm"
    say.info("this host's KVM does not boot a guest: using emulation (TCG)")
    return "tcg"

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Prepare L1: two PFs with one VF each, both VFs for VFIO, and a peer on the wire.

Both VFs get the same MAC from the administrator, as the source and the
destination host of one guest would. igbvf of this kernel never sees them:
drivers_autoprobe is off and driver_override names the only driver allowed.
Running it again changes nothing.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import lab
from lab import sh

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import silicon  # noqa: E402  pylint: disable=wrong-import-position

PCI = Path("/sys/bus/pci/devices")
OURS = "igbvf-vfio-pci"
EXAMPLE = "edu-vfio-pci"
SAMPLE = "mtty"
SAMPLE_TYPE = Path("/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2")
MODULES = [Path("/sys/module") / name / "parameters"
           for name in ("igbvf_vfio_pci", "vfio_pci_migration", "edu_vfio_pci", "edu_ceiling")]
LINK_LIMIT = 20


class Vf(NamedTuple):
    """A virtual function, ready for a guest."""

    letter: str
    pf: str
    pf_name: str    # the PF's network interface
    address: str


def _netdev(address: str) -> str | None:
    """The network interface of a PCI or virtio device."""
    found = list((PCI / address).glob("net/*")) + list((PCI / address).glob("virtio*/net/*"))
    return found[0].name if found else None


def _write(path: Path, value: str) -> None:
    try:
        path.write_text(value)
    except OSError as error:
        raise lab.LabError(f"{path} <- {value}: {error.strerror}") from error


def _carrier(name: str) -> bool:
    try:
        return (Path("/sys/class/net") / name / "carrier").read_text().strip() == "1"
    except OSError:
        return False


def set_mac(vf: Vf, mac: str, number: int = 0) -> None:
    """What the administrator does on the PF for the VF, or for another one of its VFs."""
    sh("ip", "link", "set", vf.pf_name, "vf", str(number), "mac", mac)


def set_parameters(settings: tuple) -> None:
    """Parameters of our modules, NAME=VALUE; most are looked at when a device is opened."""
    for setting in settings:
        name, _, value = setting.partition("=")
        module = next((module for module in MODULES if (module / name).exists()), MODULES[0])
        _write(module / name, value)


def parameters() -> dict[Path, str]:
    """All parameters of our modules, as they are."""
    return {path: path.read_text().strip() for module in MODULES for path in module.glob("*")}


def put_back(before: dict[Path, str]) -> None:
    """Make parameters what they were; a module that was loaded anew begins with its own."""
    for path, value in parameters().items():
        if before.get(path, value) != value:
            _write(path, before[path])


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options for parameters of our modules."""
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="a parameter of our modules")
    parser.add_argument("--profile", metavar="FILE",
                        help="take the devices for such ones as silicon_test has found this one to be")


def settings_of(options) -> tuple:
    """What they say."""
    profile = silicon.of_file(options.profile) if options.profile else []
    return (*(setting for _, setting in profile), *options.set)


def _up(pf: str) -> str:
    """Bring a PF up (its link takes a while); returns its interface."""
    name = lab.wait_until(lambda: _netdev(pf), 20, f"network interface of {pf}")
    sh("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1", check=False)
    sh("ip", "link", "set", name, "up")
    return name


def _make_vfs(pf: str, name: str, count: int) -> list[str]:
    """Give a PF so many VFs at least, which no driver takes by itself; returns their addresses."""
    lab.wait_until(lambda: _carrier(name), LINK_LIMIT, f"link of {name}")
    _write(PCI / pf / "sriov_drivers_autoprobe", "0")
    there = int((PCI / pf / "sriov_numvfs").read_text())
    if there < count:
        if there:
            _write(PCI / pf / "sriov_numvfs", "0")
        _write(PCI / pf / "sriov_numvfs", str(count))
    return [(PCI / pf / f"virtfn{number}").resolve().name for number in range(count)]


def _bind(address: str, driver: str) -> None:
    """Give a device to a driver, whoever has it now."""
    device = PCI / address
    link = device / "driver"
    if link.exists() and link.resolve().name == driver:
        return
    if link.exists():
        _write(link / "unbind", address)
    _write(device / "driver_override", driver)
    _write(Path("/sys/bus/pci/drivers_probe"), address)
    if not link.exists() or link.resolve().name != driver:
        raise lab.LabError(f"{address}: {driver} did not take it, see dmesg")


def _mac(number: int) -> str:
    """Of the VFs with this number, one of each PF."""
    return f"{lab.VF_MAC[:-2]}{int(lab.VF_MAC[-2:], 16) + number:02x}"


def _virtual_function(letter: str, pf: str, name: str, driver: str, count: int) -> Vf:
    addresses = _make_vfs(pf, name, count)
    vf = Vf(letter, pf, name, addresses[0])
    for number, address in enumerate(addresses):
        set_mac(vf, _mac(number), number)
        # Both VFs have one MAC; nobody is cheating.
        sh("ip", "link", "set", name, "vf", str(number), "spoofchk", "off")
        _bind(address, driver)
    return vf


def load(driver: str) -> None:
    """The modules that a VF with this driver needs."""
    sh("modprobe", "-a", "igb", "vfio_iommu_type1")
    sh("modprobe", driver)


def virtual_functions(driver: str = OURS, settings: tuple = (), count: int = 1) -> list[Vf]:
    """VF A and VF B, bound to the driver, which is given parameters (NAME=VALUE) before.

    count: VFs of each PF that are made and bound; the others have no letter.
    """
    load(driver)
    set_parameters(settings)
    names = [_up(pf) for pf in lab.PFS]
    return [_virtual_function(letter, pf, name, driver, count)
            for letter, pf, name in zip("AB", lab.PFS, names)]


def _peer_card() -> str | None:
    """The virtio card, if nobody has taken it away yet."""
    for path in Path("/sys/class/net").iterdir():
        driver = path / "device/driver"
        if driver.exists() and driver.resolve().name == "virtio_net":
            return path.name
    return None


def _peer_namespace() -> None:
    if lab.PEER_NETNS not in sh("ip", "netns", "list").split():
        sh("ip", "netns", "add", lab.PEER_NETNS)
        sh("ip", "-n", lab.PEER_NETNS, "link", "set", "lo", "up")


def _into_peer(name: str) -> None:
    """Move an interface into the peer's namespace and give it the peer's address, and no other."""
    sh("ip", "-n", lab.PEER_NETNS, "addr", "flush", "to", f"{lab.PEER_ADDRESS}/{lab.PREFIX}")
    sh("ip", "link", "set", name, "netns", lab.PEER_NETNS)
    sh("ip", "netns", "exec", lab.PEER_NETNS, "sysctl", "-qw",
       f"net.ipv6.conf.{name}.disable_ipv6=1", check=False)
    sh("ip", "-n", lab.PEER_NETNS, "addr", "add", f"{lab.PEER_ADDRESS}/{lab.PREFIX}", "dev", name)
    sh("ip", "-n", lab.PEER_NETNS, "link", "set", name, "up")


def peer() -> None:
    """The peer: the virtio card alone in a network namespace."""
    sh("modprobe", "virtio_net")
    _peer_namespace()
    name = _peer_card()
    if name:
        _into_peer(name)


def emulated() -> list[str]:
    """For the lab without VFIO: a bridge with the peer and a tap for each QEMU."""
    sh("modprobe", "-a", "tun", "bridge", "veth")
    _peer_namespace()
    taps = ["tapA", "tapB"]
    if Path("/sys/class/net/lab").exists():
        return taps
    sh("ip", "link", "add", "lab", "type", "bridge")
    sh("ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire-peer")
    for tap in taps:
        sh("ip", "tuntap", "add", tap, "mode", "tap")
    for name in ("wire", *taps):
        sh("ip", "link", "set", name, "master", "lab")
        sh("ip", "link", "set", name, "up")
    sh("ip", "link", "set", "lab", "up")
    _into_peer("wire-peer")
    return taps


def examples(settings: tuple = ()) -> None:
    """The two devices of Documentation/backend.rst, bound to the example."""
    sh("modprobe", "-a", EXAMPLE, "edu_ceiling", "vfio_iommu_type1")
    set_parameters(settings)
    for address in lab.EXAMPLES:
        _bind(address, EXAMPLE)


def samples() -> None:
    """The kernel's sample of a migratable device, which is mediated: two of them."""
    sh("modprobe", "-a", SAMPLE, "vfio_iommu_type1")
    for address in lab.SAMPLES:
        if not (Path("/sys/bus/mdev/devices") / address).exists():
            _write(SAMPLE_TYPE / "create", address)


def main() -> int:
    """Set up, print a line per VF."""
    parser = argparse.ArgumentParser(description="prepare L1: VFs for VFIO and a peer")
    parser.add_argument("--driver", default=OURS,
                        help=f"for the VFs (default {OURS}); {EXAMPLE}, {SAMPLE}: for its devices, and no VFs")
    parser.add_argument("--vfs", type=int, default=1, metavar="N", help="of each PF (default 1, at most 7)")
    add_settings(parser)
    options = parser.parse_args()
    try:
        if options.driver == EXAMPLE:
            examples(settings_of(options))
            return 0
        if options.driver == SAMPLE:
            samples()
            return 0
        vfs = virtual_functions(options.driver, settings_of(options), options.vfs)
        peer()
    except (lab.LabError, silicon.ProfileError) as error:
        print(f"setup: {error}")
        return 1
    for vf in vfs:
        group = (PCI / vf.address / "iommu_group").resolve().name
        print(f"VF {vf.letter} {vf.address} of {vf.pf_name} ({vf.pf}): {options.driver}, "
              f"MAC {lab.VF_MAC}, IOMMU group {group}")
    print(f"peer {lab.PEER_ADDRESS} in network namespace '{lab.PEER_NETNS}'")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

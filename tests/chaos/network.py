"""Hosts as network namespaces on one bridge; the machine of the tests is on it as well."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from programs import find

if TYPE_CHECKING:
    from collections.abc import Generator


class Host:
    """A namespace that sees nothing but the cable which leads to it."""

    def __init__(self, ip: str, namespace: str, cable: str, address: str) -> None:
        self.address = address
        self.prefix = (ip, "netns", "exec", namespace)
        """What starts a program there."""
        self.namespace = namespace
        self.cable = cable
        self._ip = ip

    def pull(self) -> None:
        """Pull its cable out: no reset, no end, just silence."""
        _must(self._ip, "link", "set", self.cable, "down")

    def plug(self) -> None:
        """Put it in again."""
        _must(self._ip, "link", "set", self.cable, "up")


class Network:
    """The bridge, our own address on it, and the hosts by name."""

    def __init__(self, *names: str) -> None:
        ip, here = find("ip"), os.getpid()
        self._ip = ip
        self._bridge = f"ss{here}"
        net = f"10.213.{here % 250}"
        self.range = f"{net}.0/24"
        self.address = f"{net}.1"
        self.hosts = {
            name: Host(ip, f"signalstack-{here}-{name}", f"ss{here}h{number}", f"{net}.{number}")
            for number, name in enumerate(names, start=10)
        }

    def lay(self) -> bool:
        """Lay all cables; False where that is not allowed."""
        if os.geteuid() or not _run(self._ip, "link", "add", self._bridge, "type", "bridge"):
            return False
        _must(self._ip, "addr", "add", f"{self.address}/24", "dev", self._bridge)
        _must(self._ip, "link", "set", self._bridge, "up")
        for host in self.hosts.values():
            there = ("peer", "name", "eth0", "netns", host.namespace)
            _must(self._ip, "netns", "add", host.namespace)
            _must(self._ip, "link", "add", host.cable, "type", "veth", *there)
            _must(self._ip, "link", "set", host.cable, "master", self._bridge, "up")
            inside = (self._ip, "-n", host.namespace)
            _must(*inside, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _must(*inside, "link", "set", "eth0", "up")
            _must(*inside, "link", "set", "lo", "up")
        return True

    def take_up(self) -> None:
        """Take up whatever was laid."""
        for host in self.hosts.values():
            _run(self._ip, "link", "del", host.cable)
            _run(self._ip, "netns", "del", host.namespace)
        _run(self._ip, "link", "del", self._bridge)


@contextmanager
def open_network(*names: str) -> Generator[Network]:
    """Join hosts of these names for as long as the context lasts; skip where nobody may."""
    network = Network(*names)
    try:
        if not network.lay():
            pytest.skip("network namespaces and bridges are for root alone")
        yield network
    finally:
        network.take_up()


def _run(*command: str) -> bool:
    return not subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode


def _must(*command: str) -> None:
    subprocess.run(command, check=True)

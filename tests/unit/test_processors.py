"""How many processors this process may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from azmlinfsrv.processors import quota, runnable_processors, usable_processors

VERSION_2 = "25 20 0:22 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
VERSION_1 = "33 31 0:30 {root} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct"
OTHERS = """\
20 1 0:19 / / rw - ext4 /dev/root rw
34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"""


class System:
    """Fake files of a system below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, *lines: str) -> None:
        """Write a file of lines; the path is absolute, within the system."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines), "utf-8")

    def group(self, mount: str, own: str, root: str = "/") -> None:
        """Mount a hierarchy, whose part below `root` is seen, with this process in the group of the line `own`."""
        self.write("/proc/self/mountinfo", *OTHERS.splitlines(), mount.format(root=root))
        self.write("/proc/self/cgroup", "9:name=systemd:/system.slice", "8:cpuset:/", own)

    def quota(self) -> float | None:
        """Return what the code under test says."""
        return quota(str(self.root))


@pytest.fixture
def system(tmp_path: Path) -> System:
    """A system without control groups."""
    return System(tmp_path)


def test_no_control_groups(system: System) -> None:
    """Where there are no control groups there is no quota."""
    assert system.quota() is None


def test_container_of_version_2(system: System) -> None:
    """A container that sees its own group as the root has the quota of cpu.max: `--cpus 2`."""
    system.group(VERSION_2, "0::/")
    system.write("/sys/fs/cgroup/cpu.max", "200000 100000")
    assert system.quota() == 2


def test_unlimited_version_2(system: System) -> None:
    """`max` is no quota."""
    system.group(VERSION_2, "0::/")
    system.write("/sys/fs/cgroup/cpu.max", "max 100000")
    assert system.quota() is None


def test_the_least_of_all_above(system: System) -> None:
    """A group has no more than those above it: the quota of a service's slice binds the service."""
    system.group(VERSION_2, "0::/ml.slice/score.service")
    system.write("/sys/fs/cgroup/ml.slice/score.service/cpu.max", "400000 100000")
    system.write("/sys/fs/cgroup/ml.slice/cpu.max", "150000 100000")
    assert system.quota() == 1.5
    system.write("/sys/fs/cgroup/ml.slice/score.service/cpu.max", "50000 100000")
    assert system.quota() == 0.5


@pytest.mark.parametrize("own", ["0::/../other", "0::/kubepods/pod1/container1"])
def test_a_group_that_cannot_be_seen(system: System, own: str) -> None:
    """Where the group's path is another's, as a mount from outside gives it, the mount point is asked."""
    system.group(VERSION_2, own)
    system.write("/sys/fs/cgroup/cpu.max", "300000 100000")
    assert system.quota() == 3


def test_container_of_version_1(system: System) -> None:
    """A container without a namespace of its own has the host's path, which is the root of what is mounted."""
    system.group(VERSION_1, "4:cpu,cpuacct:/docker/0123", root="/docker/0123")
    system.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000")
    system.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert system.quota() == 2.5


def test_group_of_version_1(system: System) -> None:
    """On a host the group's own folder is asked."""
    system.group(VERSION_1, "4:cpu,cpuacct:/score")
    system.write("/sys/fs/cgroup/cpu,cpuacct/score/cpu.cfs_quota_us", "100000")
    system.write("/sys/fs/cgroup/cpu,cpuacct/score/cpu.cfs_period_us", "50000")
    assert system.quota() == 2


def test_unlimited_version_1(system: System) -> None:
    """-1 is no quota."""
    system.group(VERSION_1, "4:cpu,cpuacct:/")
    system.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1")
    system.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert system.quota() is None


def test_both_versions(system: System) -> None:
    """Where both are mounted, the one that has the controller decides."""
    system.write(
        "/proc/self/mountinfo", VERSION_1.format(root="/"), VERSION_2.format(root="/").replace("cgroup ", "u ")
    )
    system.write("/proc/self/cgroup", "4:cpu,cpuacct:/", "0::/")
    system.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000")
    system.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert system.quota() == 1


def test_a_mount_point_with_a_space(system: System) -> None:
    """The kernel writes a space in a path as a backslash and 040."""
    system.group(VERSION_2.replace("/sys/fs/cgroup", "/my\\040groups"), "0::/")
    system.write("/my groups/cpu.max", "200000 100000")
    assert system.quota() == 2


@pytest.mark.parametrize("text", ["", "nonsense", "100000", "0 100000", "100000 0", "a b c", "100000 100000 1"])
def test_what_is_not_a_quota(system: System, text: str) -> None:
    """A file that says nothing sensible is no quota, and no failure."""
    system.group(VERSION_2, "0::/")
    system.write("/sys/fs/cgroup/cpu.max", text)
    assert system.quota() is None


@pytest.mark.parametrize("text", ["", "x", "1 2 3", "1 2 3 4 5 - cgroup2", "\udcff - cgroup2 a b", "0::"])
def test_odd_files_of_the_kernel(system: System, text: str) -> None:
    """Lines that are not understood are left out."""
    for name in ("mountinfo", "cgroup"):
        file = system.root / "proc" / "self" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert system.quota() is None


def test_this_process() -> None:
    """Here there is something to use, and no more than the processors that this process may run on."""
    assert 0 < usable_processors() <= runnable_processors() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason=f"{sys.platform} has no affinity")
def test_affinity() -> None:
    """A process that is bound to one processor has one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert runnable_processors() == 1
        assert usable_processors() <= 1
    finally:
        os.sched_setaffinity(0, before)

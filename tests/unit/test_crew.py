"""Which workers are started and ended, and when."""

from __future__ import annotations

import pytest

from azmlinfsrv.crew import LONGEST_DELAY_S, LONGEST_READY_DELAY_S, SOUND_S, Crew, Ended


class Site:
    """A crew, its clock, and processes that do what they are told.

    Attributes:
        running: the processes that run, and whether each is ready.
        retired: the processes that were told to end.
        now: the clock.
        most: the most processes that ran at a time.
        fewest: the fewest that served at a time, since `watch`.
    """

    def __init__(self, wanted: int) -> None:
        self.crew = Crew()
        self.wanted = wanted
        self.running: dict[int, bool] = {}
        self.retired: list[int] = []
        self.now = 100.0
        self.most = 0
        self.fewest = wanted
        self._last = 0

    def look(self) -> int:
        """Do what the crew says, and return how many were started."""
        self.now += 0.001
        for pid, ready in self.running.items():
            self.crew.seen(pid, ready=ready, worn=False)
        orders = self.crew.next(self.now, self.wanted)
        self.retired += orders.retire
        for _ in range(orders.starts):
            self._last += 1
            self.running[self._last] = False
            self.crew.joined(self._last, self.now)
        self.most = max(self.most, len(self.running))
        self.fewest = min(self.fewest, sum(self.running[pid] for pid in self.running if pid not in self.retired))
        return orders.starts

    def make_ready(self, *pids: int) -> None:
        """Have processes be ready, and look."""
        self.running.update(dict.fromkeys(pids, True))
        self.look()

    def end(self, pid: int, *, failed: bool = True) -> Ended:
        """End a process."""
        del self.running[pid]
        return self.crew.left(pid, self.now, failed=failed)

    def settle(self) -> None:
        """Let everything that was begun come to its end, without failures."""
        for _ in range(50):
            self.look()
            new = [pid for pid, ready in self.running.items() if not ready]
            leaving = [pid for pid in self.retired if pid in self.running]
            for pid in leaving:
                self.end(pid, failed=False)
            if not (new or leaving):
                return
            self.running.update(dict.fromkeys(new, True))
        raise AssertionError("it does not come to rest")


def serving(wanted: int) -> Site:
    """Return a site whose workers serve."""
    site = Site(wanted)
    site.settle()
    assert (len(site.running), site.crew.is_complete) == (wanted, True)
    return site


def test_as_many_as_wanted() -> None:
    """As many workers are started as are wanted, and no more while they start."""
    site = Site(3)
    assert site.look() == 3
    assert (site.look(), site.crew.is_complete) == (0, False)
    site.make_ready(1, 2, 3)
    assert (site.crew.is_complete, site.retired) == (True, [])


def test_more_and_fewer_are_wanted() -> None:
    """One more is started; when fewer are wanted one that is not ready goes first, then the oldest."""
    site = serving(2)
    site.wanted = 3
    assert site.look() == 1
    site.wanted = 2
    site.look()
    assert site.retired == [3]
    site.wanted = 1
    site.look()
    assert site.retired == [3, 1]


@pytest.mark.parametrize("wanted", [1, 2, 4])
def test_a_reload_replaces_one_after_the_other(wanted: int) -> None:
    """All workers are replaced, never fewer than wanted serve, and never more than one more runs."""
    site = serving(wanted)
    site.most, site.fewest = 0, wanted
    site.crew.reload()
    site.settle()
    assert set(site.running) == set(range(wanted + 1, 2 * wanted + 1))
    assert sorted(site.retired) == list(range(1, wanted + 1))
    assert (site.most, site.fewest) == (wanted + 1, wanted)


@pytest.mark.parametrize("wanted", [1, 3])
def test_a_reload_that_fails(wanted: int) -> None:
    """When the first new worker ends before it is ready, the old ones stay; a later reload replaces them."""
    site = serving(wanted)
    site.crew.reload()
    assert site.look() == 1
    ended = site.end(wanted + 1)
    assert ended.ends_reload and not ended.is_lost
    assert site.look() == 0 and site.retired == [] and site.crew.serving == wanted
    site.crew.reload()
    site.settle()
    assert sorted(site.retired) == list(range(1, wanted + 1))


def test_a_reload_that_fails_half_way() -> None:
    """Those that have been replaced are not brought back: the others stay."""
    site = serving(2)
    site.crew.reload()
    site.look()
    site.make_ready(3)
    assert site.retired == [1]
    site.end(1, failed=False)
    assert site.look() == 1
    assert site.end(4).ends_reload
    site.look()
    assert set(site.running) == {2, 3} and site.retired == [1]


def test_a_second_reload_begins_again() -> None:
    """What was being started for the reload before is not waited for."""
    site = serving(1)
    site.crew.reload()
    site.look()
    site.crew.reload()
    assert site.look() == 0 and site.retired == [2]
    assert not site.end(2, failed=False).ends_reload
    assert site.look() == 1
    site.make_ready(3)
    assert site.retired == [2, 1]


def test_a_crash_during_a_reload() -> None:
    """A worker that was ready and crashes is replaced meanwhile, and the reload goes on."""
    site = serving(2)
    site.crew.reload()
    site.look()
    ended = site.end(1)
    assert ended.is_lost and not ended.ends_reload
    site.settle()
    assert len(site.running) == 2 and 2 not in site.running


def test_a_worn_worker_serves_until_another_is_ready() -> None:
    """One that asks for a successor is ended when that is ready; two that ask get theirs one after the other."""
    site = serving(3)
    site.most, site.fewest = 0, 3
    site.crew.seen(1, ready=True, worn=True)
    site.crew.seen(2, ready=True, worn=True)
    assert site.look() == 1 and site.retired == []
    site.settle()
    assert site.retired == [1, 2]
    assert (site.most, site.fewest) == (4, 3)


def test_a_successor_that_fails_is_tried_again() -> None:
    """The worn worker serves on; its successor is started again, later and later."""
    site = serving(1)
    site.crew.seen(1, ready=True, worn=True)
    delays = []
    for pid in range(2, 6):
        assert site.look() == 1
        ended = site.end(pid)
        assert ended.is_lost and not ended.ends_reload
        delays.append(ended.delay_s)
        site.now += ended.delay_s
    assert delays == [0.0, 0.5, 1.0, 2.0]
    site.settle()
    assert site.retired == [1]


def test_a_worker_that_dies_is_replaced_at_once() -> None:
    """A worker that has served for a while and dies is replaced without a wait, however often."""
    site = serving(1)
    for pid in range(1, 6):
        site.now += SOUND_S + 1
        assert site.end(pid).delay_s == 0
        assert site.look() == 1
        site.make_ready(pid + 1)


def test_one_that_ends_by_itself_is_no_crash() -> None:
    """A worker that ends with code 0, as after a signal of an administrator's, is replaced at once."""
    site = serving(1)
    for pid in range(1, 5):
        assert site.end(pid, failed=False) == Ended(True, 0.0, 0, False)
        site.settle()


@pytest.mark.parametrize(("ready", "longest_s"), [(False, LONGEST_DELAY_S), (True, LONGEST_READY_DELAY_S)])
def test_crash_loops_back_off(ready: bool, longest_s: float) -> None:
    """The first restart is immediate, then waits double up to a limit, lower for workers that were ready."""
    site = Site(1)
    delays = []
    for pid in range(1, 12):
        assert site.look() == 1
        if ready:
            site.make_ready(pid)
        ended = site.end(pid)
        delays.append(ended.delay_s)
        if ended.delay_s:
            site.now += ended.delay_s - 0.1
            assert site.look() == 0
            site.now += 0.1
    assert delays[:4] == [0.0, 0.5, 1.0, 2.0]
    assert delays[-1] == longest_s == max(delays)


def test_workers_that_die_together_are_one_crash() -> None:
    """Eight workers that are killed at the same time are not eight crashes in a row."""
    site = Site(8)
    site.look()
    assert [site.end(pid).delay_s for pid in range(1, 9)] == [0.0] * 8
    assert site.look() == 8
    assert {site.end(pid).delay_s for pid in range(9, 17)} == {0.5}


def test_a_worker_that_the_system_does_not_let_start() -> None:
    """Where there is no room for another process, the next try is a second later."""
    crew = Crew()
    assert crew.next(100.0, 2).starts == 2
    crew.refused(100.0)
    assert (crew.next(100.9, 2).starts, crew.next(101.0, 2).starts) == (0, 2)


def test_a_process_that_is_no_worker() -> None:
    """What is seen of others, and their end, changes nothing."""
    site = serving(1)
    site.crew.seen(99, ready=True, worn=True)
    assert site.crew.left(99, site.now, failed=True) == Ended(False, 0.0, 0, False)
    assert (site.look(), site.retired, site.crew.serving) == (0, [], 1)


def test_a_reload_does_not_wait_for_the_next_try() -> None:
    """A script that was mended after a crash loop is loaded at once."""
    site = Site(1)
    for pid in range(1, 9):
        assert site.look() == 1
        site.now += site.end(pid).delay_s
    site.now -= 1
    assert site.look() == 0
    site.crew.reload()
    assert site.look() == 1

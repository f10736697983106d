import sqlite3
import time

from kinety.agent.lease import SCHEMA, Lease, LeaseTable, Moment


def test_leases_come_back_as_they_were_written() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute(SCHEMA)
    table = LeaseTable(connection)
    held = Lease(b"\x01" * 16, "default/a", 1000.5)
    released = Lease(b"\x02" * 16, "default/ü", 1001.0, Moment("boot", 17.25))
    table.put([released, held])
    assert table.all() == (held, released)
    table.put([Lease(held.address, "default/b", 1002.0)])
    table.delete([released.address, b"\x03" * 16])
    assert table.all() == (Lease(held.address, "default/b", 1002.0),)


def test_now_is_of_this_start_and_goes_on() -> None:
    first, second = Moment.now(), Moment.now()
    assert len(first.boot) == 36
    assert first.boot == second.boot
    assert first.uptime <= second.uptime
    assert first.uptime >= time.clock_gettime(time.CLOCK_MONOTONIC) - 1, "suspended time counts too"

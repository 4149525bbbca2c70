"""What is worked out of a driver's own words, without a driver."""

from __future__ import annotations

import pytest

from engine.dpdk.ethdev import longest_mtu


@pytest.mark.parametrize(
    ("max_mtu", "max_rx_pktlen", "longest"),
    [
        (0xFFFF, 1518, 1500),  # net_af_packet
        (0xFFFF, 0xFFFFFFFF, 0xFFFF),  # net_null
        (1500, 1522, 1500),  # net_tap: its own overhead
        (9702, 9728, 9702),  # net_iavf
        (9000, 1518, 1500),
    ],
)
def test_the_mtu_that_may_be_asked_for(max_mtu: int, max_rx_pktlen: int, longest: int) -> None:
    assert longest_mtu(max_mtu, max_rx_pktlen) == longest

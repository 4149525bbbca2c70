"""vio4wd end to end on real DPDK: its commands, wires of veth, testpmd as guests."""

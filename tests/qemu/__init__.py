"""vio4wd with real guests: Debian in QEMU, in software emulation."""

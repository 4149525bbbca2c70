"""vhost-user sockets, by path."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

from engine.dpdk.layout import VHOST_USER_CLIENT
from engine.dpdk.library import Dpdk, check, function


class Vhost:
    """rte_vhost's drivers. Callbacks are addresses of machine code: none of them may ever need the GIL."""

    def __init__(self, dpdk: Dpdk, callbacks: Mapping[str, int]) -> None:
        path, void, u64 = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint64
        lib = dpdk.vhost
        self._register = function(lib, "rte_vhost_driver_register", ctypes.c_int, path, u64)
        self._callbacks = function(lib, "rte_vhost_driver_callback_register", ctypes.c_int, path, void)
        self._disable = function(lib, "rte_vhost_driver_disable_features", ctypes.c_int, path, u64)
        self._start = function(lib, "rte_vhost_driver_start", ctypes.c_int, path)
        self._unregister = function(lib, "rte_vhost_driver_unregister", ctypes.c_int, path)
        self._ops = ctypes.create_string_buffer(dpdk.layout.vhost_ops.size)
        """Kept for the life of the process: DPDK holds its address."""
        for name, address in callbacks.items():
            at = ctypes.addressof(self._ops) + getattr(dpdk.layout.vhost_ops, name)
            ctypes.c_uint64.from_address(at).value = address

    def open(self, path: str, features_off: int, client: bool = False) -> None:
        """Registers and starts a socket without the features of the mask. Raises DpdkError, leaving nothing.

        A client that finds nobody there is no error: DPDK tries again each second, here and after each disconnect.
        """
        name = path.encode()
        # Without NET_COMPLIANT_OL_FLAGS mbufs say what is left to do for a guest in the words of a transmit burst.
        check(f"rte_vhost_driver_register({path})", self._register(name, VHOST_USER_CLIENT if client else 0))
        try:
            check("rte_vhost_driver_disable_features", self._disable(name, features_off))
            check("rte_vhost_driver_callback_register", self._callbacks(name, ctypes.addressof(self._ops)))
            check(f"rte_vhost_driver_start({path})", self._start(name))
        except Exception:
            self._unregister(name)
            raise

    def close(self, path: str) -> None:
        """Unregisters; a connected guest's destroy_device runs on this thread. Raises DpdkError."""
        check(f"rte_vhost_driver_unregister({path})", self._unregister(path.encode()))

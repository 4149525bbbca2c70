"""Which PCI functions have been taken from under the engine, by what sysfs shows."""

from __future__ import annotations

from pathlib import Path

from engine.dataplane.pci import Functions

VF = "0000:05:08.1"


def bind(devices: Path, address: str, driver: str) -> None:
    link = devices / address / "driver"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(f"../../../../bus/pci/drivers/{driver}")


def test_what_stays_bound_is_not_gone(tmp_path: Path) -> None:
    bind(tmp_path, VF, "vfio-pci")
    functions = Functions(tmp_path)
    assert functions.gone([VF, "net_af_packet0"]) == []
    assert functions.gone([VF, "net_af_packet0"]) == []


def test_unbound_rebound_and_removed_functions_are_gone_once(tmp_path: Path) -> None:
    others = ["0000:05:08.2", "0000:05:08.3"]
    for address in (VF, *others):
        bind(tmp_path, address, "vfio-pci")
    functions = Functions(tmp_path)
    assert functions.gone([VF, *others]) == []
    (tmp_path / VF / "driver").unlink()
    bind(tmp_path, others[0], "igbvf")
    (tmp_path / others[1] / "driver").unlink()
    (tmp_path / others[1]).rmdir()
    assert functions.gone([VF, *others]) == [VF, *others]
    assert functions.gone([]) == []


def test_a_function_that_comes_back_may_have_another_driver(tmp_path: Path) -> None:
    bind(tmp_path, VF, "igb_uio")
    functions = Functions(tmp_path)
    assert functions.gone([VF]) == []
    (tmp_path / VF / "driver").unlink()
    assert functions.gone([VF]) == [VF]
    bind(tmp_path, VF, "vfio-pci")
    assert functions.gone([VF]) == []


def test_a_function_that_was_lost_before_the_first_look_is_gone(tmp_path: Path) -> None:
    assert Functions(tmp_path).gone([VF]) == [VF]

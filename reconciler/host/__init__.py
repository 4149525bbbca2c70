"""PCI functions, network devices, users and CPUs of this host: looked at, checked, bound to vfio-pci, given back.

May import `runtime`, `schema` and `state`. All that binds a device is `vfio.py`; it refuses by itself what the host's
policy or the device's use forbids, whoever asks.
Open `vfio.py` first: when a function can be polled or bound, and what is said if not.
"""

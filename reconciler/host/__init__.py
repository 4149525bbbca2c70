"""This host: PCI functions, network devices, users, CPUs, hugepages; looked at, checked, taken, and given back.

May import `schema` and `state`. All that binds a device is `vfio.py`; it refuses by itself what the host's policy or
the device's use forbids, whoever asks. Hugepages and mounts are made and given back by `hugepages.py` alone.
Open `vfio.py` first: when a function can be polled or bound, and what is said if not.
"""

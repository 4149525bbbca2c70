"""Hugepages and mounts of hugetlbfs on this host: reserved and mounted, looked at, and given back."""

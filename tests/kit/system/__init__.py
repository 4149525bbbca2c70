"""What a host has: other users, disks that are full or hang, hugepages, terminals, repositories, databases."""

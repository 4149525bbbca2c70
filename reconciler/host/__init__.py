"""PCI functions on this host: whether they can be polled, binding them to vfio-pci and giving them back."""

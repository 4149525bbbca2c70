"""What tests, the demo and the bench share: wires, guests, instances of vio4wd, and a look at what was left behind."""

"""What the fault tests share: seeded work, an oracle of acknowledged writes, disks that fail."""

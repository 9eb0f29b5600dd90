"""What happens when processes are killed, disks fail and commits collide (docs/testing.md)."""

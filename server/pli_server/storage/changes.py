"""What a transaction changed that another node, or a cache of this one, may hold an older copy of."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Changes:
    """Gathered while requests are applied, handed out after COMMIT. It may name more than was changed."""

    groups: dict[bytes, int] = field(default_factory=dict)
    """Groups that got rows or a successor, each with its last row."""
    devices: set[int] = field(default_factory=set)
    """Numbers of devices whose session, memberships or Welcomes changed."""
    establishments: dict[bytes, int] = field(default_factory=dict)
    """Whose certificates, statements, lists or partners changed, and how often."""
    enrolments: set[bytes] = field(default_factory=set)
    """Requests that came, or were answered."""

    def __len__(self) -> int:
        """0: nothing was changed."""
        kinds = (self.groups, self.devices, self.establishments, self.enrolments)
        return sum(map(len, kinds))

    def add(self, other: "Changes") -> None:
        """Take those of another transaction too."""
        for group_id, last in other.groups.items():
            self.groups[group_id] = max(last, self.groups.get(group_id, 0))
        self.devices |= other.devices
        for establishment, times in other.establishments.items():
            self.establishments[establishment] = times + self.establishments.get(establishment, 0)
        self.enrolments |= other.enrolments

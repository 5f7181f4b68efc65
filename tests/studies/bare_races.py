"""A race of which only who is in it matters."""


class Race:
    def __init__(self, *found):
        self.found, self.out = list(found), {}

    @property
    def alive(self):
        return [c for c in self.found if c.key not in self.out]

    def drop(self, candidate, why):
        self.out[candidate.key] = why

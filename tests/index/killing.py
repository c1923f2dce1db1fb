"""A process that is killed at any of its steps, played in this one."""


class Killed(BaseException):
    """What no clean-up sees."""


class Steps:
    """Calls that are counted, and one of which, where it is set, is the last of the process.

    Args:
        monkeypatch: of the test.
        places: (module or class, name) of each call that counts.
    """

    def __init__(self, monkeypatch, *places):
        self._left = 0
        for place, name in places:
            monkeypatch.setattr(place, name, self._counted(getattr(place, name)))

    def is_done(self, work, steps):
        """Works until so many steps were begun; false when that was before the end."""
        self._left = steps
        try:
            work()
        except Killed:
            return False
        finally:
            self._left = 0
        return True

    def _counted(self, call):
        def run(*args, **kwargs):
            self._left -= 1
            if self._left == 0:
                raise Killed
            return call(*args, **kwargs)

        return run

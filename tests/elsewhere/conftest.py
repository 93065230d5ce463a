"""The tests of this folder run by themselves: the device is registered for the whole process."""

from tests.helpers import elsewhere

elsewhere.register()

"""Tools for tests of programs that make pictures: servers and an event loop whose time is not real."""

"""Tests of ``RedisBackend`` and its connection, against real servers."""

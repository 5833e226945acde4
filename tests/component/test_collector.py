"""Collections are put off while components are read, and come back whatever happens."""

import gc
import threading

import pytest

import component_rt as rt
from core_rt.collector import without_collections
from core_rt.errors import DecodeError


def test_nested_and_back_on():
    assert gc.isenabled()
    with without_collections():
        with without_collections():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_stays_off_where_it_was_off():
    gc.disable()
    try:
        with without_collections():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_back_on_after_an_error():
    with pytest.raises(DecodeError):
        rt.Component(rt.Engine(), b"\0asm")
    assert gc.isenabled()


def test_two_threads_at_once():
    entered, leave = threading.Event(), threading.Event()

    def other():
        with without_collections():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with without_collections():
        thread.start()
        assert entered.wait(10)
    assert not gc.isenabled()  # the other one is still inside
    leave.set()
    thread.join(10)
    assert gc.isenabled()

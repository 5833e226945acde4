"""Only what pyproject.toml cannot say: the C shim is built by cffi."""

from setuptools import setup

setup(cffi_modules=["core_rt/native/build.py:ffibuilder"])

"""Tests that need a process of their own: ../test_isolated.py runs each file of this folder in one."""

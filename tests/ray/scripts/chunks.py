"""Streams."""


def init():
    pass


def run(data):
    for number in range(3):
        yield f"{number},"

import threading

closed = threading.Event()
started = threading.Event()
go_on = threading.Event()
made = []


def init():
    pass


def run(data):
    if data == "fail":
        raise ValueError("secret")
    if data == "stream":
        return pieces()
    if data == "break":
        return broken()
    if data == "endless":
        return endless()
    if data == "wait":
        started.set()
        go_on.wait(10)
        return "waited"
    if data == "rows":
        return ({"row": number} for number in range(3))
    return data


def pieces():
    for number in range(3):
        yield "piece %d;" % number


def broken():
    yield "piece 0;"
    raise ValueError("secret")


def endless():
    try:
        while True:
            made.append(1)
            yield b"x" * 100_000
    finally:
        closed.set()

"""The process that performs one order on a node of a cluster: `python -m cli.errand BOX`, started there by `host`."""

import os
import signal
import sys
import threading
from pathlib import Path

from dagstore.errors import DagError
from trainer.engines.box import Box
from trainer.engines.errand import perform


def main() -> None:
    """It goes on until the order is performed, or its stdin ends."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_stop_at_end_of_stdin, args=(stop,), daemon=True).start()
    box = Box(Path(sys.argv[1]))
    try:
        perform(box, os.environ, stop)
    except DagError as error:
        box.fail(f"{error.message}; {error.hint}" if error.hint else error.message)
        sys.exit(1)


def _stop_at_end_of_stdin(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


if __name__ == "__main__":
    main()

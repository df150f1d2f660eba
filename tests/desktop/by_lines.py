"""A part of a pretended desktop that is asked by lines on stdin and answers each with one of JSON."""
import json
import sys

from gi.repository import GLib


def serve(loop, answer):
    """Says first that it is there; ends with its stdin."""

    def asked(_source, _condition):
        line = sys.stdin.readline()
        if not line:
            loop.quit()
            return False
        print(json.dumps(answer(line.strip())), flush=True)
        return True

    print('ready', flush=True)
    GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_IN | GLib.IO_HUP, asked)
    loop.run()

"""`python -m proxy.providers.sim --listen HOST:PORT`."""

import argparse
import socket
import sys

from proxy.providers.sim.app import run_sim


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m proxy.providers.sim", description="A simulated model provider.")
    parser.add_argument("--listen", default="127.0.0.1:9001", metavar="HOST:PORT", help="port 0 takes any free one")
    host, _, port = parser.parse_args().listen.rpartition(":")
    listener = socket.create_server(
        (host.strip("[]"), int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET
    )
    sys.stdout.write("listening on http://{}:{}\n".format(*listener.getsockname()[:2]))
    sys.stdout.flush()
    return run_sim(listener.detach())


if __name__ == "__main__":
    sys.exit(main())

"""nginx as the yardstick: one worker, kept-alive connections to the upstream, nothing buffered, no access log.

A request body stays in memory, as it does in Farebox: with nginx's default of 16 kB a large prompt would go through a file.
"""

import contextlib
import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.processes import SubjectUnavailableError, children, find_program, free_port, pin, started, wait_for_port
from bench.subjects.base import Place, Running

_CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr crit;
pid {directory}/{name}.pid;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    client_max_body_size 64m;
    client_body_buffer_size 2m;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream model {{
        server 127.0.0.1:{upstream_port};
        keepalive 2048;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} {listening};
        location / {{
            proxy_pass http://model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
    {more}
}}
"""
_OVER_TLS = """
    upstream secure_model {{
        server 127.0.0.1:{upstream_port};
        keepalive 2048;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass https://secure_model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {authority};
            proxy_ssl_name localhost;
            proxy_ssl_server_name on;
        }}
    }}
"""


@contextlib.contextmanager
def nginx(place: Place) -> Iterator[Running]:
    """Run nginx for the length of the block; raises SubjectUnavailableError where it is not installed."""
    program = find_program("nginx")
    port, tls_port = free_port(), free_port()
    log = place.directory / "nginx.log"
    configuration = write_configuration(
        place.directory, "nginx", port=port, upstream_port=place.upstream_port, more=_over_tls(place, tls_port)
    )
    command: list[str | Path] = [program, "-c", configuration, "-p", place.directory, "-e", log]
    with started(command, log) as process:
        wait_for_port(port, process, log)
        worker = _worker(process.pid)
        pin(worker, place.cores.subject)
        over_tls = Running(port=tls_port, workers=(worker,)) if place.secure else None
        yield Running(port=port, workers=(worker,), versions={"nginx": _version(program)}, over_tls=over_tls)


def write_configuration(
    directory: Path, name: str, *, port: int, upstream_port: int, tls: bool = False, more: str = ""
) -> Path:
    """Write the file of one nginx before the upstream, with `more` in its `http` block; return where it is."""
    listening = "ssl backlog=4096" if tls else "backlog=4096"
    text = _CONFIGURATION.format(
        user=_user_line(),
        directory=directory,
        name=name,
        listening=listening,
        port=port,
        upstream_port=upstream_port,
        more=more,
    )
    path = directory / f"{name}.conf"
    path.write_text(text)
    return path


def _over_tls(place: Place, port: int) -> str:
    if not place.secure:
        return ""
    return _OVER_TLS.format(port=port, upstream_port=place.secure.port, authority=place.secure.authority)


def _user_line() -> str:
    """Workers of a root master become `nobody` by default, who cannot reach the run's directory."""
    return f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""


def _worker(master: int) -> int:
    """The master listens before it forks."""
    for _ in range(100):
        if found := children(master):
            return found[0]
        time.sleep(0.02)
    raise SubjectUnavailableError("nginx started no worker")


def _version(program: str | Path) -> str:
    shown = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    return shown.strip().rpartition("/")[2]

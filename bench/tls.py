"""The mock upstream behind TLS, as providers are: an nginx that ends TLS before it, with a certificate made for the run.

The authority and the certificate (ECDSA P-256, for 127.0.0.1 and localhost) are made by trustme. The terminator runs beside the
upstream, on the cores of the rest, and its CPU time is told apart from a subject's.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import trustme

from bench.processes import children, find_program, free_port, started, wait_for_port
from bench.subjects.base import Secure
from bench.subjects.nginx import user_line

_CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
error_log stderr crit;
pid {directory}/terminator.pid;
events {{ worker_connections 8192; }}
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
        listen 127.0.0.1:{port} ssl backlog=4096;
        ssl_certificate {directory}/certificate.pem;
        ssl_certificate_key {directory}/key.pem;
        ssl_protocols TLSv1.3;
        location / {{
            proxy_pass http://model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


@contextlib.contextmanager
def behind_tls(upstream_port: int, directory: Path) -> Iterator[tuple[Secure, list[int]]]:
    """Run the terminator for the length of the block; yields where it is, and its processes.

    Raises SubjectUnavailableError where nginx is not installed.
    """
    program = find_program("nginx")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(directory / "authority.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(directory / "certificate.pem"))
    certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
    port = free_port()
    configuration, log = directory / "terminator.conf", directory / "terminator.log"
    configuration.write_text(
        _CONFIGURATION.format(user=user_line(), directory=directory, port=port, upstream_port=upstream_port)
    )
    with started([program, "-c", configuration, "-p", directory, "-e", log], log) as process:
        wait_for_port(port, process, log)
        yield Secure(port, directory / "authority.pem"), [process.pid, *children(process.pid)]

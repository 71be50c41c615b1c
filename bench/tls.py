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
from bench.subjects.nginx import write_configuration

_CERTIFICATE = """
    ssl_certificate {directory}/certificate.pem;
    ssl_certificate_key {directory}/key.pem;
    ssl_protocols TLSv1.3;
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
    log = directory / "terminator.log"
    more = _CERTIFICATE.format(directory=directory)
    configuration = write_configuration(
        directory, "terminator", port=port, upstream_port=upstream_port, tls=True, more=more
    )
    with started([program, "-c", configuration, "-p", directory, "-e", log], log) as process:
        wait_for_port(port, process, log)
        yield Secure(port, directory / "authority.pem"), [process.pid, *children(process.pid)]

"""`farebox reload`: the one command that speaks to a running Farebox, through its operators' listener."""

import json
from http import HTTPStatus

import aiohttp
import click

from proxy.cli.context import json_option, print_json, run_async, with_config
from proxy.config import Config, parse_listen
from proxy.core.errors import ConfigError, Unavailable

_TIMEOUT_S = 10.0


@click.command()
@json_option
@with_config
def reload(config: Config, *, as_json: bool) -> None:
    """Have a running Farebox take its configuration up anew: providers, aliases, prices, markups, default limits.

    A configuration that is wrong changes nothing. It asks admin.listen with admin.token, like POST /admin/v1/reload.
    """
    answer = run_async(_ask(config))
    if as_json:
        print_json(answer)
    else:
        click.echo("Reloaded. Calls in progress keep the prices that they began with.")


async def _ask(config: Config) -> object:
    host, port = parse_listen(config.admin.listen)
    if not port or not config.admin.token:
        raise ConfigError("admin.listen has no fixed port, or admin.token is empty: send SIGHUP to `farebox serve`.")
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/admin/v1/reload"
    headers = {"authorization": f"Bearer {config.admin.token}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as client,
            client.post(url, headers=headers) as answer,
        ):
            body = await answer.text()
            status = answer.status
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise Unavailable(
            f"Nothing answers at {url} ({str(error) or 'no answer in time'}). Is `farebox serve` running? SIGHUP does the same."
        ) from error
    if status != HTTPStatus.OK:
        raise ConfigError(_said(body) or f"{url} answered {status}")
    return json.loads(body)


def _said(body: str) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""

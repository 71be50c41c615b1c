"""The command `farebox`: which commands there are, and how a failure becomes a message and an exit code.

Exit codes: 0 done, 1 refused or failed (the message says what to do next), 2 the command line itself was wrong,
130 interrupted. Groups are imported when they are asked for, so that `farebox --help` and completion stay quick.
"""

import difflib
import importlib
import os
import sys

import click
from click.shell_completion import CompletionItem

from proxy import __version__
from proxy.core.errors import FareboxError

# Command -> (module, attribute, one line for --help), in the order in which help shows them.
COMMANDS = {
    "dev": ("proxy.cli.dev", "dev", "Everything built in, for trying it out: what `make run` starts."),
    "serve": ("proxy.cli.serve", "serve", "The proxy, from a configuration file."),
    "check": ("proxy.cli.check", "check", "Validate the configuration and reach every store and provider."),
    "migrate": ("proxy.cli.migrate", "migrate", "Bring the database's schema up to this version."),
    "account": ("proxy.cli.account", "account", "Create, list, change, suspend, resume and close accounts."),
    "key": ("proxy.cli.key", "key", "Create, list, change, rotate and revoke API keys."),
    "topup": ("proxy.cli.credit", "topup", "Add credits to an account, once for each idempotency key."),
    "adjust": ("proxy.cli.credit", "adjust", "Correct a balance, in either direction."),
    "refund": ("proxy.cli.credit", "refund", "Return what a call was charged, in whole or in part."),
    "grant": ("proxy.cli.grant", "grant", "Credits that burn before bought ones: give, list, revoke."),
    "code": ("proxy.cli.code", "code", "Redemption codes: create, list, revoke, redeem."),
    "reservation": ("proxy.cli.reservation", "reservation", "Holds that applications asked for: list, cancel."),
    "balance": ("proxy.cli.credit", "balance", "What an account has, and what its open calls hold."),
    "usage": ("proxy.cli.history", "usage", "An account's usage records, newest first."),
    "ledger": ("proxy.cli.history", "ledger", "An account's ledger entries, newest first."),
    "call": ("proxy.cli.call", "call", "Everything that is recorded of one call."),
    "usage-summary": ("proxy.cli.summary", "usage_summary", "Sums of usage by day, model, provider, account or key."),
    "export": ("proxy.cli.export", "export", "Usage records or ledger entries as CSV, JSON lines or Parquet."),
    "import": ("proxy.cli.importing", "import_group", "Accounts, keys and balances from CSV files."),
    "price": ("proxy.cli.price", "price", "What models cost: list, show, set, import, check."),
    "audit": ("proxy.cli.books", "audit", "Prove that every balance is the sum of its ledger entries."),
    "rebuild": ("proxy.cli.books", "rebuild", "Restore Redis from the database."),
    "holds": ("proxy.cli.holds", "holds", "What open calls hold, and ending one by hand."),
    "admin": ("proxy.cli.admin", "admin", "Administrators and their roles, and the log of every change."),
    "maintenance": ("proxy.cli.admin", "maintenance", "Switch maintenance mode of the query surfaces."),
    "webhook": ("proxy.cli.webhook", "webhook", "Events that were sent to webhooks: list, resend."),
    "reload": ("proxy.cli.reload", "reload", "Have a running Farebox take its configuration up anew."),
    "completion": ("proxy.cli.completion", "completion", "The completion script of bash, zsh or fish."),
    "worker": ("proxy.cli.serve", "worker", "One worker alone (for Kubernetes and the like)."),
    "recorder": ("proxy.cli.serve", "recorder", "One recorder alone."),
    "reaper": ("proxy.cli.serve", "reaper", "The reaper alone."),
    "operator": ("proxy.cli.serve", "operator", "The operators' listener alone."),
}


# What to do next, where the error itself is also an answer of the admin API and cannot name a command.
NEXT = {
    "account_not_found": "farebox account list --search TEXT finds accounts by a part of their name.",
    "account_closed": "That is for ever; make another one: farebox account create NAME",
    "key_not_found": "It is the id that is meant (key_...), which farebox key list ACCOUNT shows.",
    "grant_not_found": "farebox grant list ACCOUNT shows an account's grants.",
    "code_not_found": "farebox code list shows the codes' ids.",
    "reservation_not_found": "farebox reservation list ACCOUNT shows an account's reservations.",
    "hold_not_found": "It may have ended by itself, which farebox call CALL shows; open ones: farebox holds list",
    "name_taken": "Take another name, or use what is there.",
    "call_open": "farebox holds list shows it; repeat this with the same key when the call has ended.",
}


class _Commands(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the neighbours of a command that there is not."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], COMMANDS, n=2)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean {' or '.join(near)}?", ctx) from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        named = [
            CompletionItem(name, help=text) for name, (_, _, text) in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config", "config_path", metavar="FILE", help="The configuration file (also accepted after the command)."
)
@click.version_option(__version__, prog_name="farebox")
@click.pass_context
def farebox(ctx: click.Context, config_path: str | None) -> None:
    """A metered, prepaid reverse proxy for LLM APIs.

    The configuration is --config FILE, else FAREBOX_CONFIG, else ./farebox.toml, else ./farebox-data/farebox.toml.
    """
    ctx.obj = config_path


def run(words: list[str]) -> int:
    """Runs one command line and returns its exit code; failures are one line on standard error, never a traceback."""
    try:
        result = farebox.main(args=words, prog_name="farebox", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except FareboxError as error:
        return _failed(" ".join((error.message, NEXT[error.code])) if error.code in NEXT else error.message)
    except BrokenPipeError:  # `farebox usage ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("FAREBOX_DEBUG"):
            raise
        return _failed(f"{type(error).__name__}: {error} (FAREBOX_DEBUG=1 shows where)")
    return result if isinstance(result, int) else 0


def _failed(message: str) -> int:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    return 1

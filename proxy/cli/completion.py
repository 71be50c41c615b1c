"""`farebox completion`: the script by which a shell completes commands and options; and how commands are found without importing them."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_FAREBOX_COMPLETE"  # what click looks for when the script asks the program
_HOW = {
    "bash": 'eval "$(farebox completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(farebox completion zsh)"   in ~/.zshrc',
    "fish": "farebox completion fish > ~/.config/fish/completions/farebox.fish",
}


@click.command(epilog="\b\n" + "\n".join(_HOW.values()))
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    assert found is not None  # SHELLS are those that click has
    click.echo(found(ctx.find_root().command, {}, "farebox", _VARIABLE).source())

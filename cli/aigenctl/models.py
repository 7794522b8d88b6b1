"""`aigenctl models`: what can be asked, what it costs, and which service may ask for it."""

from itertools import islice
from typing import Annotated

import aigen
import typer

from aigenctl import connection, render
from aigenctl.columns import print_csv
from aigenctl.machine import as_json
from aigenctl.options import CsvOption, JsonOption, LimitOption, ProviderOption, SocketOption, alone, given, one_form

app = typer.Typer(help="Show the models that can be asked.", invoke_without_command=True)
TierOption = Annotated[aigen.ModelTier | None, typer.Option("--tier", help="Only this tier.")]
CapabilityOption = Annotated[aigen.Capability | None, typer.Option("--capability", help="Only models that can do this.")]


@app.callback()
def models(ctx: typer.Context, *, csv: CsvOption = False, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """Show the models that can be asked; without a command, all of them."""
    if alone(ctx, csv=csv, json_text=json_text, socket=socket):
        list_models(ctx, csv=csv, json_text=json_text, socket=socket)


@app.command("list")
def list_models(
    ctx: typer.Context,
    *,
    provider: ProviderOption = None,
    tier: TierOption = None,
    capability: CapabilityOption = None,
    limit: LimitOption = 0,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """List models by provider and id, with their prices."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        found = list(islice(client.models(**given(provider=provider, tier=tier, capability=capability)), limit or None))
        if json_text:
            typer.echo(as_json({"models": found}))
        elif csv:
            print_csv(aigen.Model, found)
        else:
            render.show(render.models(found))


@app.command("show")
def show(ctx: typer.Context, model: str, *, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """Show all that is known of one model, given by id, alias, provider/model or agent."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        found = client.model(model)
        if json_text:
            typer.echo(as_json(found))
        else:
            render.show(render.model(found))


@app.command("policy")
def policy(
    ctx: typer.Context,
    service: Annotated[str | None, typer.Argument(metavar="[SERVICE]", help="One service; without it, all.")] = None,
    *,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Show which models a service may ask for, and what holds where its requests don't say it; without a name, all services."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        if service is None:
            found = list(client.service_policies())
            listed = found
            shown: object = {"service_policies": found}
            table = render.service_policies(found)
        else:
            one = client.service_policy(service)
            listed = [one]
            shown, table = one, render.service_policy(one)
        if json_text:
            typer.echo(as_json(shown))
        elif csv:
            print_csv(aigen.ServicePolicy, listed)
        else:
            render.show(table)

"""`isthmus jobs …`: the options of its verbs. Their work is in isthmus/verbs/jobs.py."""

from pathlib import Path
from typing import Annotated

import typer

from isthmus.options import AsJson

Address = Annotated[str | None, typer.Option("--address", help="HOST:PORT of a Ray head; default: this machine's own")]
Name = Annotated[str, typer.Argument(help="the job's name")]

jobs = typer.Typer(
    name="jobs",
    help="Run datasets through deployments, or scripts: submit, list, status, logs, stop, delete.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@jobs.command()
def submit(
    what: Annotated[Path, typer.Argument(help="a folder, .npz, .jsonl or .parquet file; or a Python script (.py)")],
    arguments: Annotated[list[str] | None, typer.Argument(help="of the script, after --")] = None,
    deployment: Annotated[str | None, typer.Option(help="run the dataset through this one")] = None,
    spec: Annotated[Path | None, typer.Option(help="or through that of a spec (.yaml), for the job alone")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=".npz, .jsonl or .parquet file, or folder, to write")
    ] = None,
    name: Annotated[str | None, typer.Option(help="default: one is made up")] = None,
    in_flight: Annotated[int, typer.Option(help="items asked at once", min=1)] = 16,
    timeout: Annotated[float, typer.Option(help="seconds that an item may take", min=0.001)] = 300.0,
    wait: Annotated[bool, typer.Option("--wait", help="until it is over; exit 1 if it has not SUCCEEDED")] = False,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Run a dataset through a deployment, or a script; it goes on when this command is over."""
    from isthmus.verbs.jobs import submit_dataset, submit_script

    if what.suffix == ".py":
        if deployment or spec or output:
            raise typer.BadParameter("a script takes no --deployment, --spec or --output", param_hint="WHAT")
        raise typer.Exit(submit_script(what, arguments or [], name, address, wait=wait, as_json=as_json))
    if arguments:
        raise typer.BadParameter("only a script (.py) takes arguments", param_hint="ARGUMENTS")
    if (deployment is None) == (spec is None):
        raise typer.BadParameter("a dataset needs --deployment NAME or --spec FILE, one of them", param_hint="WHAT")
    if output is None:
        raise typer.BadParameter("a dataset needs somewhere to put what comes of it", param_hint="--output")
    done = submit_dataset(
        *(what, output, deployment, spec, name, address),
        in_flight=in_flight,
        timeout_s=timeout,
        wait=wait,
        as_json=as_json,
    )
    raise typer.Exit(done)


@jobs.command("list")
def list_jobs(address: Address = None, as_json: AsJson = False) -> None:
    """Every job, with its state and progress."""
    from isthmus.verbs.jobs import print_list

    print_list(address, as_json=as_json)


@jobs.command()
def status(name: Name, address: Address = None, as_json: AsJson = False) -> None:
    """How a job stands: items done, rate, what is left, and which items failed and why."""
    from isthmus.verbs.jobs import print_job

    print_job(name, address, as_json=as_json)


@jobs.command()
def logs(name: Name, address: Address = None, as_json: AsJson = False) -> None:
    """What a job's driver, or its script, said."""
    from isthmus.verbs.jobs import print_job_logs

    print_job_logs(name, address, as_json=as_json)


@jobs.command()
def stop(name: Name, address: Address = None, as_json: AsJson = False) -> None:
    """Stop a job that is not over; nothing of it is written."""
    from isthmus.verbs.jobs import stop_job

    stop_job(name, address, as_json=as_json)


@jobs.command()
def delete(name: Name, address: Address = None, as_json: AsJson = False) -> None:
    """Forget a job that is over; its output stays."""
    from isthmus.verbs.jobs import delete_job

    delete_job(name, address, as_json=as_json)

"""The command `isthmus`: verbs, their options, and how errors end. Each verb's work is in isthmus/verbs/."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from isthmus.jobs_command import jobs
from isthmus.options import AsJson, MaxError, Samples, Shapes, Topology, Trust
from isthmus.plan_command import plan
from isthmus.select_command import select
from isthmus.simulate_command import simulate
from isthmus.terminal import REFUSALS, fail


class _Interrupted(Exception):
    """Ctrl-C, once the verb has cleaned up."""


class _Verbs(TyperGroup):
    """Hands Ctrl-C to `main`: what Typer itself makes of it differs from version to version."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted from None


app = typer.Typer(
    cls=_Verbs,
    name="isthmus",
    help="Splits ONNX models over edge and cloud, runs them, and splits them anew when the network changes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Address = Annotated[str | None, typer.Option("--address", help="HOST:PORT of a Ray head; default: this machine's own")]
Token = Annotated[Path | None, typer.Option("--token-file", help="token of workers that were started by hand")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        from isthmus import __version__

        typer.echo(f"isthmus {__version__}")
        raise typer.Exit


@app.command()
def demo(as_json: AsJson = False) -> None:
    """The main job on this machine: profile, cut, place, run, and split anew as the link drops."""
    from isthmus.demo import run_demo

    raise typer.Exit(run_demo(as_json=as_json))


@app.command()
def profile(
    model: Path,
    topology: Topology = None,
    address: Address = None,
    shape: Shapes = None,
    samples: Samples = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="profile file to write")] = None,
    max_error: MaxError = 0.0,
    segments: Annotated[int, typer.Option(help="to know of each engine, for its cost model", min=0)] = 12,
    batch: Annotated[
        list[int] | None, typer.Option(help="rows at once to time the whole model with; may be repeated", min=1)
    ] = None,
    tune: Annotated[
        float,
        typer.Option(help="seconds to try engines' settings for; deploy --profile uses what is found", min=0),
    ] = 0.0,
    tuner: Annotated[
        str | None,
        typer.Option(help="who proposes settings: learned, from earlier trials (the default), or optuna"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time operators and segments on every engine of the topology; here, or with --address on every node."""
    from isthmus.verbs.profile import profile_model

    if tuner and not tune:
        raise typer.BadParameter("needs --tune SECONDS", param_hint="--tuner")
    profile_model(
        *(model, topology, address, shape or [], samples or [], output),
        max_error=max_error,
        segments=segments,
        batches=batch or [],
        tune_s=tune,
        tuner=tuner or "learned",
        as_json=as_json,
    )


app.command()(plan)
app.command()(select)


@app.command()
def export(
    model: Path,
    target: Annotated[str, typer.Option(help="the board's core, such as cortex-a72, or riscv64")],
    output: Annotated[Path, typer.Option("--output", "-o", help="a new or empty folder")],
    shape: Shapes = None,
    threads: Annotated[int, typer.Option(help="of the board", min=1)] = 1,
    as_json: AsJson = False,
) -> None:
    """Compile a model for a board, as a folder that runs there with nothing installed."""
    from isthmus.verbs.export import export_model

    export_model(model, target, output, shape or [], threads=threads, as_json=as_json)


@app.command()
def tune(
    model: Path,
    target: Annotated[str, typer.Option(help="host: kernels are tuned on the machine that runs them")] = "host",
    trials: Annotated[int, typer.Option(help="per kernel, those of earlier runs counted; 0: no bound", min=0)] = 0,
    seconds: Annotated[float, typer.Option(help="of tuning at most; 0: no bound", min=0)] = 120.0,
    shape: Shapes = None,
    threads: Annotated[int, typer.Option(help="to measure with", min=1)] = 1,
    as_json: AsJson = False,
) -> None:
    """Find by measuring how a model's kernels run fastest under TVM here; Ctrl-C keeps what was found."""
    from isthmus.verbs.tune import tune_model

    tune_model(model, target, shape or [], trials=trials, seconds=seconds, threads=threads, as_json=as_json)


@app.command()
def run(
    what: Annotated[Path, typer.Argument(help="a spec (.yaml), or a model, which then needs no spec")],
    topology: Topology = None,
    address: Address = None,
    shape: Shapes = None,
    metrics_port: Annotated[int | None, typer.Option(help="Prometheus port of the router; 0 takes a free one")] = None,
    trust: Trust = None,
) -> None:
    """Deploy in the foreground until Ctrl-C; other terminals can infer meanwhile."""
    from isthmus.verbs.cluster import run_foreground

    run_foreground(what, topology, address, shape or [], metrics_port)


@app.command()
def deploy(
    spec: Path,
    profile: Annotated[Path | None, typer.Option(help="what isthmus profile wrote; default: measure")] = None,
    address: Address = None,
    token_file: Token = None,
    trust: Trust = None,
    as_json: AsJson = False,
) -> None:
    """Bring a deployment up, or change the one of that name, and leave it running."""
    from isthmus.verbs.cluster import deploy_spec

    deploy_spec(spec, profile, address, token_file, as_json=as_json)


@app.command()
def rollout(
    what: Annotated[str, typer.Argument(help="a spec (.yaml): the new version; or the word history, or promote")],
    name: Annotated[str | None, typer.Argument(help="with history and promote: the deployment")] = None,
    canary: Annotated[
        list[float] | None, typer.Option(help="per cent of the requests; again: then so many (default: 10)", min=0)
    ] = None,
    ab: Annotated[float | None, typer.Option(help="per cent of the keys instead, each keeping its version")] = None,
    shadow: Annotated[float | None, typer.Option(help="per cent of the requests to copy to it instead")] = None,
    promote: Annotated[
        bool | None, typer.Option("--promote/--hold", help="take over by itself (default: a canary does)")
    ] = None,
    max_error_rate: Annotated[float, typer.Option(help="more of its requests that may fail", min=0)] = 0.01,
    max_slowdown: Annotated[float, typer.Option(help="times the old median and 95th percentile", min=1)] = 1.2,
    max_drift: Annotated[float, typer.Option(help="relative difference of answers; -1: any")] = 0.1,
    max_disagreement: Annotated[float, typer.Option(help="part of labels that are others; -1: any")] = -1.0,
    min_requests: Annotated[int, typer.Option(help="before it is promoted, at each step", min=1)] = 100,
    min_seconds: Annotated[float, typer.Option("--for", help="seconds at least, at each step", min=0)] = 10.0,
    wait: Annotated[bool, typer.Option("--wait", help="until it is decided; exit 1 if rolled back")] = False,
    profile: Annotated[Path | None, typer.Option(help="what isthmus profile wrote; default: measure")] = None,
    address: Address = None,
    token_file: Token = None,
    trust: Trust = None,
    as_json: AsJson = False,
) -> None:
    """Try a new version beside the one that runs; it takes over if it is as good, and goes if it is not."""
    from isthmus.verbs.rollout import begin_rollout, print_history, promote_trial
    from orchestrator.rollout_terms import terms_of

    if what in ("history", "promote"):
        if name is None:
            raise typer.BadParameter(f"{what} needs the name of a deployment", param_hint="NAME")
        (print_history if what == "history" else promote_trial)(name, address, as_json=as_json)
        return
    if name is not None:
        raise typer.BadParameter("the spec names the deployment already", param_hint="NAME")
    terms = terms_of(
        canary=canary or [], ab=ab, shadow=shadow, promotes=promote, max_error_rate=max_error_rate,
        max_slowdown=max_slowdown, max_drift=max_drift, max_disagreement=max_disagreement,
        min_requests=min_requests, min_s=min_seconds,
    )  # fmt: skip
    raise typer.Exit(begin_rollout(Path(what), terms, profile, address, token_file, wait=wait, as_json=as_json))


@app.command()
def rollback(
    name: str,
    to: Annotated[int | None, typer.Option(help="a version's number; default: the one before")] = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """End a trial, or go back to the version before: at once if it is still loaded."""
    from isthmus.verbs.rollout import roll_back

    roll_back(name, to, address, as_json=as_json)


@app.command()
def upgrade(
    every: Annotated[bool, typer.Option("--all", help="also what tells the installed version already")] = False,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Replace every worker, then the controller, by the code installed now; no request is lost meanwhile."""
    from isthmus.verbs.upgrade import upgrade_cluster

    raise typer.Exit(upgrade_cluster(address, every=every, as_json=as_json))


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="again and again, in place; --json: an object a line")] = False,
    every: Annotated[float, typer.Option(help="seconds between two looks of --watch", min=0.1)] = 1.0,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Deployments with plans and stages, workers, links, and why it is so."""
    if watch:
        from isthmus.verbs.watch import watch_status

        watch_status(address, every, as_json=as_json)
    else:
        from isthmus.verbs.cluster import print_status

        print_status(address, as_json=as_json)


@app.command()
def infer(
    name: str,
    input_file: Annotated[Path, typer.Option("--input", help=".npz, .npy or image")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help=".npz to write outputs to")] = None,
    timeout: Annotated[float, typer.Option(help="seconds")] = 30.0,
    trace: Annotated[bool, typer.Option("--trace", help="queue, compute, encode and transfer per hop")] = False,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Answer one request."""
    from isthmus.verbs.cluster import infer_file

    infer_file(name, input_file, output, timeout, address, trace=trace, as_json=as_json)


@app.command()
def logs(
    name: str,
    stage: Annotated[str | None, typer.Option(help="only this stage")] = None,
    limit: int = 200,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """A deployment's last log lines, from every node it runs on."""
    from isthmus.verbs.cluster import print_logs

    print_logs(name, stage, limit, address, as_json=as_json)


@app.command()
def replay(
    journal: Annotated[Path, typer.Argument(help="a controller's journal.sqlite; it may be a live one")],
    from_seq: Annotated[int, typer.Option("--from", help="number of the first record to show", min=0)] = 0,
    deployment: Annotated[str | None, typer.Option(help="show only what concerns this one")] = None,
    as_json: AsJson = False,
) -> None:
    """Decide a recorded incident again: each event, what was decided and why, and where today it would be otherwise."""
    from isthmus.verbs.replay import replay_journal

    raise typer.Exit(replay_journal(journal, from_seq=from_seq, deployment=deployment, as_json=as_json))


app.command()(simulate)


@app.command()
def twin(
    run: Annotated[Path, typer.Argument(help="a folder that Client.record wrote")],
    times: Annotated[
        list[Path], typer.Option(help="such a folder of another run, whose service times are taken; may be repeated")
    ],
    seed: Annotated[int, typer.Option(help="of what is drawn from these", min=0)] = 1,
    as_json: AsJson = False,
) -> None:
    """A recorded run again, in simulated time: latencies foretold and measured, by deployment."""
    from isthmus.verbs.twin import print_twin

    print_twin(run, times, seed=seed, as_json=as_json)


@app.command()
def gateway(
    grpc: Annotated[str, typer.Option(help="HOST:PORT for gRPC; port 0 takes a free one, '' none")] = "127.0.0.1:8001",
    http: Annotated[str, typer.Option(help="HOST:PORT for REST, likewise")] = "127.0.0.1:8000",
    metrics: Annotated[str, typer.Option(help="HOST:PORT for Prometheus, likewise")] = "127.0.0.1:8002",
    timeout: Annotated[float, typer.Option(help="seconds that a request may take", min=0.001)] = 30.0,
    repository: Annotated[Path | None, typer.Option(help="folder of specs that clients may load and unload")] = None,
    tokens: Annotated[Path | None, typer.Option(help="clients' tokens (YAML); needed beyond loopback")] = None,
    tls: Annotated[
        Path | None, typer.Option(envvar="ISTHMUS_TLS", help="folder with cert.pem and key.pem: all doors under TLS")
    ] = None,
    client_ca: Annotated[Path | None, typer.Option(help="clients must show a certificate of this CA")] = None,
    rate: Annotated[float | None, typer.Option(help="requests a second of one client", min=0.001)] = None,
    requests: Annotated[int | None, typer.Option(help="of one client under way at once", min=1)] = None,
    streams: Annotated[int | None, typer.Option(help="of one client open at once (gRPC)", min=1)] = None,
    connections: Annotated[int | None, typer.Option(help="from one address open at once (HTTP)", min=1)] = None,
    bodies_mb: Annotated[float, typer.Option(help="of all requests under way together", min=1)] = 2048,
    trust: Trust = None,
    otlp: Annotated[
        str | None, typer.Option(envvar="ISTHMUS_OTLP", help="HOST:PORT of a collector that gets OpenTelemetry spans")
    ] = None,
    address: Address = None,
    token_file: Token = None,
    as_json: AsJson = False,
) -> None:
    """Serve the Open Inference Protocol, gRPC and REST, in front of a cluster's deployments until Ctrl-C."""
    from orchestrator.outliving import outlive_parents

    outlive_parents()  # before what follows imports Ray
    from isthmus.verbs.gateway import open_gateway
    from orchestrator.gateway.limits import Limits

    open_gateway(
        *(grpc, http, metrics, address, token_file),
        timeout_s=timeout,
        repository=repository,
        tokens=tokens,
        tls=tls,
        client_ca=client_ca,
        limits=Limits(rate_per_s=rate, requests=requests, streams=streams),
        connections=connections,
        held_bytes=round(bodies_mb * 1e6),
        otlp=otlp,
        as_json=as_json,
    )


app.add_typer(jobs)


@app.command()
def certificates(
    folder: Annotated[Path, typer.Argument(help="where the CA is, or is to be made")],
    nodes: Annotated[list[str], typer.Argument(help="NAME, or NAME=HOST,ADDRESS… at which it is dialled")],
    days: Annotated[float, typer.Option(help="that certificates are valid", min=1)] = 365,
    renew: Annotated[bool, typer.Option("--renew", help="also of nodes that have one")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a test CA and a folder for each node, to be named by ISTHMUS_TLS there: all ports then speak mutual TLS."""
    from isthmus.verbs.security import make_certificates

    make_certificates(folder, nodes, days=days, renew=renew, as_json=as_json)


@app.command()
def sign(
    model: Annotated[Path | None, typer.Argument(help="an ONNX model; its signature is written beside it")] = None,
    key: Annotated[Path, typer.Option(help="file of the private key (Ed25519)")] = Path("isthmus.key"),
    create: Annotated[bool, typer.Option("--create", help="make the key, and its public one beside it")] = False,
    as_json: AsJson = False,
) -> None:
    """Sign a model and its weights, so that clusters with --trust take it."""
    from isthmus.verbs.security import sign_model

    if model is None and not create:
        raise typer.BadParameter("give a model to sign, or --create for a key", param_hint="MODEL")
    sign_model(model, key, create=create, as_json=as_json)


@app.command()
def delete(name: str, address: Address = None, as_json: AsJson = False) -> None:
    """Drain a deployment and unload it everywhere."""
    from isthmus.verbs.cluster import delete_deployment

    delete_deployment(name, address, as_json=as_json)


@app.command()
def shutdown(address: Address = None, as_json: AsJson = False) -> None:
    """End every worker and the controller; on this machine's own cluster Ray too."""
    from isthmus.verbs.cluster import shut_down

    shut_down(address, as_json=as_json)


@app.command()
def topology(
    address: Annotated[str, typer.Option("--address", help="HOST:PORT of a Ray head")],
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("topology.yaml"),
    token_file: Token = None,
    as_json: AsJson = False,
) -> None:
    """Write topology.yaml from the nodes found and the links measured."""
    from isthmus.verbs.cluster import write_topology

    write_topology(address, output, token_file, as_json=as_json)


@app.command()
def doctor(address: Address = None, as_json: AsJson = False) -> None:
    """Versions, engines and drivers per node; what clashes and how to mend it."""
    from isthmus.verbs.doctor import examine

    raise typer.Exit(examine(address, as_json=as_json))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def worker(context: typer.Context) -> None:
    """One node's process: hosts stages. See `isthmus worker --help`."""
    from nodes.worker import main as worker_main

    raise typer.Exit(worker_main(context.args))


def main() -> None:
    """Run the command line: exit 0 done, 1 refused or failed with one line on stderr, 2 wrong usage."""
    try:
        app()
    except REFUSALS as refusal:
        fail(str(refusal))
    except (_Interrupted, KeyboardInterrupt):
        fail("interrupted; what this command started is stopped")
    except BrokenPipeError:  # the reader of our output has gone, which is its right
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # a disk that is full, a file that may not be read
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))

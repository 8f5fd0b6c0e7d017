"""`defect-monitor models`: the store of model bundles, and which of them is in use."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from monitor.models.bundle import ModelBundle
    from monitor.models.store import StoredModel


app = typer.Typer(help="Add, promote, roll back and verify model bundles in a store.", no_args_is_help=True)


Store = Annotated[Path, typer.Option(help="Folder of the store; settings use `<store>/current`.")]


Version = Annotated[
    str,
    typer.Argument(help="First characters of the version, or of the hash that events name; or `current`."),
]


_DEFAULT = Path("models")


@app.command()
def add(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle, such as `train` writes.")],
    store: Store = _DEFAULT,
) -> None:
    """Copy BUNDLE into the store, which is created if missing, and print its version.

    The model in use stays the same.
    """
    from monitor.models.store import ModelStore

    print(ModelStore(store).add(bundle))


@app.command("list")
def list_models(
    store: Store = _DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the models of the store, the one added last first; `*` marks the one in use."""
    from monitor.models.store import ModelStore

    models = ModelStore(store).versions()
    if as_json:
        print(json.dumps([_document(model) for model in models], indent=2, ensure_ascii=False))
        return
    print(f"  {'version':12}  {'model':12}  {'added':16}  {'in use since':16}  name")
    for model in models:
        added, used = (f"{at:%Y-%m-%d %H:%M}" if at else "" for at in (model.added_at, model.used_since))
        sha256, name = (model.card.model.sha256, model.card.name) if model.card else ("", "(unreadable card)")
        mark = "*" if model.is_current else " "
        print(f"{mark} {model.version[:12]}  {sha256[:12]:12}  {added:16}  {used:16}  {name}")


@app.command()
def promote(version: Version, store: Store = _DEFAULT) -> None:
    """Use VERSION from now on, if it passes `verify`; otherwise change nothing.

    A running daemon uses it after SIGHUP (`systemctl reload defect-monitor`).
    """
    from monitor.models.store import ModelStore

    models = ModelStore(store)
    found = models.find(version)
    models.promote(found, _check)
    print(f"{found} is in use; reload the daemon to apply it")


@app.command()
def rollback(store: Store = _DEFAULT) -> None:
    """Use the model before the present one again, if it passes `verify`.

    A second rollback goes one further back.
    """
    from monitor.models.store import ModelStore

    print(f"{ModelStore(store).rollback(_check)} is in use again; reload the daemon to apply it")


@app.command()
def verify(version: Version = "current", store: Store = _DEFAULT) -> None:
    """Check the hashes of VERSION's files and, on this machine, the scores of its reference images."""
    from monitor.models.store import ModelStore

    models = ModelStore(store)
    found = models.find(version)
    models.verify(found, _check)
    print(f"{found} is intact")


def _check(bundle: "ModelBundle") -> None:
    """Run the bundle as a daemon would, and compare the scores of its reference images with its card."""
    from monitor.inference.candidates import InferenceOptions
    from monitor.inference.local import LocalModel

    model = LocalModel(bundle, InferenceOptions())
    model.load()
    model.check_references()


def _document(model: "StoredModel") -> dict[str, object]:
    card = model.card
    return {
        "version": model.version,
        "current": model.is_current,
        "name": card and card.name,
        "sha256": card and card.model.sha256,
        "threshold": card and card.threshold,
        "added_at": model.added_at and model.added_at.isoformat(),
        "used_since": model.used_since and model.used_since.isoformat(),
    }

"""What is in deploy/ is right, as far as this can be known without a container engine.

Commands, settings and addresses in it exist, its parts fit together, and the tools that know the
formats find nothing. At the end the services of compose.yaml are started as they stand there, on
this machine.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
import yaml

from harness.servers import command, environment
from support import wait_for
from taskyard.api.app import NOUNS
from taskyard.api.gate import Entry
from taskyard.cli import program
from taskyard.core.durations import parse_duration
from taskyard.settings import Retention, Settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
MANIFESTS = sorted(p for p in (DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
EXEC = DEPLOY / "docker-exec.sh"
BIN = Path(sys.executable).parent

STOPPING = 5.0
"""Seconds that a server may need beyond the grace."""


def resources() -> list[dict[str, Any]]:
    """Everything that Kubernetes is told."""
    return [each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text("utf-8"))]


def pods() -> dict[str, dict[str, Any]]:
    """The pods of Deployments and Jobs, by their name."""
    kinds = ("Deployment", "Job")
    return {
        r["metadata"]["name"]: r["spec"]["template"]["spec"]
        for r in resources()
        if r["kind"] in kinds
    }


def containers() -> dict[str, dict[str, Any]]:
    return {name: pod["containers"][0] for name, pod in pods().items()}


def dotenv() -> dict[str, str]:
    """What .env.example says."""
    lines = (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def compose(**given: str) -> dict[str, Any]:
    """The services of compose.yaml with their variables put in: `given`, or their defaults."""

    def value(found: re.Match[str]) -> str:
        name, kind, text = found.groups()
        assert name in given or kind == "-", f"{name} has no default"
        return given.get(name, text)

    text = VARIABLE.sub(value, (DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def services() -> dict[str, dict[str, Any]]:
    """Those services of compose.yaml that are ours."""
    every = compose(POSTGRES_PASSWORD="abc")["services"]
    return {name: one for name, one in every.items() if one["image"] == "taskyard"}


def unit(path: Path) -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path, encoding="utf-8")
    return parser


def typed() -> dict[str, list[str]]:
    """Every command line of ours in deploy/, by where it stands."""
    found = {f"compose {name}": one["command"] for name, one in services().items()}
    found |= {f"kubernetes {name}": one["args"] for name, one in containers().items()}
    for path in UNITS:
        program_, *words = shlex.split(unit(path)["Service"]["ExecStart"])
        assert program_ == "/opt/taskyard/bin/taskyard"
        found[path.name] = words
    return found | {"Dockerfile": ["worker"]}


# --- What it names exists ------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "words"), typed().items())
def test_every_command_exists_with_its_options(where: str, words: list[str]) -> None:
    found: Any = typer.main.get_command(program.app)
    context = found.context_class(found, info_name="taskyard")
    rest = list(words)
    while hasattr(found, "get_command"):
        name = rest.pop(0)
        found = found.get_command(context, name)
        assert found is not None, f"{where}: there is no `taskyard {name}`"
    found.make_context(name, rest)  # it raises where an option or an argument is wrong


def test_every_setting_exists() -> None:
    known = {name.upper() for name in Settings.model_fields}
    known |= {f"RETENTION__{name.upper()}" for name in Retention.model_fields}
    named = {
        name
        for path in DEPLOY.rglob("*")
        if path.is_file()
        for name in re.findall(r"\bTASKYARD_([A-Z0-9_]+)", path.read_text(encoding="utf-8"))
    }
    assert "DATABASE_URL" in named
    assert named - known == set()


@pytest.mark.parametrize("name", services())
def test_the_settings_of_a_service_are_good(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in services()[name]["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = Settings.load(tmp_path)
    assert settings.source("database_url").startswith("environment")


def test_the_settings_of_kubernetes_and_systemd_are_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [r.get("data") or r.get("stringData") for r in resources()]
    lines = (DEPLOY / "systemd" / "taskyard.env.example").read_text("utf-8").splitlines()
    given.append(dict(line.split("=", 1) for line in lines if not line.startswith("#")))
    told = {name: value for part in given if part for name, value in part.items()}
    for name, value in told.items():
        assert isinstance(value, str), f"{name}: Kubernetes takes texts only"
        monkeypatch.setenv(name, value)
    assert Settings.load(tmp_path).public_url == "https://jobs.example.com"


def test_probes_ask_addresses_that_are_there_for_all() -> None:
    free = {e.path for noun in NOUNS for e in noun.endpoints if e.rule.needs is Entry.OPEN}
    web = containers()["taskyard-web"]
    asked = {each["httpGet"]["path"] for name, each in web.items() if name.endswith("Probe")}
    assert asked == {"/healthz"}
    check = " ".join(services()["web"]["healthcheck"]["test"])
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", check)
    assert found
    assert found.group(2) == "/readyz"
    assert asked | {found.group(2)} <= free
    ours = str(Settings.model_fields["port"].default)
    ports = {found.group(1), str(web["ports"][0]["containerPort"])}
    ports |= set(re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.M))
    ports |= {port.rpartition(":")[2] for port in services()["web"]["ports"]}
    assert ports == {ours}


# --- Its parts fit together ----------------------------------------------------------------------


def test_whoever_stops_a_server_waits_longer_than_the_server() -> None:
    least = float(Settings.model_fields["grace"].default) + STOPPING
    patience = {"kubernetes": float(pods()["taskyard-worker"]["terminationGracePeriodSeconds"])}
    for name, service in services().items():
        if service["command"] == ["worker"]:
            patience[name] = parse_duration(service["stop_grace_period"])
    worker = unit(DEPLOY / "systemd" / "taskyard-worker.service")["Service"]
    patience["systemd"] = float(worker["TimeoutStopSec"])
    assert len(patience) == 4
    assert {name: wait for name, wait in patience.items() if wait <= least} == {}


def test_nothing_runs_as_root() -> None:
    users = re.findall(r"^USER (.*)$", DOCKERFILE, re.M)
    assert users == ["$UID:$GID"]
    assert re.findall(r"^ARG (?:UID|GID)=(\d+)$", DOCKERFILE, re.M) == ["1000", "1000"]
    for pod in pods().values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
    for service in services().values():
        assert "user" not in service
        assert "privileged" not in service
        assert service["build"]["args"] == {"UID": 1000, "GID": 1000}
    for path in UNITS:
        assert unit(path)["Service"]["User"] == "taskyard"


def test_the_schema_comes_first_in_compose() -> None:
    ours = services()
    assert ours["schema"]["command"] == ["db", "upgrade"]
    rest = {name: one for name, one in ours.items() if name != "schema"}
    assert set(rest) == {"web", "server-001", "server-002"}
    for one in rest.values():
        assert one["depends_on"]["schema"]["condition"] == "service_completed_successfully"
    names = [one["environment"].get("TASKYARD_SERVER_ID") for one in rest.values()]
    assert sorted(filter(None, names)) == ["server-001", "server-002"]


def test_compose_names_only_what_it_has() -> None:
    whole = compose(POSTGRES_PASSWORD="abc")
    for name, service in whole["services"].items():
        assert set(service.get("depends_on", ())) <= set(whole["services"]), name
        assert set(service["networks"]) <= set(whole["networks"]), name
        named = {volume.partition(":")[0] for volume in service.get("volumes", ())}
        assert {v for v in named if not v.startswith(".")} <= set(whole["volumes"]), name
    assert (DEPLOY / "app" / "handlers.py").is_file()


def test_every_variable_of_compose_is_in_the_example_and_the_other_way_round() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    used = VARIABLE.findall(text)
    assert {name for name, _, _ in used} == set(dotenv())
    # What may be left out is what the example says.
    assert {name: text for name, kind, text in used if kind == "-"} == {
        name: text for name, text in dotenv().items() if text
    }


def test_kubernetes_names_only_what_it_has() -> None:
    there = {(r["kind"], r["metadata"]["name"]) for r in resources() if "metadata" in r}
    for container in containers().values():
        for source in container["envFrom"]:
            for kind, reference in source.items():
                real = {"secretRef": "Secret", "configMapRef": "ConfigMap"}[kind]
                assert (real, reference["name"]) in there
    listed = next(r for r in resources() if r["kind"] == "Kustomization")["resources"]
    assert {*listed, "schema.yaml", "secret.example.yaml", "kustomization.yaml"} == {
        path.name for path in MANIFESTS
    }


def test_selectors_find_the_pods_they_are_for() -> None:
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for resource in resources():
        by_kind.setdefault(resource["kind"], []).append(resource)
    for deployment in by_kind["Deployment"]:
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels
    (service,) = by_kind["Service"]
    web = next(d for d in by_kind["Deployment"] if d["metadata"]["name"] == "taskyard-web")
    assert service["spec"]["selector"] == web["spec"]["template"]["metadata"]["labels"]
    names = {port["name"] for port in containers()["taskyard-web"]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def test_what_the_image_is_made_of_is_not_ignored() -> None:
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", "src", "web", wheel["hooks"]["custom"]["path"]}
    needed |= {project["project"]["readme"], *project["project"]["license-files"]}
    for name in needed | set(re.findall(r"^COPY (?!\.)(\S+)", DOCKERFILE, re.M)):
        assert f"!{name}" in kept
        assert (DEPLOY.parent / name).exists()


# --- Those who know the formats find nothing -----------------------------------------------------


def tool(name: str) -> str:
    """A tool beside our Python, else on the path; skips where there is none."""
    found = shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not to be had here")
    return found


def finds_nothing(*words: str | Path) -> None:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_hadolint_finds_nothing() -> None:
    finds_nothing(tool("hadolint"), DEPLOY / "Dockerfile")


def test_kubernetes_takes_the_manifests() -> None:
    manifests = [path for path in MANIFESTS if path.name != "kustomization.yaml"]
    finds_nothing(tool("kubernetes-validate"), "--strict", "--quiet", *manifests)


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    checker = tool("systemd-analyze")
    there = [tmp_path / path.name for path in UNITS]
    for path, copy in zip(UNITS, there, strict=True):
        text = path.read_text(encoding="utf-8")
        copy.write_text(text.replace("/opt/taskyard/bin/taskyard", sys.executable), "utf-8")
    finds_nothing(checker, "verify", *there)


def test_bash_takes_the_script() -> None:
    finds_nothing(tool("bash"), "-n", EXEC)
    assert EXEC.stat().st_mode & stat.S_IXUSR


# --- docker-exec.sh gives files back -------------------------------------------------------------

DOCKER = """#!/bin/sh
# Stands in for docker: "exec" runs the command here.
[ "$1" = exec ] || exit 1
shift
user=
while :; do
    case $1 in
        --interactive|--tty) shift ;;
        --user) user=$2; shift 2 ;;
        *) break ;;
    esac
done
echo "$user $*" >> "$CALLS"
shift
exec "$@"
"""


class Container:
    """A folder, and a docker whose containers are this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "app"
        self.calls = folder / "calls"
        (folder / "bin").mkdir()
        self.folder.mkdir()
        docker = folder / "bin" / "docker"
        docker.write_text(DOCKER, encoding="utf-8")
        docker.chmod(0o755)
        self.path = f"{docker.parent}{os.pathsep}{os.environ['PATH']}"

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(EXEC), *words],
            cwd=self.folder,
            env={**os.environ, "PATH": self.path, "CALLS": str(self.calls), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def called(self) -> list[str]:
        return self.calls.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def test_a_command_runs_and_its_exit_code_comes_back(container: Container) -> None:
    done = container.run("shop", "sh", "-c", "echo $0 said it; exit 3", "a b")
    assert (done.returncode, done.stdout) == (3, "a b said it\n")


def test_files_of_root_are_given_to_whoever_called(container: Container) -> None:
    container.run("shop", "touch", "made", OWNER="4321:4322")
    given = f"0 shop find {container.folder} -xdev -uid 0 -exec chown -h 4321:4322 {{}} +"
    assert container.called()[-1] == given


def test_nothing_is_given_away_of_a_whole_container(container: Container) -> None:
    done = container.run("shop", "true", FOLDER="/")
    assert (done.returncode, container.called()) == (70, [" shop true"])
    assert "FOLDER" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_new_files_and_folders_change_hands_and_others_do_not(container: Container) -> None:
    outside = container.folder.parent / "outside"
    outside.touch()
    theirs = container.folder / "theirs"
    theirs.touch()
    os.chown(theirs, 99, 99)
    script = f"mkdir deep; echo x > deep/file; ln -s {outside} link"
    assert container.run("shop", "sh", "-c", script, OWNER="4321:4322").returncode == 0
    owners = {p.name: (p.lstat().st_uid, p.lstat().st_gid) for p in container.folder.rglob("*")}
    mine = (4321, 4322)
    assert owners == {"deep": mine, "file": mine, "link": mine, "theirs": (99, 99)}
    assert outside.stat().st_uid == 0


# --- The services run ----------------------------------------------------------------------------


class Compose:
    """Starts the services of compose.yaml as they stand there, as processes on this machine."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.app = folder / "app"
        shutil.copytree(DEPLOY / "app", self.app)
        self.services = services()

    def environment(self, name: str) -> dict[str, str]:
        """What compose.yaml says, save where the database is and which ports are free here."""
        spool = self.folder / "spool" / name
        given = {"TASKYARD_PORT": "0", "TASKYARD_SPOOL_DIR": str(spool)}
        told = {**self.services[name]["environment"], "TASKYARD_DATABASE_URL": self.url}
        return {**environment(), **given, **told, "TASKYARD_RUNNERS": "1"}

    def run(self, name: str, *words: str) -> str:
        """The output of a command in a service's environment: its own, or another."""
        done = subprocess.run(
            command(*(words or self.services[name]["command"])),
            cwd=self.app,
            env=self.environment(name),
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def service(self, name: str) -> Iterator[Path]:
        """A service while it runs, and what it says; it has to stop in order and in time."""
        patience = parse_duration(self.services[name]["stop_grace_period"])
        said = self.folder / f"{name}.log"
        with said.open("w") as log:
            process = subprocess.Popen(
                command(*self.services[name]["command"]),
                cwd=self.app if name.startswith("server") else self.folder,
                env=self.environment(name),
                stdout=log,
                stderr=log,
            )
        try:
            yield said
            process.send_signal(signal.SIGTERM)
            assert process.wait(patience) == 0
        finally:
            process.kill()
            process.wait()

    def is_healthy(self, port: str) -> bool:
        """What the healthcheck of the API says."""
        kind, python, *rest = self.services["web"]["healthcheck"]["test"]
        assert (kind, python) == ("CMD", "python")
        words = [sys.executable, *(word.replace(":9999", f":{port}") for word in rest)]
        return subprocess.run(words, capture_output=True, timeout=30).returncode == 0


@pytest.mark.crash
@pytest.mark.timeout(300)
@pytest.mark.parametrize("empty_lane", ["postgres"], indirect=True)
def test_the_services_of_compose_work_together(empty_lane: str, tmp_path: Path) -> None:
    fleet = Compose(empty_lane, tmp_path)
    fleet.run("schema")
    with ExitStack() as running:
        said = running.enter_context(fleet.service("web"))
        url, port = listening(said)
        signs_in(url, said.read_text(encoding="utf-8"))
        assert not fleet.is_healthy(port)  # no server lives yet
        for name in ("server-001", "server-002"):
            running.enter_context(fleet.service(name))
        wait_for(lambda: fleet.is_healthy(port), 60, "a healthy API")

        written = fleet.run("server-001", "task", "add", "note", "text=hello", "--wait")
        assert written.split() == ["{", '"file":', '"1.txt"', "}"]
        file = fleet.app / "notes" / "1.txt"
        assert file.read_text(encoding="utf-8") == "hello\n"
        assert file.stat().st_uid == os.getuid()
        alive = fleet.run("server-001", "server", "list")
        assert {"server-001", "server-002"} <= set(re.findall(r"server-\d+", alive))


def listening(said: Path) -> tuple[str, str]:
    """The address of an API as soon as it tells it, and its port."""

    def told() -> re.Match[str] | None:
        return re.search(r"listening on (http://127\.0\.0\.1:(\d+))", said.read_text("utf-8"))

    found = wait_for(told, 60, "the API's start")
    assert found
    return found.group(1), found.group(2)


def signs_in(url: str, said: str) -> None:
    """The first user signs in with what was told at the first start."""
    password = re.search(r"password +(\S+)", said)
    assert password, said
    body = {"username": "admin", "password": password.group(1)}
    assert httpx2.post(f"{url}/api/v1/login", json=body, timeout=30).status_code == 200
